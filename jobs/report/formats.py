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
CUT_MARK, BINOMIAL_MARK = "*", "†"
# Columns of words; all others are numbers, and aligned to the right.
TEXT_HEADERS = ("model", "numerics", "note", "axis", "a", "b", "result")
N_HEADER, ACCURACY_HEADER, INTACT_HEADER = "n", "test accuracy [95 % interval]", "without collapsed"
NEW_IMAGES_HEADER = "[95 % interval, new images]"
_OTHER_HEADERS = ("std (pp)", "train", "validation", "gap (pp)")
_CONTRAST_HEADERS = ("n", "a - b (pp) [95 % interval]", "seeds agree", "p (Holm)", "result")
COUNT_HEADERS = ("diverged", "failed")  # which a note repeats


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a number of things: 1 trial, 2,000 trials.

    Args:
        count: How many.
        noun: In the singular.
        plural: Where it is not the singular with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_n(n: Sequence[int], requested: Sequence[int], collapsed: int = 0) -> str:
    """Format how many seeds are behind a figure: 3, 3 of 5, 2–3 of 5, or 3 of 3, 2 collapsed.

    Args:
        n: Seeds, of each point where the figure has several.
        requested: Seeds that the job asks for, of each point.
        collapsed: How many of the trials collapsed, at all points together.
    """
    text = format_range(n)
    if collapsed or tuple(n) != tuple(requested):
        text += f" of {format_range(requested)}"
    if not collapsed:
        return text
    return f"{text}, {collapsed}{f' of {sum(n)}' if len(n) > 1 else ''} collapsed"


def format_range(values: Sequence[int]) -> str:
    """Format the smallest and the largest value, such as 4–5, or one value where they are equal."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low}–{high}"


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
        The header, and one list of cells per configuration. Settings that do not vary are left out, and so are the
        note and the mean without collapsed trials where no configuration has one.
    """
    columns = summary.select(CONFIGURATION_COLUMNS).to_pydict()
    settings = [*IDENTIFYING, *varying_settings(columns)]
    rows = [
        {**{name.replace("_", " "): format_setting(row[name]) for name in settings}, **_result_cells(row)}
        for row in summary.to_pylist()
    ]
    has_collapsed, has_notes = any(summary["collapsed"].to_pylist()), any(summary["note"].to_pylist())
    header = [
        *(name.replace("_", " ") for name in settings),
        N_HEADER,
        ACCURACY_HEADER,
        *([INTACT_HEADER] if has_collapsed else []),
        *([NEW_IMAGES_HEADER] if any(each is not None for each in summary["new_images_low"].to_pylist()) else []),
        *_OTHER_HEADERS,
        *COUNT_HEADERS,
        *(["note"] if has_notes else []),
    ]
    return header, [[row[name] for name in header] for row in rows]


def _result_cells(row: Row) -> dict[str, str]:
    return {
        N_HEADER: format_n([row["n"]], [row["seeds_requested"]], row["collapsed"]),
        ACCURACY_HEADER: format_percent(row["test_accuracy_mean"]) + _interval(row),
        INTACT_HEADER: format_percent(row["test_accuracy_mean_without_collapsed"]) if row["collapsed"] else "",
        "std (pp)": format_points(row["test_accuracy_std"]),
        "train": format_percent(row["train_accuracy_mean"]),
        "validation": format_percent(row["validation_accuracy_mean"]),
        "gap (pp)": format_points(row["train_validation_gap"]),
        NEW_IMAGES_HEADER: NO_VALUE
        if row["new_images_low"] is None
        else f"[{format_points(row['new_images_low'])}, {format_points(row['new_images_high'])}]",
        **{name: f"{row[name]}" for name in COUNT_HEADERS},
        "note": row["note"],
    }


def _interval(row: Row) -> str:
    """Format the interval with its marks, or both values where there are two."""
    if row["n"] == 2:
        return f" ({format_points(row['test_accuracy_min'])}, {format_points(row['test_accuracy_max'])})"
    if row["interval"] is None:
        return ""
    low, high = (
        format_points(row[f"{end}_cut"]) + (CUT_MARK if row[f"{end}_cut"] != row[end] else "")
        for end in ("test_accuracy_low", "test_accuracy_high")
    )
    return f" [{low}, {high}]{BINOMIAL_MARK if row['interval'] == 'binomial' else ''}"


