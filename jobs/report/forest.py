"""The forest plot: every difference with its interval, in one panel for each axis."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.report.charts import Axis, Spec, forest_panel
from jobs.report.drawing import Rows, draw, titled

FOREST_FOOTNOTE = "Mean over seeds of the differences within a seed, with its 95 % interval, on this test set."
MAX_ROWS = 48  # of a panel; a longer one is not read


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
    for number, (heading, found) in enumerate(panels.items()):
        shown = found[:MAX_ROWS]
        axis = Axis("difference in test accuracy (percentage points)", *forest_range(shown))
        more = f" (the first {MAX_ROWS} of {len(found)})" if len(found) > MAX_ROWS else ""
        charts.append(forest_panel(f"f{number}", axis, heading + more, len(shown)))
        rows[f"f{number}"] = _distinct(shown)
    return titled({"vconcat": charts, "spacing": 24}, title, FOREST_FOOTNOTE, 640), rows


def forest_range(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the ends of the axis of some differences: zero is always on it."""
    ends = [0.0, *(row[name] for row in rows for name in ("low", "mean", "high") if row[name] is not None)]
    low, high = min(ends), max(ends)
    pad = 0.04 * (high - low) or 0.1
    return low - (pad if low else 0.3 * pad), high + (pad if high else 0.3 * pad)


def _distinct(rows: Sequence[Mapping[str, Any]]) -> Rows:
    """Number labels that occur twice, which would share a line."""
    labels = [row["label"] for row in rows]
    return [
        {**row, "label": f"{row['label']} ({index + 1})" if labels.count(row["label"]) > 1 else row["label"]}
        for index, row in enumerate(rows)
    ]
