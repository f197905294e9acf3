"""The learning curve: test accuracy against the subset size, in one panel for each model."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.report.charts import COLOURS, DASHED, SHAPES, SOLID, Axis, Series, Spec, size_panel
from jobs.report.drawing import Rows, draw, titled
from jobs.report.formats import format_n

Floats = NDArray[np.float64]

_COLUMNS = 3  # of panels in the file
_FILE_PANEL, _PAGE_PANEL = (300, 260), (250, 190)  # pixels
_LEGEND_COLUMNS = 56  # characters in a line of a label


@dataclass(frozen=True)
class Line:
    """The learning curve of one configuration but for its size, in percent; low and high are NaN without interval."""

    name: str
    panel: str  # lines of one panel are drawn together
    adaptive_lr: bool
    subset_sizes: tuple[int, ...]
    mean: Floats
    low: Floats
    high: Floats
    seeds: tuple[tuple[float, ...], ...]  # the accuracies at each size
    n: tuple[int, ...]
    requested: tuple[int, ...]  # seeds
    collapsed: int  # trials, at all sizes
    collapsed_seeds: tuple[tuple[float, ...], ...]  # those of `seeds` that collapsed

    def without_collapsed(self) -> Floats:
        """Return all means, the seeds that did not collapse, and the intervals at those sizes where none did."""
        whole = [not collapsed for collapsed in self.collapsed_seeds]
        pairs = zip(self.seeds, self.collapsed_seeds, strict=True)
        seeds = [each for of_size, collapsed in pairs for each in of_size if each not in collapsed]
        return np.concatenate([self.mean, self.low[whole], self.high[whole], seeds])

    @property
    def label(self) -> str:
        """The text of the legend, in lines."""
        n = f"(n = {format_n(self.n, self.requested, self.collapsed)})"
        return f"{textwrap.shorten(self.name, _LEGEND_COLUMNS, placeholder='…')} {n}"


def learning_curve(title: str, lines: Sequence[Line]) -> str:
    """Draw test accuracy against subset size, with the 95 % interval of the mean over seeds as bars.

    Args:
        title: Of the figure.
        lines: One for each model, schedule and combination of other settings.

    Returns:
        The figure as SVG.
    """
    return draw(*learning_chart(title, lines))


def learning_chart(title: str, lines: Sequence[Line]) -> tuple[Spec, dict[str, Rows]]:
    """Specify what `learning_curve` draws, and make its rows."""
    rows: dict[str, Rows] = {}
    panels = []
    for number, (name, group) in enumerate(by_panel(lines).items()):
        names = [line.label for line in group]
        spec, found = _panel(f"p{number}", group, names, lines, _FILE_PANEL, legend="")
        panels.append({**spec, "title": {"text": name, "fontSize": 12}})
        rows |= found
    independent = dict.fromkeys(("color", "shape", "strokeDash"), "independent")
    spec = {"concat": panels, "columns": _COLUMNS, "resolve": {"scale": independent}}
    width = min(len(panels), _COLUMNS) * (_FILE_PANEL[0] + 60)
    return titled(spec, title, learning_footnote(lines), max(width, 520)), rows


def learning_panel(group: Sequence[Line], lines: Sequence[Line]) -> str:
    """Draw one panel for the page, on the axes that all `lines` share."""
    names = ["adaptive" if line.adaptive_lr else "fixed" for line in group]
    spec, rows = _panel("p", group, names, lines, _PAGE_PANEL, legend=None)
    return draw(spec, rows)


def by_panel(lines: Sequence[Line]) -> dict[str, list[Line]]:
    """Group the lines by their panel, in their order."""
    panels: dict[str, list[Line]] = {}
    for line in lines:
        panels.setdefault(line.panel, []).append(line)
    return panels


def learning_footnote(lines: Sequence[Line]) -> str:
    """Say what the marks of a learning curve mean."""
    has_interval = any(np.isfinite(line.low).any() for line in lines)
    bottom, top = _edges(_limits(lines))
    is_low = any((line.low < bottom).any() for line in lines)
    is_high = any((line.high > top).any() for line in lines)
    is_inside = (is_low and bottom > 0) or (is_high and top < 100)
    is_below = any(each < bottom for line in lines for seeds in line.seeds for each in seeds)
    parts = {
        "Large points: mean over n seeds.": True,
        "Bars: 95 % interval of the mean over seeds, on this test set.": has_interval,
        f"Arrowheads: bars cut at {'the edge of the scale' if is_inside else '0 or 100 %'}.": is_low or is_high,
        "Small dots: seeds.": any(n > 1 for line in lines for n in line.n),
        "Seeds that collapsed are at the lower edge, because the scale leaves them out.": is_below,
        "Equal sizes are drawn side by side.": any(len(group) > 1 for group in by_panel(lines).values()),
    }
    return " ".join(part for part, applies in parts.items() if applies)


def _panel(
    name: str,
    group: Sequence[Line],
    names: Sequence[str],
    lines: Sequence[Line],
    size: tuple[int, int],
    legend: str | None,
) -> tuple[Spec, dict[str, list[dict[str, Any]]]]:
    """Make the chart and the rows of one panel; `lines` are those of all panels, which share their axes."""
    sizes = sorted({each for line in lines for each in line.subset_sizes})
    step, limits = _dodge_step(sizes, len(group)), _limits(lines)
    rows: dict[str, list[dict[str, Any]]] = {f"{name}-means": [], f"{name}-seeds": [], f"{name}-cut": []}
    for index, (line, label) in enumerate(zip(group, names, strict=True)):
        for kind, found in _rows(line, label, step ** (index - (len(group) - 1) / 2), limits).items():
            rows[f"{name}-{kind}"] += found
    margin = max((sizes[-1] / sizes[0]) ** 0.06, 1.1) * step ** ((len(group) - 1) / 2)
    x = Axis("subset size (training images, log scale)", sizes[0] / margin, sizes[-1] * margin, sizes, "log", ",d")
    y = Axis("test accuracy (%)", *limits)
    series = [_series(line, label, index) for index, (line, label) in enumerate(zip(group, names, strict=True))]
    return size_panel(name, x, y, series, size=size, legend=legend), rows


def _series(line: Line, label: str, index: int) -> Series:
    colour = COLOURS[int(line.adaptive_lr)] if index < 2 else COLOURS[index % len(COLOURS)]
    return Series(label, colour, SOLID if line.adaptive_lr else DASHED, SHAPES[index % len(SHAPES)])


def _rows(line: Line, label: str, dodge: float, limits: tuple[float, float]) -> Mapping[str, list[dict[str, Any]]]:
    """Make the rows of a line; what is beyond the limits of the scale is drawn at its edge."""
    bottom, top = _edges(limits)
    found: dict[str, list[dict[str, Any]]] = {"means": [], "seeds": [], "cut": []}
    numbers = zip(line.mean.tolist(), line.low.tolist(), line.high.tolist(), strict=True)
    for size, (mean, low, high), seeds, n in zip(line.subset_sizes, numbers, line.seeds, line.n, strict=True):
        place = {"x": size * dodge, "s": label}
        text = f"{size:,} images, {line.name}: {mean:.2f} %"
        ends: dict[str, float | None] = {"low": None, "high": None}
        if np.isfinite(low):
            ends = {"low": max(low, bottom), "high": min(high, top)}
            text += f" [{max(low, 0.0):.2f}, {min(high, 100.0):.2f}]"
        found["means"].append({**place, "mean": round(mean, 4), **ends, "text": f"{text}, n = {n}"})
        found["seeds"] += [{**place, "v": round(max(each, limits[0]), 4)} for each in (seeds if n > 1 else ())]
        found["cut"] += [{**place, "v": bottom, "head": "▼"}] if low < bottom else []
        found["cut"] += [{**place, "v": top, "head": "▲"}] if high > top else []
    return found


def _dodge_step(sizes: Sequence[int], lines: int) -> float:
    """Return the factor that separates points of one size: small compared with the gap between two sizes."""
    nearest = float(np.diff(np.log(sizes)).min(initial=np.log(sizes[-1] / sizes[0]) or 1.0))
    return float(np.exp(min(0.05, 0.5 / lines) * nearest))


def _edges(limits: tuple[float, float]) -> tuple[float, float]:
    """Return where bars are cut: at the limits of the scale, or where an accuracy ends."""
    return max(limits[0], 0.0), min(limits[1], 100.0)


def _limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Return the ends of the axis; one seed that collapsed must not hide what the others differ by."""
    ends = np.concatenate([line.without_collapsed() for line in lines])
    finite = ends[np.isfinite(ends)].tolist()
    low, high = min(finite, default=0.0), max(finite, default=100.0)
    pad = max(0.04 * (high - low), 0.25)
    return max(low - pad, -2.0), min(high + pad, 102.0)
