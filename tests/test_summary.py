"""Checks the summary against numbers worked out by hand."""

import csv
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from support.study_tables import REQUESTED, Setting, settings, study

from jobs.report.summary import (
    SUMMARY,
    summarize,
    summary_cells,
    summary_csv,
    summary_json,
    summary_markdown,
    varying_settings,
)
from jobs.store.schemas import TRIALS

STUDENT_T_2 = 4.302652729749464  # two degrees of freedom, 97.5 %
ROUNDING = 1e-15
QUANTILE_ROUNDING = 1e-10  # older versions of scipy find the quantile less closely


def only_row(summary: pa.Table) -> dict[str, Any]:
    (row,) = summary.to_pylist()
    return dict(row)


def test_three_seeds_give_the_mean_the_deviation_and_the_interval_worked_out_by_hand() -> None:
    row = only_row(summarize(*study(0.90, 0.92, 0.94)))
    half = STUDENT_T_2 * 0.02 / math.sqrt(3)
    assert (row["n"], row["seeds_requested"], row["note"]) == (3, 3, "")
    assert row["test_accuracy_mean"] == pytest.approx(0.92, abs=ROUNDING)
    assert row["test_accuracy_std"] == pytest.approx(0.02, abs=ROUNDING)
    assert row["test_accuracy_low"] == pytest.approx(0.92 - half, abs=QUANTILE_ROUNDING)
    assert row["test_accuracy_high"] == pytest.approx(0.92 + half, abs=QUANTILE_ROUNDING)
    assert row["train_validation_gap"] == pytest.approx(0.06, abs=ROUNDING)


def test_the_interval_is_not_clipped_to_what_an_accuracy_can_be() -> None:
    assert only_row(summarize(*study(0.95, 1.0)))["test_accuracy_high"] > 1


def test_the_summary_has_its_schema() -> None:
    assert summarize(*study(0.9, None)).schema == SUMMARY


def test_a_diverged_trial_is_counted_and_left_out_of_every_mean() -> None:
    row = only_row(summarize(*study(0.90, None, 0.92)))
    assert (row["n"], row["diverged"], row["note"]) == (2, 1, "n is 2 of 3: 1 diverged")
    assert row["test_accuracy_mean"] == pytest.approx(0.91, abs=ROUNDING)
    assert row["train_accuracy_mean"] == 0.99


@pytest.mark.parametrize("name", ["test_accuracy", "train_accuracy", "validation_accuracy"])
def test_a_row_with_an_accuracy_that_is_no_number_is_left_out_of_every_mean(name: str) -> None:
    trials, requested = study(0.90, 0.92)
    rows = trials.to_pylist()
    rows[0][name] = math.nan
    row = only_row(summarize(pa.Table.from_pylist(rows, trials.schema), requested))
    assert (row["n"], row["test_accuracy_mean"], row["train_accuracy_mean"]) == (1, 0.92, 0.99)


def test_one_seed_has_a_mean_and_no_interval() -> None:
    row = only_row(summarize(*study(0.9)))
    assert row["test_accuracy_mean"] == 0.9
    assert row["test_accuracy_std"] is row["test_accuracy_low"] is row["test_accuracy_high"] is None


def test_a_configuration_without_a_finished_trial_keeps_its_row() -> None:
    row = only_row(summarize(*study(None, None)))
    assert (row["n"], row["diverged"], row["note"]) == (0, 2, "n is 0 of 2: 2 diverged")
    assert row["test_accuracy_mean"] is row["train_accuracy_mean"] is row["train_validation_gap"] is None


def test_what_is_not_stored_is_failed_or_missing() -> None:
    trials, requested = study(0.9, 0.9, 0.9, 0.9)
    row = only_row(summarize(trials.slice(0, 2), requested, failed_ids=["trial-0", "trial-3"]))
    assert (row["n"], row["failed"], row["missing"]) == (2, 1, 1)
    assert row["note"] == "n is 2 of 4: 1 failed, 1 missing"


def test_nothing_stored_means_everything_is_missing() -> None:
    row = only_row(summarize(TRIALS.empty_table(), study(0.9, 0.9)[1]))
    assert (row["n"], row["missing"], row["note"]) == (0, 2, "n is 0 of 2: 2 missing")


def test_the_order_of_the_trials_does_not_change_a_bit() -> None:
    trials, requested = study(0.1, 0.7, 0.3, 0.9000000000000001, 0.2)
    shuffled = trials.take([3, 0, 4, 2, 1])
    assert summarize(shuffled, requested).equals(summarize(trials, requested))