def summary_notes(summary: pa.Table, *, new_images: bool = True) -> list[str]:
    """Say what the figures of a summary cover and what its marks mean, one sentence or two each.

    Args:
        summary: A table with the schema SUMMARY.
        new_images: Whether the interval for seeds and new images is shown beside the other.
    """
    rows = summary.to_pylist()
    if not rows:
        return []
    kinds = {row["interval"] for row in rows}
    ends = ("test_accuracy_low", "test_accuracy_high")
    test_set = f"this test set of {format_count(rows[0]['test_images'], 'image')}"
    notes = {
        f"Interval: 95 %, for the mean over seeds, on {test_set}; it does not cover other test images.": kinds
        != {None},
        "Interval, new images: 95 %, for the mean over seeds and over new test images like these.": new_images
        and any(row["new_images_low"] is not None for row in rows),
        "The results decided how many seeds were trained: intervals and p values hold however often one looks.": (
            "anytime" in kinds
        ),
        "No interval: three finished seeds are the fewest that give one.": kinds == {None},
        "(a, b): both values, where n is 2.": any(row["n"] == 2 for row in rows),
        f"{CUT_MARK} cut to what an accuracy can be.": any(
            row[f"{end}_cut"] != row[end] for row in rows for end in ends
        ),
        f"{BINOMIAL_MARK} All seeds agree: the interval comes from the binomial standard deviation of one test set.": (
            "binomial" in kinds
        ),
        "Collapsed: at least 95 % of a trial's test predictions are one digit. Means and intervals include these "
        "trials; the column without collapsed leaves them out.": any(row["collapsed"] for row in rows),
    }
    return [note for note, applies in notes.items() if applies]


def format_interval(row: Row) -> str:
    """Format `low` and `high` of a row in percentage points, with a space before; nothing where there is none."""
    return "" if row["low"] is None else f" [{format_points(row['low'])}, {format_points(row['high'])}]"


def format_points(fraction: float | None) -> str:
    """Format a fraction in percentage points with two decimals."""
    return NO_VALUE if fraction is None else f"{100 * fraction:z.2f}"


def format_percent(fraction: float | None) -> str:
    """Format a fraction in percent with two decimals and the sign."""
    return NO_VALUE if fraction is None else f"{format_points(fraction)} %"


def contrast_cells(contrasts: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Format contrasts for a person, with differences in percentage points.

    Args:
        contrasts: A table as `contrast_table` makes it.

    Returns:
        The header, and one list of cells per contrast.
    """
    names = contrasts.column_names
    context = names[names.index("level_b") + 1 : names.index("n")]
    header = ["axis", "a", "b", *(name.replace("_", " ") for name in context), *_CONTRAST_HEADERS]
    return header, [_contrast_cells(row, context) for row in contrasts.to_pylist()]


def _contrast_cells(row: Row, context: Sequence[str]) -> list[str]:
    return [
        row["axis"].replace("_", " "),
        row["level_a"],
        row["level_b"],
        *(format_setting(row[name]) for name in context),
        f"{row['n']}",
        format_points(row["mean"]) + format_interval(row),
        NO_VALUE if row["seeds_agree"] is None else f"{row['seeds_agree']} of {row['n']}",
        NO_VALUE if row["p_holm"] is None else f"{row['p_holm']:.2g}",
        row["word"],
    ]


def effect_lines(effects: pa.Table) -> list[str]:
    """Say in one line per axis how much it changes the test accuracy, averaged over the others.

    Args:
        effects: A table with the schema EFFECTS; interactions are left out.
    """
    rows = [row for row in effects.to_pylist() if " x " not in row["effect"] and row["mean"] is not None]
    return [_effect_line(row) for row in rows]


def _effect_line(row: Row) -> str:
    levels = f"{row['effect'].replace('_', ' ')} {row['level_a']} against {row['level_b']}"
    p = "" if row["p_holm"] is None else f", p = {row['p_holm']:.2g} (Holm)"
    return f"{levels}: {format_points(row['mean'])} pp{format_interval(row)}, {format_count(row['n'], 'seed')}{p}"


def contrasts_markdown(contrasts: pa.Table) -> str:
    """Format contrasts as a Markdown table, with differences in percentage points."""
    return _markdown(*contrast_cells(contrasts))


def summary_markdown(summary: pa.Table) -> str:
    """Format a summary as a Markdown table, with accuracies in percent, and below it what its figures cover."""
    notes = [note.replace("*", "\\*") for note in summary_notes(summary)]
    return _markdown(*summary_cells(summary)) + "".join(f"\n{note}\n" for note in notes)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---" if name in TEXT_HEADERS else "---:" for name in header]
    lines = [_markdown_line(header), "| " + " | ".join(rule) + " |", *map(_markdown_line, rows)]
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.replace("\\", "\\\\").replace("|", "\\|").replace("*", "\\*").split()) for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def table_csv(table: pa.Table) -> str:
    """Format every column of a table as CSV: accuracies as unrounded fractions, null as an empty field."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.column_names)
    writer.writerows([_csv_cell(value) for value in row.values()] for row in table.to_pylist())
    return text.getvalue()


def _csv_cell(value: Any) -> Any:  # noqa: ANN401  (a cell of any column)
    if isinstance(value, bool):
        return "true" if value else "false"
    # Spreadsheets run text that begins like a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def summary_json(summary: pa.Table) -> str:
    """Format every column of a summary as a JSON list of objects, with accuracies as fractions."""
    return json.dumps(summary.to_pylist(), indent=2, allow_nan=False) + "\n"
