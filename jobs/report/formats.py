"""The summary as text: cells for tables and pages, CSV, Markdown and JSON."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from jobs.report.configurations import CONFIGURATION_COLUMNS, IDENTIFYING, varying_settings
from jobs.report.summary import Row

NO_VALUE = "–"
TEXT_HEADERS = ("model", "numerics", "note")  # columns of words; all others are numbers and aligned to the right
_RESULT_HEADERS = ("n", "test accuracy [95 % interval]", "std (pp)", "train", "validation", "gap (pp)")
_COUNT_HEADERS = ("diverged", "failed")


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a number of things: 1 trial, 2,000 trials.

    Args:
        count: How many.
        noun: In the singular.
        plural: Where it is not the singular with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_setting(value: Any) -> str:  # noqa: ANN401  (a cell of any column)
    """Format the value of a setting for a person."""
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return {"mlp": "MLP", "cnn": "CNN"}.get(value, str(value))


def summary_cells(summary: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Format a summary for a person, with accuracies in percent.

    Args:
        summary: A table with the schema SUMMARY.

    Returns:
        The header, and one list of cells per configuration. Settings that do not vary are left out, and so is the
        note where no configuration has one.
    """
    columns = summary.select(CONFIGURATION_COLUMNS).to_pydict()
    settings = [*IDENTIFYING, *varying_settings(columns)]
    header = [*(setting.replace("_", " ") for setting in settings), *_RESULT_HEADERS, *_COUNT_HEADERS]
    rows = [[format_setting(row[name]) for name in settings] + _result_cells(row) for row in summary.to_pylist()]
    notes: list[str] = summary["note"].to_pylist()
    if any(notes):
        header.append("note")
        rows = [[*row, note] for row, note in zip(rows, notes, strict=True)]
    return header, rows


def _result_cells(row: Row) -> list[str]:
    n, requested = row["n"], row["seeds_requested"]
    interval = f" [{_points(row['test_accuracy_low'])}, {_points(row['test_accuracy_high'])}]" if n > 1 else ""
    return [
        f"{n}" if n == requested else f"{n} of {requested}",
        _percent(row["test_accuracy_mean"]) + interval,
        _points(row["test_accuracy_std"]),
        _percent(row["train_accuracy_mean"]),
        _percent(row["validation_accuracy_mean"]),
        _points(row["train_validation_gap"]),
        *(f"{row[name]}" for name in _COUNT_HEADERS),
    ]


def _points(fraction: float | None) -> str:
    return NO_VALUE if fraction is None else f"{100 * fraction:z.2f}"


def _percent(fraction: float | None) -> str:
    return NO_VALUE if fraction is None else f"{_points(fraction)} %"


def summary_markdown(summary: pa.Table) -> str:
    """Format a summary as a Markdown table, with accuracies in percent."""
    header, rows = summary_cells(summary)
    rule = ["---" if name in TEXT_HEADERS else "---:" for name in header]
    lines = [_markdown_line(header), "| " + " | ".join(rule) + " |", *map(_markdown_line, rows)]
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.replace("\\", "\\\\").replace("|", "\\|").split()) for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def summary_csv(summary: pa.Table) -> str:
    """Format every column of a summary as CSV: accuracies as unrounded fractions, null as an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(summary.column_names)
    writer.writerows([_csv_cell(value) for value in row.values()] for row in summary.to_pylist())
    return text.getvalue()


def _csv_cell(value: Any) -> Any:  # noqa: ANN401  (a cell of any column)
    if isinstance(value, bool):
        return "true" if value else "false"
    # Spreadsheets run text that begins like a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def summary_json(summary: pa.Table) -> str:
    """Format every column of a summary as a JSON list of objects, with accuracies as fractions."""
    return json.dumps(summary.to_pylist(), indent=2, allow_nan=False) + "\n"
