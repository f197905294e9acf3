"""The ranking of configurations: by validation accuracy, with those that cannot be told from the best."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support import command_line
from support.study_arms import arms_of

import mnistjobs
from jobs.report.answer_formats import best_lines
from jobs.report.ranking import rank
from jobs.store import SeedRule

STEPS = [0.02, 0.03, 0.02, 0.03]
NOISE = [0.001, -0.001, 0.002, -0.002, 0.0]
GRID = """\
name: tiny
dataset: {path: images}
grid: {model: [mlp], subset_size: [20, 60], adaptive_lr: [false], seeds: 4}
train: {epochs: 20, batch_size: 16, hidden_units: 4, learning_rate: 0.01}
"""


def validation(trial: Mapping[str, Any], seed: int) -> float:
    """The two large subsets differ by noise alone; the small one is worse in every seed."""
    return {100: 0.80 + NOISE[seed], 500: 0.90 + NOISE[seed], 2000: 0.9001 + NOISE[seed - 1]}[trial["subset_size"]]


def test_a_configuration_that_differs_by_noise_is_tied_and_a_worse_one_is_not() -> None:
    axes = {"subset_size": [100, 500, 2000]}
    ranking = rank(arms_of(axes, 5, validation), arms_of(axes, 5, lambda trial, seed: 0.5), 1000).to_pylist()
    assert [row["subset_size"] for row in ranking] == [2000, 500, 100]
    assert [row["rank"] for row in ranking] == [1, 2, 3]
    assert [row["is_tied"] for row in ranking] == [True, True, False]
    assert [row["behind"] for row in ranking] == pytest.approx([0.0, 0.0001, 0.1001], abs=1e-12)
    assert [row["test_accuracy_mean"] for row in ranking] == [0.5, 0.5, 0.5]
    assert ranking[2]["low"] < 0.1001 < ranking[2]["high"]


def test_where_results_end_the_seeds_the_ranking_holds_after_every_look() -> None:
    # Differences of 0.02, 0.03, 0.02 and 0.03: t^2 = 75, and E with g = 4 is 26.86.
    arms = arms_of({"subset_size": [100, 500]}, 4, lambda trial, seed: 0.5 + (trial["subset_size"] > 100) * STEPS[seed])
    ranking = rank(arms, arms, 1000, until=SeedRule(at_least=3, at_most=9))
    best, other = ranking.to_pylist()
    assert other["p_holm"] == pytest.approx(1 / (17**-0.5 * (26 / (1 + 75 / 51)) ** 2), rel=1e-9)
    assert (best["method"], other["method"], other["is_tied"]) == (None, "anytime", False)
    # The multiplier of n = 4 is 7.2, that of the t-interval 3.2.
    assert other["high"] - other["behind"] == pytest.approx(7.2 * 0.0057735 / 2, rel=0.01)
    assert best_lines(ranking)[-1] == (
        "The results decided how many seeds were trained: intervals hold however often one looks"
    )
    three = arms_of(
        {"subset_size": [100, 500]}, 3, lambda trial, seed: 0.5 + (trial["subset_size"] > 100) * STEPS[seed]
    )
    assert rank(three, three, 1000, until=SeedRule(at_least=3, at_most=9)).to_pylist()[1]["low"] is None


def test_one_that_is_ahead_in_the_common_seeds_is_not_called_behind() -> None:
    seeds_of_500 = {0: 0.90, 1: 0.91, 2: 0.90, 3: 0.91, 4: 0.99, 5: 0.99}
    arms = arms_of(
        {"subset_size": [100, 500]},
        6,
        lambda trial, seed: (
            seeds_of_500[seed] if trial["subset_size"] > 100 else (0.92 + 0.01 * (seed % 2), None)[seed > 3]
        ),
    )
    best, other = rank(arms, arms, 1000).to_pylist()
    assert (best["subset_size"], other["subset_size"]) == (500, 100)
    assert other["p_holm"] < 0.05
    assert other["behind"] < 0
    assert other["is_tied"]


def test_with_three_seeds_no_configuration_can_be_told_from_the_best() -> None:
    arms = arms_of({"subset_size": [100, 2000]}, 3, validation)
    assert [row["is_tied"] for row in rank(arms, arms, 1000).to_pylist()] == [True, True]


def test_a_configuration_without_a_finished_trial_is_left_out() -> None:
    arms = arms_of({"subset_size": [100, 2000]}, 3, lambda trial, seed: 0.9 if trial["subset_size"] == 100 else None)
    ranking = rank(arms, arms, 1000)
    assert [row["subset_size"] for row in ranking.to_pylist()] == [100]
    assert best_lines(ranking)[-1] == "Not ranked: 1 configuration without a finished trial"
    assert rank(arms_of({}, 0, validation), arms_of({}, 0, validation), 1000).num_rows == 0


def test_the_last_line_names_the_best_and_why_others_are_tied() -> None:
    def line(seeds: int, *sizes: int, collapsed: int = 0) -> str:
        arms = arms_of({"subset_size": list(sizes)}, seeds, validation)
        arm = next(arm for arm, settings in arms.settings.items() if settings["subset_size"] == sizes[0])
        return "\n".join(best_lines(rank(arms, arms, 1000, {arm: collapsed}))).partition("); ")[2]

    assert line(5, 2000) == "it is the only configuration with a finished trial"
    assert line(5, 100, 2000) == "all others are clearly behind"
    assert line(5, 500, 2000) == "1 configuration cannot be told from it"
    few = "fewer than 4 seeds in common are too few for a test"
    assert line(3, 500, 100, 2000) == f"2 configurations cannot be told from it; {few}"
    assert line(5, 500, 2000, collapsed=1).endswith("\nCollapsed: 1 of 5 at rank 2; means and intervals include them")


def test_the_command_prints_the_ranking(tmp_path: Path) -> None:
    store = tmp_path / "results"
    mnistjobs.submit_grid(command_line.write_grid(tmp_path, GRID), store, in_process=True)
    ranking = mnistjobs.rank_job(store, "tiny").to_pylist()
    outcome = command_line.run("best", "tiny", "--store", store)
    assert outcome.code == 0
    assert outcome.out.endswith("\n".join(["", *best_lines(mnistjobs.rank_job(store, "tiny")), ""]))
    assert (
        f"subset size {ranking[0]['subset_size']}, adaptive lr no ({ranking[0]['configuration_id']}); " in outcome.out
    )
    assert json.loads(command_line.run("best", "tiny", "--json", "--store", store).out) == ranking
    summary = {row["configuration_id"]: row for row in mnistjobs.read_summary(store, "tiny").to_pylist()}
    for row in ranking:
        of_summary = summary[row["configuration_id"]]
        assert row["validation_accuracy_mean"] == of_summary["validation_accuracy_mean"]
        assert row["test_accuracy_mean"] == of_summary["test_accuracy_mean"]
