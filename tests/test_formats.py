"""The summary as text: for a person, and as Markdown, CSV and JSON; counts in singular and plural."""

import csv
import io
import json
from collections.abc import Callable

import pyarrow as pa
import pytest
from support.study_tables import Setting, requested_of, settings, study, summary_of, together

from jobs.report.configurations import CONFIGURATION_COLUMNS, varying_settings
from jobs.report.formats import format_count, format_n, summary_cells, summary_notes
from jobs.report.renderings import summary_json, summary_markdown, table_csv
from jobs.store.schemas import SUMMARY


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 trials"), (1, "1 trial"), (2, "2 trials"), (12_345, "12,345 trials")]
)
def test_a_count_is_singular_or_plural(count: int, text: str) -> None:
    assert format_count(count, "trial") == text


def test_a_count_may_have_an_irregular_plural() -> None:
    assert [format_count(count, "entry", "entries") for count in (1, 2)] == ["1 entry", "2 entries"]


def two_configurations(**changed: Setting) -> dict[str, list[object]]:
    asked = [settings(0), settings(0, **changed)]
    columns: dict[str, list[object]] = requested_of(*asked).select(CONFIGURATION_COLUMNS).to_pydict()
    return columns


def test_a_setting_with_two_values_varies() -> None:
    assert varying_settings(two_configurations(hidden_units=32)) == ["hidden_units"]


def test_a_setting_that_one_model_does_not_use_does_not_vary() -> None:
    assert varying_settings(two_configurations(model="cnn", hidden_units=None, weight_init_std=None)) == []


def test_native_numerics_are_marked_even_where_nothing_varies() -> None:
    native = [settings(seed, numerics="native") for seed in (0, 1)]
    assert varying_settings(requested_of(*native).select(CONFIGURATION_COLUMNS).to_pydict()) == ["numerics"]
    header, rows = summary_cells(summary_of(*study(0.90, 0.92, numerics="native")))
    assert (header[3], rows[0][3]) == ("numerics", "native")


def test_a_person_reads_percent() -> None:
    header, rows = summary_cells(summary_of(*study(0.90, 0.92, 0.94)))
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
    header, rows = summary_cells(summary_of(*study(0.90, None)))
    assert rows[0][header.index("n")] == "1 of 2"
    assert rows[0][header.index("test accuracy [95 % interval]")] == "90.00 %"
    assert rows[0][header.index("std (pp)")] == "–"
    assert rows[0][-1] == "n is 1 of 2: 1 diverged"


ACCURACY = "test accuracy [95 % interval]"


def cell(name: str, *accuracies: float | None) -> str:
    header, (row,) = summary_cells(summary_of(*study(*accuracies)))
    return row[header.index(name)]


@pytest.mark.parametrize(
    ("n", "requested", "collapsed", "text"),
    [
        ([3], [3], 0, "3"),
        ([3], [5], 0, "3 of 5"),
        ([3], [3], 2, "3 of 3, 2 collapsed"),
        ([2, 3], [3, 3], 0, "2–3 of 3"),
        ([3, 3], [3, 3], 4, "3 of 3, 4 of 6 collapsed"),
        ([1, 5], [1, 5], 0, "1–5"),
        ([0], [3], 0, "0 of 3"),
    ],
)
def test_n_is_said_beside_what_was_asked_for(n: list[int], requested: list[int], collapsed: int, text: str) -> None:
    assert format_n(n, requested, collapsed) == text


def test_an_interval_is_shown_up_to_100_percent_with_a_mark() -> None:
    assert cell(ACCURACY, 0.90, 0.95, 1.0) == "95.00 % [82.58, 100.00*]"
    assert cell(ACCURACY, 0.0, 0.05, 0.10) == "5.00 % [0.00*, 17.42]"


def test_two_values_are_shown_as_they_are() -> None:
    assert cell(ACCURACY, 0.92, 0.90) == "91.00 % (90.00, 92.00)"
    assert cell(ACCURACY, 0.92) == "92.00 %"


