"""Tables as text: Markdown, CSV and JSON."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from jobs.report.answer_formats import ranking_cells
from jobs.report.formats import TEXT_HEADERS, contrast_cells, summary_cells, summary_notes


def contrasts_markdown(contrasts: pa.Table) -> str:
    """Format contrasts as a Markdown table, with differences in percentage points."""
    return _markdown(*contrast_cells(contrasts))


def summary_markdown(summary: pa.Table) -> str:
    """Format a summary as a Markdown table, with accuracies in percent, and below it what its figures cover."""
    notes = [note.replace("*", "\\*") for note in summary_notes(summary)]
    return _markdown(*summary_cells(summary)) + "".join(f"\n{note}\n" for note in notes)


def ranking_markdown(ranking: pa.Table) -> str:
    """Format a ranking as a Markdown table, with accuracies in percent."""
    return _markdown(*ranking_cells(ranking))


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
