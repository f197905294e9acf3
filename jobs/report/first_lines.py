"""The lines above the answers: the most accurate configuration, and where networks collapsed."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from jobs.report.formats import format_count
from jobs.report.wording import configuration_name, points

_MAX_COLLAPSED = 3  # configurations that a sentence names


def first_line(summary: pa.Table, varying: Sequence[str]) -> str:
    """Name the most accurate configuration; collapsed ones count as they are."""
    rows: list[dict[str, Any]] = [row for row in summary.to_pylist() if row["n"]]
    if not rows:
        return "No trial has finished, so there is no accuracy to report."
    best = max(rows, key=lambda row: row["test_accuracy_mean"])
    interval = ""
    if best["test_accuracy_low"] is not None:
        ends = (points(best[f"test_accuracy_{end}_cut"], signed=False) for end in ("low", "high"))
        interval = " [{}, {}]".format(*ends)
    accuracy = f"{points(best['test_accuracy_mean'], signed=False)} %{interval}, {format_count(best['n'], 'seed')}"
    name = configuration_name(best, varying)
    if len(rows) == 1 and summary.num_rows == 1:
        return f"{name}: {accuracy}. The study has one configuration, so there is nothing to compare."
    return f"Highest mean test accuracy: {name}, with {accuracy}."


def collapse_line(summary: pa.Table, varying: Sequence[str]) -> str:
    """Say how many networks collapsed, and in which configurations; nothing where none did."""
    rows = summary.to_pylist()
    found = [row for row in rows if row["collapsed"]]
    if not found:
        return ""
    count = f"{sum(row['collapsed'] for row in found)} of {format_count(sum(row['n'] for row in rows), 'network')}"
    if len(found) > _MAX_COLLAPSED:
        where = f"in {len(found)} of {len(rows)} configurations, which the table below names"
    else:
        where = "; ".join(f"{row['collapsed']} of {row['n']} with {configuration_name(row, varying)}" for row in found)
    return f"{count} collapsed (they answer one digit for nearly every image): {where}."
