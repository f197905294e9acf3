"""The page stays small and whole, however large the study: of real stores, with weights and a hundred epochs."""

import re
from html import unescape
from pathlib import Path

import pytest
from support.stored_studies import Result, plausible, store_study

from jobs.report.content import Content
from jobs.report.page import render_page
from jobs.report.stopping import read_counted
from jobs.store import Job, Store, counted_trials, read_parts
from mnist_core.trial import Trial

HEAD = "name: large\ndataset: mnist\n"
SMALL = "grid: {model: [mlp, cnn], subset_size: [2000, 50000], adaptive_lr: [false, true], seeds: 5}\n"
MANY = """\
grid:
  model: [mlp, cnn]
  subset_size: [500, 2000, 50000]
  adaptive_lr: [false, true]
  learning_rate: [0.0005, 0.001, 0.002]
  batch_size: [128, 256]
  seeds: 5
"""
THOUSAND = """\
grid:
  model: [mlp]
  subset_size: [500, 2000, 10000, 30000, 50000]
  adaptive_lr: [false, true]
  learning_rate: [0.0005, 0.001, 0.002, 0.004, 0.008]
  hidden_units: [32, 64]
  seeds: 10
"""


def page_of(store: Store, job: Job) -> str:
    requested = read_counted(store, job)
    return render_page(Content(store, job, requested, read_parts(store, counted_trials(job, requested))).page([]))


@pytest.mark.parametrize(
    ("grid", "configurations", "megabytes"),
    [
        pytest.param(SMALL, 8, 2, id="40 trials", marks=pytest.mark.medium),
        pytest.param(MANY, 72, 3, id="72 configurations", marks=pytest.mark.slow),
        pytest.param(THOUSAND, 100, 5, id="1,000 trials", marks=pytest.mark.slow),
    ],
)
def test_the_page_of_a_large_study_is_small_and_drops_nothing(
    grid: str, configurations: int, megabytes: float, tmp_path: Path
) -> None:
    text = page_of(*store_study(tmp_path, f"{HEAD}{grid}train: {{epochs: 100}}\n"))
    assert len(text.encode()) < megabytes * 1e6
    rows = re.findall(r'<tr class="configuration" id="configuration-([0-9a-f]{8})"', text)
    assert len(set(rows)) == configurations
    assert text.count('<circle class="seed"') == len(re.findall(r"<td class=text>finished", text))
    left_out = [int(n) for n in re.findall(r"<summary>(\d+) not shown, because there are \d+: only", text)]
    panels = text.count('id="validation_accuracy-')
    assert panels + sum(left_out[:1]) == configurations // 2  # both schedules of a configuration share a panel
    if configurations > 24:
        overview = text.partition('<details id="all-configurations">')[0]
        assert len(re.findall(r'<td class="h\d" data-tip="[^"]*"><a href="#configuration-', overview)) == configurations


def odd(trial: Trial) -> Result:
    """End a few trials otherwise than well."""
    endings: dict[tuple[str, int], Result] = {
        ("mlp", 0): Result(ending="failed"),
        ("mlp", 1): Result(ending="missing"),
        ("cnn", 2): Result(ending="diverged"),
        ("cnn", 0): Result(ending="collapsed"),
    }
    return endings.get((trial.model, trial.seed), plausible(trial))


def test_odd_trials_are_counted_where_they_matter(tmp_path: Path) -> None:
    grid = "grid: {model: [mlp, cnn], subset_size: [2000], adaptive_lr: [false, true], seeds: 4}\n"
    text = unescape(page_of(*store_study(tmp_path, f"{HEAD}{grid}train: {{epochs: 4}}\n", odd)))
    head, _, rest = text.partition("</header>")
    for count in ("2 collapsed", "2 diverged", "2 failed", "2 missing"):
        assert f'<span class="warn">{count}</span>' in head
    assert "– CNN: 1 of 4 collapsed, 1 diverged; MLP: 1 of 4 failed, 1 missing" in rest
    assert "– both: 1 of 4 collapsed, 1 diverged" in rest
    assert re.search(r"1 of 3 collapsed; mean of the others: 8\d\.\d\d", rest)
    rings = re.findall(r'<circle class="collapsed" cx="([\d.]+)%"', rest)
    assert rings == ["0.0", "0.0"]  # at the edge of a scale that shows what the others differ by
    assert '<section aria-labelledby="learning">' not in rest  # one size makes no curve


def test_a_study_without_a_result_shows_no_empty_figure(tmp_path: Path) -> None:
    grid = "grid: {model: [mlp], subset_size: [2000], adaptive_lr: [false, true], seeds: 2}\n"
    text = page_of(*store_study(tmp_path, f"{HEAD}{grid}train: {{epochs: 4}}\n", lambda _: Result(ending="failed")))
    assert "Open: no seed has finished on both sides of any comparison." in text
    assert "both: 2 of 2 failed" in text
    for anchor in ("differences", "learning", "training", "errors", "weights"):
        assert f'id="{anchor}"' not in text
        assert f'href="#{anchor}"' not in text
    assert "4 trials: ValueError: no" in text


def test_seeds_until_an_answer_have_intervals_that_hold_for_all_looks(tmp_path: Path) -> None:
    seeds = "{until: decided, at_least: 3, at_most: 8}"
    grid = f"grid: {{model: [mlp], subset_size: [2000], adaptive_lr: [false, true], seeds: {seeds}}}\n"
    text = unescape(page_of(*store_study(tmp_path, f"{HEAD}{grid}train: {{epochs: 4}}\n")))
    assert "Does the adaptive rate help? No: it costs" in text
    assert 6 <= text.count('<circle class="seed"') < 16  # those after the answer are left out
    assert "intervals and p hold for all looks together" in text
    assert "from three seeds on" not in text
