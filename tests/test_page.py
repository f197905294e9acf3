"""The page: what it shows, and that it neither runs nor loads anything."""

import base64
import re
from collections.abc import Sequence
from html import unescape

import pyarrow as pa
import pytest
from support.job_records import failure_of, job_of
from support.study_tables import study, summary_of

from jobs.report.arms import read_arms
from jobs.report.choice import Omission
from jobs.report.contrasts import contrast_schema, contrast_table
from jobs.report.effects import EFFECTS, effect_table
from jobs.report.figures import FigureSection, ReportFigure
from jobs.report.page import render_page
from jobs.store.job_models import Job, JobState
from jobs.store.schemas import SUMMARY, TRIALS

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
FIGURE = ReportFigure("curves-mlp-2000.svg", "Training curves: MLP", "What it shows.", "<svg/>")
JOB = job_of(JobState.finished)


def page(
    job: Job = JOB,
    *accuracies: float | None,
    figures: tuple[ReportFigure, ...] = (),
    omissions: tuple[Omission, ...] = (),
) -> str:
    trials, requested = study(*(accuracies or (0.9, 0.92)))
    sections = [FigureSection("Training curves", figures, omissions)] if figures else []
    return rendered(job, trials, requested, sections)


def rendered(job: Job, trials: pa.Table, requested: pa.Table, sections: Sequence[FigureSection] = ()) -> str:
    arms = read_arms(trials, requested)
    tables = contrast_table(arms, 5000), effect_table(arms, 5000)
    return render_page(job, summary_of(trials, requested), sections, trials, *tables)


def test_the_page_allows_only_its_own_style_and_figures() -> None:
    assert f'<meta http-equiv="Content-Security-Policy" content="{POLICY}' in page()


def test_the_page_has_no_script_and_no_external_link() -> None:
    text = page(job_of(provenance={"python": "3.11"}), figures=(FIGURE,)).lower()
    assert "<script" not in text
    assert "http://" not in text
    assert "https://" not in text
    assert "@import" not in text
    assert "url(" not in text


def test_a_figure_is_part_of_the_page() -> None:
    data = base64.b64encode(b"<svg/>").decode()
    text = page(figures=(FIGURE,))
    assert f'<img src="data:image/svg+xml;base64,{data}" alt="Training curves: MLP">' in text
    assert "What it shows." in text


def test_only_kinds_with_figures_have_a_heading() -> None:
    text = page(figures=(FIGURE,))
    assert "<h2>Training curves</h2>" in text
    assert "<h2>W1</h2>" not in text


def test_what_is_not_drawn_is_named_at_the_head_of_its_section() -> None:
    omissions = (Omission("no trial finished", ["MLP, <1>", "MLP, 2"]), Omission("there are too many", ["x"] * 503))
    text = page(figures=(FIGURE,), omissions=omissions)
    head, _, rest = text.partition("<h2>Training curves</h2>")[2].partition("<figure")
    assert '<p class="soft">Not drawn, because no trial finished: MLP, &lt;1&gt;; MLP, 2.</p>' in head
    assert "<summary>Not drawn, because there are too many: 503</summary><p>x; x" in head
    assert "; and 3 more." in head
    assert "Not drawn" not in rest


def test_below_the_summary_stands_what_the_interval_covers() -> None:
    below = page(JOB, 0.9, 0.92, 0.95).partition("</table>")[2].partition("</section>")[0]
    assert "for the mean over seeds, on this test set of 1,000 images; it does not cover other test images." in below


def test_collapsed_trials_are_counted_at_the_top_and_mark_their_row() -> None:
    text = page(JOB, 0.1, 0.92, 0.1)
    assert '<li class="warn">2 collapsed</li>' in text
    assert '<tr class="warn">' in text
    assert "<td>3 of 3, 2 collapsed</td>" in text
    assert "collapsed" not in page(JOB, 0.9, 0.92)


