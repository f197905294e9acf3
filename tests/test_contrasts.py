"""Which configurations are compared, and what is said about each difference."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pytest
from support.study_arms import arms_of
from support.study_tables import study

from jobs.report.arms import read_arms
from jobs.report.contrasts import contrast_schema, contrast_table, word
from jobs.report.paired import paired_difference

IMAGES = 5000
# Test accuracies of the MLP at 500 images, 15 epochs, seeds 0 to 4: fixed and adaptive rate.
FIXED = [0.5820, 0.6304, 0.5430, 0.5856, 0.5650]
ADAPTIVE = [0.5440, 0.5904, 0.4934, 0.5478, 0.5300]
NOISE = [0.001, -0.002, 0.003, 0.0, -0.001]


def measured(trial: Mapping[str, Any], seed: int) -> float:
    """Give accuracies that rise with the images, and fall with an adaptive rate on few images only."""
    loss = 0.04 if trial["adaptive_lr"] and trial["subset_size"] == 500 else 0.0
    mean: float = {500: 0.6, 2000: 0.8, 50_000: 0.9}[trial["subset_size"]] - loss
    return mean + NOISE[seed] * (2.0 if trial["adaptive_lr"] else 1.0)


def rows_of(table: pa.Table, **wanted: object) -> list[dict[str, Any]]:
    return [row for row in table.to_pylist() if all(row[name] == value for name, value in wanted.items())]


def test_intervals_that_overlap_hide_a_difference_that_pairing_shows() -> None:
    arms = arms_of(
        {"adaptive_lr": [False, True]}, 5, lambda trial, seed: (ADAPTIVE if trial["adaptive_lr"] else FIXED)[seed]
    )
    (row,) = contrast_table(arms, IMAGES).to_pylist()
    assert (row["axis"], row["level_a"], row["level_b"], row["seeds_agree"]) == ("adaptive_lr", "true", "false", 5)
    assert row["mean"] == pytest.approx(-0.04008, abs=1e-9)
    assert -0.05 < row["low"] < row["high"] < -0.03
    assert (row["word"], row["family_size"]) == ("clear", 1)
    assert row["p"] == row["p_holm"] < 0.001


def test_neighbours_of_an_ordered_axis_are_compared_in_each_context() -> None:
    arms = arms_of({"subset_size": [50_000, 500, 2000], "adaptive_lr": [False, True]}, 5, measured)
    table = contrast_table(arms, IMAGES)
    assert table.schema.equals(contrast_schema(["subset_size", "adaptive_lr"]))
    sizes = rows_of(table, axis="subset_size")
    assert [(row["level_a"], row["level_b"], row["adaptive_lr"]) for row in sizes] == [
        ("2000", "500", False),
        ("2000", "500", True),
        ("50000", "2000", False),
        ("50000", "2000", True),
    ]
    assert {row["subset_size"] for row in sizes} == {None}
    assert [row["mean"] for row in sizes] == pytest.approx([0.2, 0.24, 0.1, 0.1], abs=1e-9)
    assert {row["family_size"] for row in sizes} == {4}
    schedules = rows_of(table, axis="adaptive_lr")
    assert [(row["subset_size"], row["word"]) for row in schedules] == [
        (50_000, "open"),
        (500, "clear"),
        (2000, "open"),
    ]


def test_a_baseline_is_what_every_other_level_is_compared_with() -> None:
    arms = arms_of({"subset_size": [500, 2000, 50_000]}, 5, measured)
    table = contrast_table(arms, IMAGES, baseline={"subset_size": 500})
    assert [(row["level_a"], row["level_b"]) for row in table.to_pylist()] == [("2000", "500"), ("50000", "500")]
    assert set(table["family"].to_pylist()) == {"subset_size against 500"}


def test_a_setting_that_one_level_alone_uses_does_not_keep_the_two_apart() -> None:
    arms = arms_of({"adaptive_lr": [False, True], "lr_decay": [0.9, 0.99]}, 3, lambda trial, seed: 0.9)
    found = rows_of(contrast_table(arms, IMAGES), axis="adaptive_lr")
    assert [row["lr_decay"] for row in found] == [0.9, 0.99]
    assert [row["lr_decay"] for row in rows_of(contrast_table(arms, IMAGES), axis="lr_decay")] == [None]


def test_seeds_are_aligned_by_their_value() -> None:
    def accuracy(trial: Mapping[str, Any], seed: int) -> float | None:
        gone = (seed == 0 and trial["adaptive_lr"]) or (seed == 4 and not trial["adaptive_lr"])
        return None if gone else 0.5 + 0.1 * seed + 0.01 * trial["adaptive_lr"]

    (row,) = contrast_table(arms_of({"adaptive_lr": [False, True]}, 5, accuracy), IMAGES).to_pylist()
    assert (row["n"], row["mean"]) == (3, pytest.approx(0.01, abs=1e-9))


def test_without_an_axis_there_is_nothing_to_compare() -> None:
    assert contrast_table(arms_of({}, 5, lambda trial, seed: 0.9), IMAGES).num_rows == 0


def test_trials_that_diverged_are_left_out() -> None:
    fixed, of_fixed = study(0.9, None, 0.92, name="fixed")
    adaptive, of_adaptive = study(0.91, 0.93, 0.93, name="adaptive", adaptive_lr=True, lr_decay=0.97)
    arms = read_arms(pa.concat_tables([adaptive, fixed]), pa.concat_tables([of_fixed, of_adaptive]))
    (row,) = contrast_table(arms, IMAGES).to_pylist()
    assert (row["n"], row["mean"]) == (2, pytest.approx(0.01, abs=1e-9))


def test_the_mean_without_collapsed_networks_leaves_their_seeds_out() -> None:
    fixed, of_fixed = study(0.1, 0.90, 0.92, name="fixed")  # an accuracy of 0.1 is a network that collapsed
    adaptive, of_adaptive = study(0.9, 0.93, 0.1, name="adaptive", adaptive_lr=True, lr_decay=0.97)
    arms = read_arms(pa.concat_tables([adaptive, fixed]), pa.concat_tables([of_fixed, of_adaptive]))
    (row,) = contrast_table(arms, IMAGES).to_pylist()
    assert (row["n"], row["collapsed"]) == (3, 2)
    assert row["mean"] == pytest.approx((0.8 + 0.03 - 0.82) / 3, abs=1e-9)
    assert row["mean_without_collapsed"] == pytest.approx(0.03, abs=1e-9)


@pytest.mark.parametrize(
    ("p_holm", "margin", "expected"),
    [(0.04, None, "clear"), (0.06, None, "suggested"), (0.04, 0.2, "negligible"), (0.06, 0.001, "suggested")],
)
def test_the_word_follows_from_p_and_the_margin(p_holm: float, margin: float | None, expected: str) -> None:
    difference = paired_difference([0.92, 0.92, 0.93, 0.95], [0.90, 0.90, 0.92, 0.92], IMAGES)
    assert difference.p is not None
    assert difference.p < 0.05
    assert word(difference, p_holm, margin) == expected


def test_an_absence_of_evidence_is_open_and_not_negligible() -> None:
    difference = paired_difference([0.91, 0.90, 0.93, 0.90], [0.90, 0.91, 0.92, 0.91], IMAGES)
    assert word(difference, difference.p, None) == "open"
    assert word(paired_difference([0.9] * 3, [0.8] * 3, IMAGES), None, None) == "open"  # too few seeds for a p
