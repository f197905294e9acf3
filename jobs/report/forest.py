"""The forest plot: every difference with its interval, in one panel for each axis."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.report.charts import WORDS, Axis, Spec, forest_panel
from jobs.report.drawing import Rows, draw, titled

FOREST_FOOTNOTE = "Mean over seeds of the differences within a seed, with its 95 % interval, on this test set."
MAX_ROWS = 48  # of a panel; a longer one is not read
_CUT_FOOTNOTE = " Arrowheads: the interval goes beyond the scale."
_MUCH_WIDER = 8.0  # than the median: an interval beside which the others would be dots


def forest(title: str, panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Draw differences in percentage points with their intervals.

    Args:
        title: Of the figure.
        panels: By heading, rows of label, mean, low, high and word; low and high None without an interval.

    Returns:
        The figure as SVG.
    """
    return draw(*forest_chart(title, panels))


def forest_chart(title: str, panels: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[Spec, dict[str, Rows]]:
    """Specify what `forest` draws, and make its rows."""
    rows: dict[str, Rows] = {"zero": [{"z": 0}]}
    charts = []
    present = {row["word"] for found in panels.values() for row in found[:MAX_ROWS]}
    words = [word for word in WORDS if word in present]
    for number, (heading, found) in enumerate(panels.items()):
        name, shown = f"f{number}", found[:MAX_ROWS]
        low, high = forest_range(shown)
        axis = Axis("difference in test accuracy (percentage points)", low, high)
        more = f" (the first {MAX_ROWS} of {len(found)})" if len(found) > MAX_ROWS else ""
        charts.append(forest_panel(name, axis, heading + more, len(shown), words))
        whole = _distinct(shown)
        rows[name] = [_cut(row, low, high) for row in whole]
        rows[f"{name}-cut"] = [head for row in whole for head in _arrowheads(row, low, high)]
    is_cut = any(found for name, found in rows.items() if name.endswith("-cut"))
    footnote = FOREST_FOOTNOTE + (_CUT_FOOTNOTE if is_cut else "")
    return titled({"vconcat": charts, "spacing": 24}, title, footnote, 640), rows


def forest_range(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of the axis of some differences: with zero, without intervals much wider than the others."""
    shown = _comparable(rows)
    ends = [0.0, *(row[name] for row in shown for name in ("low", "mean", "high") if row[name] is not None)]
    low, high = min(ends), max(ends)
    pad = 0.04 * (high - low) or 0.1
    return low - (pad if low else 0.3 * pad), high + (pad if high else 0.3 * pad)


def _comparable(rows: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Leave out the few rows whose intervals are so wide that on their scale nothing could be told of the others."""
    widths = {
        index: row["high"] - row["low"]
        for index, row in enumerate(rows)
        if row["high"] is not None and row["low"] is not None
    }
    if not widths:
        return rows
    limit = _MUCH_WIDER * statistics.median_low(widths.values())
    kept = [row for index, row in enumerate(rows) if widths.get(index, 0.0) <= limit]
    return kept if len(kept) > len(rows) / 2 else rows


def _cut(row: Mapping[str, Any], low: float, high: float) -> dict[str, Any]:
    """Cut an interval at the ends of the axis; a mean beyond them is not drawn."""
    ends = {name: None if row[name] is None else min(max(row[name], low), high) for name in ("low", "high")}
    is_seen = row["mean"] is not None and low <= row["mean"] <= high
    return {**row, **ends, "mean": row["mean"] if is_seen else None}


def _arrowheads(row: Mapping[str, Any], low: float, high: float) -> list[dict[str, Any]]:
    """Point to where an interval goes on beyond the axis."""
    heads = []
    if row["low"] is not None and row["low"] < low:
        heads.append({"v": low, "head": "\u25c0"})
    if row["high"] is not None and row["high"] > high:
        heads.append({"v": high, "head": "\u25b6"})
    return [{**head, "label": row["label"], "word": row["word"]} for head in heads]


def _distinct(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Number labels that occur twice, which would share a line."""
    labels = [row["label"] for row in rows]
    return [
        {**row, "label": f"{row['label']} ({index + 1})" if labels.count(row["label"]) > 1 else row["label"]}
        for index, row in enumerate(rows)
    ]
