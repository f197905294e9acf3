"""The verdict on one setting: by rule, in one line, as JSON and as an exit code."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import command_line
from support.study_arms import arms_of

import mnistjobs
from jobs.cli.answers import EXIT_CODES, verdict_line
from jobs.errors import InputError
from jobs.report.contrasts import word
from jobs.report.paired import Difference
from jobs.report.verdict import judge

IMAGES = 5000
NOISE = [0.001, -0.002, 0.003, 0.0, -0.001, 0.002, -0.003, 0.001, 0.0, -0.001]
CASES = [(-0.1, 0.5, 0.5), (-0.4, 0.01, 0.02), (-0.4, 0.04, 0.08), (-0.4, 0.5, 0.5)]  # low, p and Holm's p, by word
GRID = """\
name: tiny
dataset: {path: images}
grid: {model: [mlp], subset_size: [20], adaptive_lr: [false], seeds: 6, learning_rate: [0.0001, 0.01]}
train: {epochs: 20, batch_size: 16, hidden_units: 4}
"""


def arms(difference: float, seeds: int, noise: float = 1.0) -> Any:  # noqa: ANN401
    """Make a study of both schedules whose adaptive rate differs by so much."""

    def accuracy(trial: Mapping[str, Any], seed: int) -> float:
        return 0.9 + (difference + noise * NOISE[seed] if trial["adaptive_lr"] else 0.0)

    return arms_of({"adaptive_lr": [False, True]}, seeds, accuracy)


@pytest.mark.parametrize(
    ("difference", "seeds", "margin", "expected"),
    [
        (0.04, 6, None, "better"),
        (-0.04, 6, None, "worse"),
        (0.04, 2, None, "keep going"),
        (0.0, 10, None, "keep going"),
        (0.0, 10, 0.02, "negligible"),
        (0.0, 4, 0.001, "keep going"),
    ],
)
def test_the_verdict_follows_from_the_seeds(difference: float, seeds: int, margin: float | None, expected: str) -> None:
    found = judge(arms(difference, seeds), None, IMAGES, margin=margin)
    assert (found.axis, found.level_a, found.level_b) == ("adaptive_lr", "true", "false")
    assert (found.verdict, found.n, found.configurations) == (expected, seeds, 2)


def test_the_forecast_of_seeds_is_where_the_verdict_falls() -> None:
    found = judge(arms(0.004, 4), "adaptive_lr", IMAGES)
    assert found.verdict == "keep going"
    assert found.seeds_needed is not None
    assert 4 < found.seeds_needed < 40
    assert judge(arms(0.0, 6, noise=0.0), "adaptive_lr", IMAGES).seeds_needed is None


def test_without_a_common_seed_there_is_nothing_to_judge() -> None:
    found = judge(arms(0.0, 0), "adaptive_lr", IMAGES)
    assert (found.verdict, found.n, found.mean, found.p) == ("keep going", 0, None, 1.0)
    assert "no seed has finished in all 2 configurations" in verdict_line(found)


@pytest.mark.parametrize(("axis", "reason"), [("model", "model: does not vary"), ("nonsense", "nonsense: does not")])
def test_an_axis_that_does_not_vary_is_refused(axis: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"{reason}.*; varying: adaptive_lr"):
        judge(arms(0.0, 3), axis, IMAGES)


def test_a_study_in_which_nothing_varies_has_no_verdict() -> None:
    for axis in (None, "adaptive_lr"):
        with pytest.raises(InputError, match="no setting varies in this study"):
            judge(arms_of({}, 3, lambda trial, seed: 0.9), axis, IMAGES)


def test_one_or_two_seeds_give_no_forecast() -> None:
    for seeds in (1, 2):
        assert verdict_line(judge(arms(0.04, seeds), None, IMAGES)).endswith("; a verdict takes 4 seeds at least")


def test_one_of_several_axes_has_to_be_chosen() -> None:
    several = arms_of({"model": ["mlp", "cnn"], "adaptive_lr": [False, True]}, 3, lambda trial, seed: 0.9)
    with pytest.raises(InputError, match="the settings that vary: model, adaptive_lr; choose the one to judge"):
        judge(several, None, IMAGES)


def test_one_of_several_levels_has_to_be_chosen() -> None:
    levels = ["float32", "tf32", "bfloat16"]
    several = arms_of({"precision": levels}, 3, lambda trial, seed: 0.9 + 0.001 * levels.index(trial["precision"]))
    with pytest.raises(InputError, match="precision: has more than two levels; allowed: one of tf32, bfloat16"):
        judge(several, "precision", IMAGES)
    with pytest.raises(InputError, match="precision: 'yes' is not one of the levels to judge; allowed: one of tf32, b"):
        judge(several, "precision", IMAGES, level="yes")
    found = judge(several, "precision", IMAGES, level="bfloat16")
    assert (found.level_a, found.level_b) == ("bfloat16", "float32")
    assert found.mean == pytest.approx(0.002, abs=1e-9)


def test_an_average_over_opposite_differences_says_so() -> None:
    def accuracy(trial: Mapping[str, Any], seed: int) -> float:
        gain = {500: -0.3, 2000: 0.1}[trial["subset_size"]]
        return 0.6 + (gain + NOISE[seed] if trial["model"] == "cnn" else 0.0)

    found = judge(arms_of({"model": ["mlp", "cnn"], "subset_size": [500, 2000]}, 6, accuracy), "model", IMAGES)
    assert (found.verdict, found.better_in, found.worse_in, found.pairs) == ("worse", 1, 1, 2)
    assert "; on average only: better in 1 of 2 pairs of them, worse in 1" in verdict_line(found)


def test_collapsed_trials_are_counted_in_the_line() -> None:
    study = arms(0.04, 6)
    found = judge(study, None, IMAGES, collapsed=dict.fromkeys(study.settings, 1))
    assert verdict_line(found).endswith("; 2 trials collapsed, which these figures include")
    assert "collapsed" not in verdict_line(judge(study, None, IMAGES))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verdict")
    grid = command_line.write_grid(folder, GRID)
    mnistjobs.submit_grid(grid, folder / "results", in_process=True)
    return folder / "results"


def test_the_command_answers_in_one_line_and_by_its_exit_code(store: Path) -> None:
    outcome = command_line.run("verdict", "tiny", "--store", store)
    (line,) = outcome.out.splitlines()
    assert line.startswith("learning_rate 0.01 against 0.0001: ")
    assert "6 seeds, 2 configurations" in line
    found = mnistjobs.judge_job(store, "tiny")
    assert outcome.code == EXIT_CODES[found.verdict]
    of_json = command_line.run("verdict", "tiny", "--contrast", "learning_rate", "--json", "--store", store)
    assert of_json.code == outcome.code
    assert json.loads(of_json.out)["mean"] == found.mean
    (effect,) = mnistjobs.read_effects(store, "tiny").to_pylist()
    (contrast,) = mnistjobs.read_contrasts(store, "tiny").to_pylist()
    assert effect["mean"] == contrast["mean"] == found.mean


def test_the_page_on_statistics_has_the_exit_codes_and_the_four_words() -> None:
    page = (Path(__file__).parent.parent / "docs" / "statistics.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| (better|worse|negligible|keep going) \| (\d) \|", page, re.MULTILINE)) == {
        word: f"{code}" for word, code in EXIT_CODES.items()
    }
    words = {word(Difference(5, 0.1, low, 0.2, "", p, None, 5, 1.0, 0.1), holm, 0.3) for low, p, holm in CASES}
    assert set(re.findall(r"^\| (clear|suggested|negligible|open) \| [^\d]", page, re.MULTILINE)) == words


def test_a_margin_in_points_makes_equal_rates_negligible(store: Path) -> None:
    outcome = command_line.run("verdict", "tiny", "--margin", "99.9 pp", "--store", store)
    found = mnistjobs.judge_job(store, "tiny", margin=0.999)
    assert outcome.code == EXIT_CODES[found.verdict]


@pytest.mark.parametrize("margin", ["0.3", "-1pp", "0pp", "much", "100pp"])
def test_a_margin_that_is_no_number_of_points_is_refused(margin: str, store: Path) -> None:
    outcome = command_line.run("verdict", "tiny", "--margin", margin, "--store", store)
    assert outcome.code == 2
    assert "allowed: percentage points above 0 and below 100, such as 0.3pp" in " ".join(outcome.err.split())


def test_the_contrasts_of_a_report_are_those_of_the_api(store: Path) -> None:
    import pyarrow.parquet as pq

    written = mnistjobs.report_job(store, "tiny").page.with_name("contrasts.parquet")
    assert pq.read_table(written).equals(mnistjobs.read_contrasts(store, "tiny"))
    text = written.with_suffix(".md").read_text()
    assert text.splitlines()[0] == (
        "| axis | a | b | learning rate | n | a - b (pp) [95 % interval] | seeds agree | p (Holm) | result "
        "| without collapsed (pp) |"
    )


def test_the_grid_declares_baseline_and_margin(store: Path) -> None:
    compared = GRID.replace("tiny", "compared") + "compare: {baseline: {learning_rate: 0.01}, margin: 99.9pp}\n"
    mnistjobs.submit_grid(command_line.write_grid(store.parent, compared), store, in_process=True)
    (contrast,) = mnistjobs.read_contrasts(store, "compared").to_pylist()
    assert (contrast["level_a"], contrast["level_b"]) == ("0.0001", "0.01")
    assert (contrast["family"], contrast["word"]) == ("learning_rate against 0.01", "negligible")
    (plain,) = mnistjobs.read_contrasts(store, "tiny").to_pylist()
    (effect,) = mnistjobs.read_effects(store, "compared").to_pylist()
    assert contrast["mean"] == effect["mean"] == -plain["mean"]
    assert mnistjobs.judge_job(store, "compared", margin=1e-9).verdict != "negligible"
    outcome = command_line.run("verdict", "compared", "--store", store)
    assert outcome.code == EXIT_CODES["negligible"]
    assert outcome.out.startswith("learning_rate 0.0001 against 0.01: negligible")
