"""The overview of many configurations: their mean test accuracies, by settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pyarrow as pa

from jobs.report.summary import Row
from jobs.report.wording import configuration_name, level_words, points

HEAT_STEPS = 9  # shades
_MAX_COLUMNS = 12


@dataclass(frozen=True)
class HeatCell:
    """One configuration of the overview."""

    text: str
    shade: int
    anchor: str
    title: str


@dataclass(frozen=True)
class Heat:
    """The overview of many configurations: mean test accuracies by rows and columns."""

    headers: list[list[tuple[str, int]]]  # for each setting across: its levels, and how many columns each spans
    has_stars: bool
    rows: list[tuple[str, list[HeatCell | None]]]


def heat_table(summary: pa.Table, varying: Sequence[str]) -> Heat:
    """Arrange all configurations by their settings, with the mean test accuracy of each."""
    rows = summary.to_pylist()
    levels = {name: list(dict.fromkeys(row[name] for row in rows)) for name in varying}
    across: list[str] = []
    count = 1
    for name in sorted(varying, key=lambda each: (each != "subset_size", -len(levels[each]))):
        if count * len(levels[name]) <= _MAX_COLUMNS:
            across.append(name)
            count *= len(levels[name])
    down = [name for name in varying if name not in across]
    found = {tuple(row[name] for name in (*down, *across)): row for row in rows}
    means = [row["test_accuracy_mean"] for row in rows if row["n"]]
    low, high = min(means, default=0.0), max(means, default=1.0)
    columns = list(product(*(levels[name] for name in across)))
    lines = []
    for key in _keys(rows, down, levels):
        cells = [_heat_cell(found.get((*key, *column)), low, high, varying) for column in columns]
        lines.append((_words(down, key) or "all", cells))
    has_stars = any(cell and cell.text.endswith("*") for _, cells in lines for cell in cells)
    return Heat(_headers(across, levels), has_stars, lines)


def _keys(rows: Sequence[Row], down: Sequence[str], levels: Mapping[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
    """List the levels of the settings down the table that occur together: few of all where levels are drawn."""
    places = {name: {level: place for place, level in enumerate(levels[name])} for name in down}
    keys = {tuple(row[name] for name in down) for row in rows}
    return sorted(keys, key=lambda key: [places[name][level] for name, level in zip(down, key, strict=True)])


def _headers(across: Sequence[str], levels: Mapping[str, Sequence[Any]]) -> list[list[tuple[str, int]]]:
    """Lay out the levels of the settings across the table, the first setting on top."""
    rows, repeats = [], 1
    for index, name in enumerate(across):
        span = math.prod(len(levels[each]) for each in across[index + 1 :])
        rows.append([(_words([name], [level]), span) for level in levels[name]] * repeats)
        repeats *= len(levels[name])
    return rows


def _words(names: Sequence[str], levels: Sequence[Any]) -> str:
    pairs = zip(names, levels, strict=True)
    return ", ".join(level_words(name, level) for name, level in pairs if level is not None)


def _heat_cell(row: Row | None, low: float, high: float, varying: Sequence[str]) -> HeatCell | None:
    if row is None:
        return None
    mean = row["test_accuracy_mean"]
    shade = 0 if mean is None else round((HEAT_STEPS - 1) * (mean - low) / ((high - low) or 1.0))
    text = "–" if mean is None else points(mean, signed=False) + ("*" if row["note"] else "")
    percent = "no accuracy" if mean is None else f"{points(mean, 2, signed=False)} %"
    title = f"{configuration_name(row, varying)}: {percent}, n = {row['n']}. {row['note']}".strip()
    return HeatCell(text, shade, f"configuration-{row['configuration_id']}", title)
