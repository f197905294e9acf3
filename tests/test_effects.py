"""Effects and interactions: worked out by hand, and compared with the analysis of variance of statsmodels."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import pytest
from statsmodels.stats.anova import AnovaRM
from support.study_arms import arms_of

from jobs.report.effects import EFFECTS, effect_table

IMAGES = 5000
SEEDS = 6
DESIGN: dict[str, list[Any]] = {"model": ["mlp", "cnn"], "subset_size": [500, 2000], "adaptive_lr": [False, True]}


@pytest.fixture(scope="module")
def accuracies() -> dict[tuple[Any, ...], float]:
    rng = np.random.default_rng(0)
    found = {}
    for model in DESIGN["model"]:
        for size in DESIGN["subset_size"]:
            for adaptive in DESIGN["adaptive_lr"]:
                for seed in range(SEEDS):
                    mean = 0.6 + 0.1 * (model == "cnn") + 0.1 * (size == 2000) - 0.02 * adaptive * (model == "mlp")
                    found[model, size, adaptive, seed] = mean + 0.01 * float(rng.normal())
    return found


def test_effects_equal_a_repeated_measures_analysis_of_variance(accuracies: dict[tuple[Any, ...], float]) -> None:
    def accuracy(trial: Mapping[str, Any], seed: int) -> float:
        return accuracies[trial["model"], trial["subset_size"], trial["adaptive_lr"], seed]

    table = effect_table(arms_of(DESIGN, SEEDS, accuracy), IMAGES)
    assert table.schema.equals(EFFECTS)
    rows = [(*key, value) for key, value in accuracies.items()]
    frame = pd.DataFrame(rows, columns=[*DESIGN, "seed", "accuracy"])
    expected = AnovaRM(frame, "accuracy", "seed", within=[*DESIGN]).fit().anova_table["Pr > F"]
    names = [name.replace(" x ", ":") for name in table["effect"].to_pylist()]
    assert names == [name for name in expected.index if name.count(":") < 2]
    assert table["p"].to_pylist() == pytest.approx([expected[name] for name in names], rel=1e-8)


def test_a_main_effect_and_an_interaction_are_as_worked_out_by_hand() -> None:
    def accuracy(trial: Mapping[str, Any], seed: int) -> float:
        few = bool(trial["subset_size"] == 500)
        adaptive = bool(trial["adaptive_lr"])
        return 0.8 - 0.2 * few - 0.04 * (few and adaptive) + 0.001 * seed * adaptive

    axes: dict[str, list[Any]] = {"subset_size": [500, 1000, 2000], "adaptive_lr": [False, True]}
    size, schedule, both = effect_table(arms_of(axes, 3, accuracy), IMAGES).to_pylist()
    assert (size["effect"], size["level_a"], size["level_b"], size["n"]) == ("subset_size", "2000", "500", 3)
    assert size["mean"] == pytest.approx((0.2 + 0.24) / 2, abs=1e-9)
    assert schedule["mean"] == pytest.approx(0.001 - 0.04 / 3, abs=1e-9)
    assert (both["effect"], both["level_a"], both["level_b"]) == (
        "subset_size x adaptive_lr",
        "2000, true",
        "500, false",
    )
    assert both["mean"] == pytest.approx(0.24 - 0.2, abs=1e-9)
    assert (size["p"], size["p_holm"]) == (None, None)


def test_a_setting_of_one_model_has_an_effect_and_no_interaction_with_the_model() -> None:
    axes: dict[str, list[Any]] = {"model": ["mlp", "cnn"], "hidden_units": [32, 64]}
    arms = arms_of(axes, 4, lambda trial, seed: 0.9 + 0.001 * seed * (trial["hidden_units"] == 64))
    assert effect_table(arms, IMAGES)["effect"].to_pylist() == ["model", "hidden_units"]


def test_a_seed_that_lacks_a_configuration_is_left_out() -> None:
    def accuracy(trial: Mapping[str, Any], seed: int) -> float | None:
        return None if seed == 1 and trial["adaptive_lr"] else 0.9

    (row,) = effect_table(arms_of({"adaptive_lr": [False, True]}, 5, accuracy), IMAGES).to_pylist()
    assert (row["n"], row["mean"], row["p"]) == (4, 0.0, 1.0)