def test_an_interval_of_seeds_that_agree_is_marked() -> None:
    assert cell(ACCURACY, 0.5, 0.5, 0.5) == "50.00 % [46.07, 53.93]†"


def test_collapsed_trials_are_counted_beside_n_and_left_out_of_a_second_mean() -> None:
    assert cell("n", 0.1, 0.9, 0.1) == "3 of 3, 2 collapsed"
    assert cell("without collapsed", 0.1, 0.9, 0.1) == "90.00 %"
    assert "without collapsed" not in summary_cells(summary_of(*study(0.9, 0.8)))[0]


def test_the_notes_say_what_the_interval_covers_and_only_marks_that_are_used() -> None:
    test_set = "this test set of 1,000 images"
    covers = f"Interval: 95 %, for the mean over seeds, on {test_set}; it does not cover other test images."
    assert summary_notes(summary_of(*study(0.90, 0.92, 0.94))) == [covers]
    assert summary_notes(summary_of(*study(0.9))) == ["No interval: three finished seeds are the fewest that give one."]
    every = together(
        study(0.1, 0.5, 1.0), study(0.5, 0.5, 0.5, name="b", epochs=4), study(0.5, 0.6, name="c", epochs=5)
    )
    first, pair, cut, agree, collapsed = summary_notes(summary_of(*every))
    assert first == covers
    assert pair.startswith("(a, b): ")
    assert cut.startswith("* ")
    assert agree.startswith("† ")
    assert collapsed.startswith("Collapsed: ")


def test_markdown_is_one_line_a_row_with_equal_cells() -> None:
    lines = summary_markdown(summary_of(*study(0.90, 0.92))).splitlines()
    assert lines[3] == ""
    assert {line.count("|") for line in lines[:3]} == {12}


def test_markdown_ends_with_what_the_interval_covers() -> None:
    text = summary_markdown(summary_of(*study(0.90, 0.95, 1.0)))
    assert "| 95.00 % [82.58, 100.00\\*] |" in text
    assert text.endswith(
        "\n\nInterval: 95 %, for the mean over seeds, on this test set of 1,000 images; it does not cover "
        "other test images.\n\n\\* cut to what an accuracy can be.\n"
    )


def test_markdown_escapes_what_would_end_a_cell() -> None:
    text = summary_markdown(summary_of(*study(0.9, model="a|b\nc")))
    assert r"a\|b c" in text


def test_csv_gives_back_every_number_unrounded() -> None:
    summary = summary_of(*study(0.2, 0.7, None))
    (row,) = csv.DictReader(io.StringIO(table_csv(summary)))
    assert list(row) == summary.column_names
    assert float(row["test_accuracy_std"]) == summary["test_accuracy_std"][0].as_py()
    assert (row["adaptive_lr"], row["lr_decay"], row["note"]) == ("false", "", "n is 2 of 3: 1 diverged")


@pytest.mark.parametrize("model", ["=1+1", "+1", "-1", "@sum", "\t=1"])
def test_csv_text_that_begins_like_a_formula_is_inert(model: str) -> None:
    (row,) = csv.DictReader(io.StringIO(table_csv(summary_of(*study(0.9, model=model)))))
    assert row["model"] == f"'{model}"


def test_a_negative_number_stays_a_number_in_csv() -> None:
    (row,) = csv.DictReader(io.StringIO(table_csv(summary_of(*study(0.0, 0.1, 0.0)))))
    assert float(row["test_accuracy_low"]) < 0


def test_json_writes_null_where_there_is_no_value() -> None:
    (row,) = json.loads(summary_json(summary_of(*study(None))))
    assert list(row) == SUMMARY.names
    assert row["test_accuracy_mean"] is None
    assert row["adaptive_lr"] is False


@pytest.mark.parametrize("render", [table_csv, summary_markdown, summary_json])
def test_an_empty_summary_renders(render: Callable[[pa.Table], str]) -> None:
    assert render(SUMMARY.empty_table())