def test_rows_stand_in_the_order_asked_for() -> None:
    orders = [("mlp", 50_000), ("cnn", 2000), ("mlp", 2000)]
    asked = [settings(seed, model=model, subset_size=size) for seed in (0, 1) for model, size in orders]
    rows = [{"trial_id": f"{i}", **one} for i, one in enumerate(asked)]
    summary = summarize(TRIALS.empty_table(), pa.Table.from_pylist(rows, REQUESTED))
    assert [(row["model"], row["subset_size"]) for row in summary.to_pylist()] == orders


def two_configurations(**changed: Setting) -> pa.Table:
    asked = [settings(0), settings(0, **changed)]
    rows = [{"trial_id": f"{i}", **one} for i, one in enumerate(asked)]
    return summarize(TRIALS.empty_table(), pa.Table.from_pylist(rows, REQUESTED))


def test_a_setting_with_two_values_varies() -> None:
    assert varying_settings(two_configurations(hidden_units=32)) == [
        "model",
        "subset_size",
        "adaptive_lr",
        "hidden_units",
    ]


def test_a_setting_that_one_model_does_not_use_does_not_vary() -> None:
    summary = two_configurations(model="cnn", hidden_units=None, weight_init_std=None)
    assert varying_settings(summary) == ["model", "subset_size", "adaptive_lr"]


def test_a_person_reads_percent() -> None:
    header, rows = summary_cells(summarize(*study(0.90, 0.92, 0.94)))
    assert dict(zip(header, rows[0], strict=True)) == {
        "model": "MLP",
        "subset size": "2,000",
        "adaptive lr": "no",
        "n": "3",
        "test accuracy [95 % interval]": "92.00 % [87.03, 96.97]",
        "std (pp)": "2.00",
        "train": "99.00 %",
        "validation": "93.00 %",
        "gap (pp)": "6.00",
        "diverged": "0",
        "failed": "0",
    }


def test_a_row_with_too_few_seeds_says_so() -> None:
    header, rows = summary_cells(summarize(*study(0.90, None)))
    assert rows[0][header.index("n")] == "1 of 2"
    assert rows[0][header.index("test accuracy [95 % interval]")] == "90.00 %"
    assert rows[0][header.index("std (pp)")] == "–"
    assert rows[0][-1] == "n is 1 of 2: 1 diverged"


def test_markdown_is_one_line_a_row_with_equal_cells() -> None:
    lines = summary_markdown(summarize(*study(0.90, 0.92))).splitlines()
    assert len(lines) == 3
    assert {line.count("|") for line in lines} == {12}


def test_markdown_escapes_what_would_end_a_cell() -> None:
    text = summary_markdown(summarize(*study(0.9, model="a|b\nc")))
    assert r"a\|b c" in text


def test_csv_gives_back_every_number_unrounded() -> None:
    summary = summarize(*study(0.1, 0.7, None))
    (row,) = csv.DictReader(io.StringIO(summary_csv(summary)))
    assert list(row) == summary.column_names
    assert float(row["test_accuracy_std"]) == only_row(summary)["test_accuracy_std"]
    assert (row["adaptive_lr"], row["lr_decay"], row["note"]) == ("false", "", "n is 2 of 3: 1 diverged")


@pytest.mark.parametrize("model", ["=1+1", "+1", "-1", "@sum", "\t=1"])
def test_csv_text_that_begins_like_a_formula_is_inert(model: str) -> None:
    (row,) = csv.DictReader(io.StringIO(summary_csv(summarize(*study(0.9, model=model)))))
    assert row["model"] == f"'{model}"


def test_a_negative_number_stays_a_number_in_csv() -> None:
    (row,) = csv.DictReader(io.StringIO(summary_csv(summarize(*study(0.0, 0.1)))))
    assert float(row["test_accuracy_low"]) < 0


def test_json_writes_null_where_there_is_no_value() -> None:
    (row,) = json.loads(summary_json(summarize(*study(None))))
    assert list(row) == SUMMARY.names
    assert row["test_accuracy_mean"] is None
    assert row["adaptive_lr"] is False


@pytest.mark.parametrize("render", [summary_csv, summary_markdown, summary_json])
def test_an_empty_summary_renders(render: Callable[[pa.Table], str]) -> None:
    assert render(SUMMARY.empty_table())