def test_the_page_says_how_many_trials_are_done() -> None:
    text = page(JOB, 0.9, None)
    assert "<h1>study</h1>" in text
    assert "State: finished" in text
    assert "2 of 2 trials done" in text
    assert "1 diverged" in text


def test_a_row_with_too_few_seeds_is_marked_and_says_why() -> None:
    assert '<tr class="warn">' in page(JOB, 0.9, None)
    assert '<td class="text">n is 1 of 2: 1 diverged</td>' in page(JOB, 0.9, None)
    assert '<tr class="warn">' not in page(JOB, 0.9, 0.91)


def test_one_trial_is_counted_in_the_singular() -> None:
    assert "1 of 1 trial done" in page(JOB, 0.9)


def test_the_page_shows_where_the_numbers_come_from() -> None:
    text = page(job_of(JobState.finished, provenance={"git_commit": "0123abc"}, grid="name: study\ngrid: {}\n"))
    for fact in (JOB.job_id, "0123abc", "mnist", "here (2)", "name: study\ngrid: {}\n", "2026-01-01T00:00:00+00:00"):
        assert fact in text


def test_a_failure_shows_its_traceback_or_its_message() -> None:
    raised = failure_of("ab12", "ValueError: no", "ValueError: no\n  at <line> 3\x1b[0m")
    text = page(job_of(JobState.failed, (raised, failure_of("cd34", "its process died"))))
    assert "Trial ab12" in text
    assert "ValueError: no\n  at &lt;line&gt; 3\\x1b[0m" in text
    assert "its process died" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", '"><img src=x onerror=y>', "{{ 7 * 7 }}", "a" * 300])
def test_a_hostile_name_is_shown_as_it_is(name: str) -> None:
    text = page(job_of(name=name, job_id=name, provenance={name: name}, grid=name))
    heading = re.search(r"<h1>(.*)</h1>", text)
    assert heading is not None
    assert unescape(heading[1]) == name
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize("character", ["\x1b", "\x00", "\x07", "\u202e", "\u2066", "\r", "\x9b"])
def test_no_invisible_character_reaches_the_page(character: str) -> None:
    hostile = f"a{character}b"
    failures = (failure_of(hostile, hostile, hostile),)
    text = page(job_of(JobState.failed, failures, name=hostile, grid=hostile, provenance={hostile: hostile}))
    assert character not in text
    assert character.encode("unicode_escape").decode() in text


def test_a_page_without_any_data_renders() -> None:
    empty: pa.Table = SUMMARY.empty_table()
    assert "0 of 0 trials done" in render_page(
        JOB, empty, [], TRIALS.empty_table(), contrast_schema([]).empty_table(), EFFECTS.empty_table()
    )


def test_the_page_says_what_each_setting_changes() -> None:
    fixed, of_fixed = study(0.90, 0.91, 0.92, 0.93, name="fixed")
    adaptive, of_adaptive = study(0.92, 0.93, 0.94, 0.952, name="adaptive", adaptive_lr=True, lr_decay=0.97)
    text = rendered(JOB, pa.concat_tables([fixed, adaptive]), pa.concat_tables([of_fixed, of_adaptive]))
    differences = unescape(text.partition(">Differences<")[2].partition("</section>")[0])
    assert "adaptive lr true against false: 2.05 pp [1.89, 2.21], 4 seeds" in differences
    cells = re.findall(r"<td[^>]*>([^<]*)</td>", differences)
    assert cells[:6] == ["adaptive lr", "true", "false", "–", "4", "2.05 [1.89, 2.21]"]
    assert cells[-1] == "clear"
    assert ">Differences<" not in page()


def test_of_very_many_differences_the_first_of_each_axis_are_shown() -> None:
    trials, requested = zip(*(study(0.9, name=f"of-{size}", subset_size=size) for size in range(100, 123)), strict=True)
    text = rendered(JOB, pa.concat_tables(trials), pa.concat_tables(requested))
    assert text.count('<td class="text">subset size</td>') == 20
    assert "2 more are in contrasts.csv" in text
