"""Checks the summary against numbers worked out by hand."""

import math
from typing import Any

import pyarrow as pa
import pytest
from support.study_tables import TEST_IMAGES, requested_of, settings, study, summary_of

from jobs.report.summary import SUMMARY_COLUMNS
from jobs.store.schemas import SUMMARY, TRIALS

STUDENT_T_2 = 4.302652729749464  # two degrees of freedom, 97.5 %
ROUNDING = 1e-15
QUANTILE_ROUNDING = 1e-10  # older versions of scipy find the quantile less closely


def only_row(summary: pa.Table) -> dict[str, Any]:
    (row,) = summary.to_pylist()
    return dict(row)


def test_three_seeds_give_the_mean_the_deviation_and_the_interval_worked_out_by_hand() -> None:
    row = only_row(summary_of(*study(0.90, 0.92, 0.94)))
    half = STUDENT_T_2 * 0.02 / math.sqrt(3)
    assert (row["n"], row["seeds_requested"], row["note"]) == (3, 3, "")
    assert row["test_accuracy_mean"] == pytest.approx(0.92, abs=ROUNDING)
    assert row["test_accuracy_std"] == pytest.approx(0.02, abs=ROUNDING)
    assert row["test_accuracy_low"] == pytest.approx(0.92 - half, abs=QUANTILE_ROUNDING)
    assert row["test_accuracy_high"] == pytest.approx(0.92 + half, abs=QUANTILE_ROUNDING)
    assert row["train_validation_gap"] == pytest.approx(0.06, abs=ROUNDING)


def test_both_the_interval_and_its_part_between_0_and_1_are_kept() -> None:
    row = only_row(summary_of(*study(0.90, 0.95, 1.0)))
    assert row["interval"] == "t"
    assert row["test_accuracy_high"] > 1 == row["test_accuracy_high_cut"]
    assert row["test_accuracy_low"] == row["test_accuracy_low_cut"]
    row = only_row(summary_of(*study(0.0, 0.05, 0.10)))
    assert row["test_accuracy_low"] < 0 == row["test_accuracy_low_cut"]


def test_seeds_that_agree_have_the_spread_of_one_test_set() -> None:
    row = only_row(summary_of(*study(0.9, 0.9, 0.9)))
    half = STUDENT_T_2 * math.sqrt(0.9 * 0.1 / TEST_IMAGES) / math.sqrt(3)
    assert (row["interval"], row["test_accuracy_std"]) == ("binomial", 0.0)
    assert row["test_accuracy_low"] == pytest.approx(0.9 - half, abs=QUANTILE_ROUNDING)
    assert row["test_accuracy_high"] == pytest.approx(0.9 + half, abs=QUANTILE_ROUNDING)


@pytest.mark.parametrize("accuracy", [0.0, 1.0])
def test_no_interval_has_a_width_of_zero(accuracy: float) -> None:
    row = only_row(summary_of(*study(accuracy, accuracy, accuracy)))
    centre = (TEST_IMAGES * accuracy + 2) / (TEST_IMAGES + 4)
    half = STUDENT_T_2 * math.sqrt(centre * (1 - centre) / (TEST_IMAGES + 4)) / math.sqrt(3)
    width = row["test_accuracy_high"] - row["test_accuracy_low"]
    assert width == pytest.approx(2 * half, abs=QUANTILE_ROUNDING)
    assert row["test_accuracy_high_cut"] - row["test_accuracy_low_cut"] == pytest.approx(half, abs=QUANTILE_ROUNDING)


def test_two_seeds_have_both_values_and_no_interval() -> None:
    row = only_row(summary_of(*study(0.92, 0.90)))
    assert (row["test_accuracy_min"], row["test_accuracy_max"]) == (0.90, 0.92)
    assert row["test_accuracy_std"] == pytest.approx(0.02 / math.sqrt(2), abs=ROUNDING)
    assert row["test_accuracy_low"] is row["test_accuracy_high_cut"] is row["interval"] is None


