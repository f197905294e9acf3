"""The page: what it says, and that it loads nothing and runs only its own script."""

import base64
import hashlib
import re
from html import unescape

import numpy as np
import pyarrow as pa
import pytest
from support.job_records import failure_of, job_of
from support.study_tables import StoredTables, confusion_of, metrics_of, study, summary_of, together

from jobs.report.arms import read_arms
from jobs.report.contrasts import contrast_schema, contrast_table
from jobs.report.effects import EFFECTS, effect_table
from jobs.report.page import PageContent, render_page
from jobs.store.job_models import Job, JobState
from jobs.store.schemas import CONFUSION, METRICS, SUMMARY, TRIALS

JOB = job_of(JobState.finished)
ADAPTIVE = {"adaptive_lr": True, "lr_decay": 0.97}
pytestmark = pytest.mark.usefixtures("figures_drawn_once")


def page(job: Job = JOB, *accuracies: float | None) -> str:
    return rendered(job, *study(*(accuracies or (0.9, 0.92))))


def rendered(job: Job, trials: pa.Table, requested: pa.Table) -> str:
    arms = read_arms(trials, requested)
    weights = {"trial-0": np.random.default_rng(0).normal(0, 0.1, (64, 784)).astype(np.float32)}
    stored = StoredTables(metrics_of(trials, (0.2, 0.5, 0.9)), confusion_of(trials), weights)
    tables = contrast_table(arms, 5000), effect_table(arms, 5000)
    return render_page(PageContent(job, summary_of(trials, requested), trials, *tables, stored, ["summary.csv"]))


def both_schedules() -> tuple[pa.Table, pa.Table]:
    fixed = study(0.90, 0.91, 0.92, 0.93, name="fixed")
    return together(fixed, study(0.92, 0.93, 0.94, 0.952, name="adaptive", **ADAPTIVE))


def test_the_policy_allows_the_page_s_own_script_and_style_by_their_hashes() -> None:
    text = page()
    (policy,) = re.findall(r'Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; img-src data:; script-src 'sha256-")
    assert "unsafe" not in policy
    for name in ("script", "style"):
        (content,) = re.findall(f"<{name}>(.*?)</{name}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{name}-src 'sha256-{digest}'" in unescape(policy)


def test_the_page_names_nothing_outside_itself() -> None:
    text = rendered(JOB, *both_schedules())
    assert not re.findall(r'(?:src|href)="(?!#|data:|summary\.csv)[^"]*"', text)
    assert not re.findall(r"@import|url\(", text)
    assert " style=" not in text
    identities = re.findall(r' id="([^"]*)"', text)
    assert {link[1:] for link in re.findall(r'href="(#[^"]*)"', text)} <= set(identities)
    assert len(identities) == len(set(identities))


def test_what_is_not_shown_is_named() -> None:
    errors = unescape(rendered(JOB, *together(study(0.9), study(None, name="b", hidden_units=32))))
    errors = errors.partition('id="errors"')[2]
    assert "Not shown, because no trial finished: hidden units 32." in errors
    assert "W1: hidden units 64, seed 0" in errors.partition('id="weights"')[2]


def test_the_table_says_which_interval_covers_what() -> None:
    text = unescape(page(JOB, 0.9, 0.92, 0.95))
    assert "is for the mean over seeds on this test set of 5,000 images" in text
    assert "also covers other test images" in text


def test_collapsed_trials_are_counted_at_the_top_and_named_in_their_row() -> None:
    text = page(JOB, 0.1, 0.92, 0.1)
    assert '<span class="warn">2 collapsed</span>' in text.partition("</header>")[0]
    assert "2 of 3 collapsed" in text
    assert text.count('<circle class="collapsed"') == 2
    assert "collapsed</span>" not in page(JOB, 0.9, 0.92)


def test_the_page_says_how_many_trials_are_done() -> None:
    text = page(JOB, 0.9, None)
    assert "<h1>study</h1>" in text
    head = text.partition("</header>")[0]
    assert "2 of 2 trials done · job finished" in head
    assert '<span class="warn">1 diverged</span>' in head


def test_a_row_with_too_few_seeds_is_marked_and_says_why() -> None:
    assert '<span class="warn">n is 1 of 2: 1 diverged</span>' in page(JOB, 0.9, None)
    assert 'class="warn"' not in page(JOB, 0.9, 0.91)


def test_one_trial_is_counted_in_the_singular() -> None:
    assert "1 of 1 trial done" in page(JOB, 0.9)


def test_the_page_shows_where_the_numbers_come_from() -> None:
    text = page(job_of(JobState.finished, provenance={"git_commit": "0123abc"}, grid="name: study\ngrid: {}\n"))
    for fact in (JOB.job_id, "0123abc", "mnist", "here (2)", "name: study\ngrid: {}\n", "2026-01-01T00:00:00+00:00"):
        assert fact in text


def test_equal_tracebacks_are_grouped_with_configuration_and_seed() -> None:
    trials, requested = study(0.9, 0.91, 0.92)
    raised = [failure_of(f"trial-{seed}", "ValueError: no", "ValueError: no\n  at <line> 3\x1b[0m") for seed in (0, 2)]
    failures = (failure_of("cd34", "its process died"), *raised)
    text = rendered(job_of(JobState.failed, failures), trials, requested).partition('id="failures"')[2]
    assert text.count("ValueError: no\n  at &lt;line&gt; 3\\x1b[0m") == 1
    assert text.index("2 trials: ValueError: no") < text.index("1 trial: its process died")
    assert "MLP, 2,000 images, fixed rate, seed 2 (trial-2)" in text
    assert "trial cd34" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7 * 7 }}", "a" * 300])