def test_collapsed_trials_are_counted_and_the_mean_is_given_without_them() -> None:
    row = only_row(summary_of(*study(0.10, 0.90, 0.10)))
    assert (row["n"], row["collapsed"], row["note"]) == (3, 2, "2 of 3 collapsed")
    assert row["test_accuracy_mean"] == pytest.approx(1.1 / 3, abs=ROUNDING)
    assert row["test_accuracy_mean_without_collapsed"] == 0.90
    row = only_row(summary_of(*study(0.10, None)))
    assert (row["collapsed"], row["test_accuracy_mean_without_collapsed"]) == (1, None)
    assert row["note"] == "n is 1 of 2: 1 diverged; 1 of 1 collapsed"


def test_the_summary_has_its_schema() -> None:
    assert summary_of(*study(0.9, None)).schema == SUMMARY


def test_a_diverged_trial_is_counted_and_left_out_of_every_mean() -> None:
    row = only_row(summary_of(*study(0.90, None, 0.92)))
    assert (row["n"], row["diverged"], row["note"]) == (2, 1, "n is 2 of 3: 1 diverged")
    assert row["test_accuracy_mean"] == pytest.approx(0.91, abs=ROUNDING)
    assert row["train_accuracy_mean"] == 0.99


@pytest.mark.parametrize("name", ["test_accuracy", "train_accuracy", "validation_accuracy"])
def test_a_row_with_an_accuracy_that_is_no_number_is_left_out_of_every_mean(name: str) -> None:
    trials, requested = study(0.90, 0.92)
    rows = trials.to_pylist()
    rows[0][name] = math.nan
    row = only_row(summary_of(pa.Table.from_pylist(rows, trials.schema), requested))
    assert (row["n"], row["test_accuracy_mean"], row["train_accuracy_mean"]) == (1, 0.92, 0.99)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    row = only_row(summary_of(*study(0.9)))
    assert row["test_accuracy_mean"] == 0.9
    assert row["test_accuracy_std"] is row["test_accuracy_low"] is row["test_accuracy_high"] is None


def test_a_configuration_without_a_finished_trial_keeps_its_row() -> None:
    row = only_row(summary_of(*study(None, None)))
    assert (row["n"], row["diverged"], row["note"]) == (0, 2, "n is 0 of 2: 2 diverged")
    assert row["test_accuracy_mean"] is row["train_accuracy_mean"] is row["train_validation_gap"] is None


def test_a_trial_that_is_not_stored_is_failed_or_missing() -> None:
    trials, requested = study(0.9, 0.9, 0.9, 0.9)
    row = only_row(summary_of(trials.slice(0, 2), requested, failed_ids=["trial-0", "trial-3"]))
    assert (row["n"], row["failed"], row["missing"]) == (2, 1, 1)
    assert row["note"] == "n is 2 of 4: 1 failed, 1 missing"


def test_nothing_stored_means_everything_is_missing() -> None:
    row = only_row(summary_of(TRIALS.empty_table(), study(0.9, 0.9)[1]))
    assert (row["n"], row["missing"], row["note"]) == (0, 2, "n is 0 of 2: 2 missing")


def test_the_order_of_the_trials_does_not_change_a_bit() -> None:
    trials, requested = study(0.1, 0.7, 0.3, 0.9000000000000001, 0.2)
    shuffled = trials.take([3, 0, 4, 2, 1])
    assert summary_of(shuffled, requested).equals(summary_of(trials, requested))


def test_rows_stand_in_the_order_asked_for() -> None:
    orders = [("mlp", 50_000), ("cnn", 2000), ("mlp", 2000)]
    asked = [settings(seed, model=model, subset_size=size) for seed in (0, 1) for model, size in orders]
    summary = summary_of(TRIALS.empty_table(), requested_of(*asked))
    assert [(row["model"], row["subset_size"]) for row in summary.to_pylist()] == orders


def test_only_the_summary_s_columns_of_trials_are_needed() -> None:
    trials, requested = study(0.9, 0.92)
    assert summary_of(trials.select(SUMMARY_COLUMNS), requested).equals(summary_of(trials, requested))