def test_a_hostile_name_is_shown_as_it_is(name: str) -> None:
    text = page(job_of(name=name, job_id=name, provenance={name: name}, grid=name))
    heading = re.search(r"<h1>(.*)</h1>", text)
    assert heading is not None
    assert unescape(heading[1]) == name
    assert text.count("<script") == 1
    assert "<img src=x" not in text


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x07", "\u202e", "\u2066", "\r", "\x9b"])
def test_no_invisible_character_reaches_the_page(character: str) -> None:
    hostile = f"a{character}b"
    failures = (failure_of(hostile, hostile, hostile),)
    text = page(job_of(JobState.failed, failures, name=hostile, grid=hostile, provenance={hostile: hostile}))
    assert character not in text
    assert character.encode("unicode_escape").decode() in text


def test_a_page_without_any_data_renders() -> None:
    stored = StoredTables(METRICS.empty_table(), CONFUSION.empty_table(), {})
    nothing = SUMMARY.empty_table(), TRIALS.empty_table(), contrast_schema([]).empty_table(), EFFECTS.empty_table()
    text = render_page(PageContent(JOB, *nothing, stored, []))
    assert "0 of 0 trials done" in text
    assert "No trial has finished" in text


def test_the_page_answers_what_each_setting_changes() -> None:
    text = unescape(rendered(JOB, *both_schedules()))
    found = text.partition('id="answers"')[2].partition("</section>")[0]
    assert "<h3>Does the adaptive rate help? Yes: it raises accuracy by 2.0 points.</h3>" in found
    assert "+2.0 points [+1.9, +2.2]</span>, 4 of 4 seeds" in found
    forest = text.partition('id="differences"')[2].partition("</section>")[0]
    assert "Adaptive rate minus fixed rate" in forest
    assert forest.count('class="dot"') == 1
    assert 'id="differences"' not in page()
    assert "there is nothing to compare" in page()


def test_of_very_many_configurations_an_overview_comes_first_and_none_is_dropped() -> None:
    trials, requested = together(*(study(0.9, name=f"of-{size}", subset_size=size) for size in range(100, 130)))
    text = rendered(JOB, trials, requested)
    overview, _, table = text.partition('<details id="all-configurations">')
    assert len(re.findall(r'<td class="h\d" data-tip="[^"]*"><a href="#configuration-', overview)) == 30
    assert table.count('<tr class="configuration"') == 30


def test_one_configuration_has_nothing_to_sort_filter_or_choose_from() -> None:
    offered = (
        'id="filter"',
        '<th scope="col" class="text" data-sort>',
        'id="matrix-a"',
        "share their axes",
        "missed by",
    )
    assert [text for text in offered if text in page()] == []
    both = rendered(JOB, *together(study(0.9), study(0.91, name="b", subset_size=500)))
    assert [text for text in offered if text not in both] == []
