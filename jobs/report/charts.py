"""The specification of each kind of figure: as Altair makes it, with the values of one drawing put in.

Altair takes a quarter of a second to import and tens of milliseconds to make a specification. So what it makes is kept
in charts.json, which `make docs` writes from jobs.report.chart_templates; what differs between the drawings of a kind
(data, titles, the ends of the axes, the names of the series) is put in here: a string that begins with @ stands for it.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

# Okabe and Ito's palette: distinct with every kind of colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
SHAPES = ("circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right")
DASHED, SOLID = (5, 3), (1, 0)  # of a fixed and of an adaptive rate
INK, GREY, RULE = "#1c1f23", "#5a626b", "#dde1e6"
WORDS = {"clear": "#0072B2", "suggested": "#D58000", "negligible": "#009E73", "open": "#7a828b"}
# Purple to brown by way of white; ColorBrewer's PuOr, reversed.
_PURPLE, _BROWN = "#2d004b #542788 #8073ac #b2abd2 #d8daeb", "#fee0b6 #fdb863 #e08214 #b35806 #7f3b08"
DIVERGING = (*_PURPLE.split(), "#f7f7f7", *_BROWN.split())
# White to dark blue; ColorBrewer's Blues.
SEQUENTIAL = ("#ffffff", "#deebf7", "#c6dbef", "#9ecae1", "#6baed6", "#4292c6", "#2171b5", "#08519c", "#08306b")

Spec = dict[str, Any]  # of Vega-Lite
_LEFT_OUT = object()  # the value of a property that a specification then does not have


class Axis(NamedTuple):
    """One axis of a panel."""

    title: str
    low: float
    high: float
    ticks: Sequence[float] | None = None
    scale: Literal["linear", "log"] = "linear"
    format: str = ""


class Series(NamedTuple):
    """The lines of one name: how they look in every panel."""

    name: str
    colour: str
    dash: Sequence[int]
    shape: str = "circle"


def theme() -> Spec:
    """Return what all figures have in common, as the `config` of a specification."""
    labels = {"labelColor": GREY, "titleColor": INK, "titleFontWeight": "normal", "labelFontSize": 10}
    return {
        "background": "white",
        "font": "Liberation Sans, Arial, Helvetica, sans-serif",
        "view": {"stroke": None},
        "axis": {**labels, "domainColor": GREY, "tickColor": GREY, "gridColor": RULE, "titleFontSize": 11},
        "legend": {**labels, "titleFontSize": 11, "labelFontSize": 11, "labelLimit": 420, "labelColor": INK},
        "title": {"anchor": "start", "fontSize": 14, "color": INK, "subtitleColor": GREY, "subtitleFontSize": 11},
    }


def line_panel(
    name: str, x: Axis, y: Axis, series: Sequence[Series], *, size: tuple[int, int], legend: str | None
) -> Spec:
    """Specify a panel of training curves: thin lines for seeds behind one line for their mean.

    Args:
        name: Of the data: rows {e, v, s, k} named `name`-seeds with k the seed, and {e, v, s} named `name`-means.
        x: The axis of e, the epoch.
        y: The axis of v.
        series: What s may be.
        size: Width and height of the panel, in pixels.
        legend: Its title, perhaps empty; None: no legend.
    """
    return _sized(_template("line_panel", legend is not None), _values(name, x, y, series, size, legend))


def size_panel(
    name: str, x: Axis, y: Axis, series: Sequence[Series], *, size: tuple[int, int], legend: str | None
) -> Spec:
    """Specify a panel of the learning curve: a dot per seed, the mean, and its interval as a bar.

    Args:
        name: Of the data: rows {x, s, mean, low, high, text} named `name`-means, `low` and `high` null without an
            interval; rows {x, s, v} named `name`-seeds; rows {x, s, v, head} named
            `name`-cut.
        x: The axis of x, the subset size.
        y: The axis of the accuracies.
        series: What s may be.
        size: Width and height of the panel, in pixels.
        legend: Its title, perhaps empty; None: no legend.
    """
    return _sized(_template("size_panel", legend is not None), _values(name, x, y, series, size, legend))


def confusion_chart() -> Spec:
    """Specify a confusion matrix: rows {actual, predicted, percent, text, tone}, and {actual, images}.

    They are named cells and totals.
    """
    return fill(_template("confusion_chart"), {})


def weight_chart(width: int, height: int, largest: float) -> Spec:
    """Specify a sheet of weights: one row {url} named sheet, and two rows {w} named scale for the legend."""
    lengths = {"@width": width, "@height": height, "@bar": min(260, height)}
    return _sized(_template("weight_chart"), {**lengths, "@range": [-largest, largest]})


def forest_panel(name: str, x: Axis, title: str, rows: int, words: Sequence[str]) -> Spec:
    """Specify a panel of differences with their intervals.

    Args:
        name: Of the data: rows {label, mean, low, high, word} named `name`, and rows {label, v, head, word} named
            `name`-cut for the ends of intervals that go beyond the axis.
        x: The axis of the differences.
        title: The heading of the panel.
        rows: The number of rows.
        words: Those of the legend, which all panels of a figure share.
    """
    values = {**_values(name, x, x, [], (430, 22 * max(rows, 1)), None), "@title": title}
    colours = {"@words": list(words), "@word-colours": [WORDS[word] for word in words]}
    return _sized(_template("forest_panel"), {**values, **colours})


@cache
def _templates() -> Mapping[str, Spec]:
    found: Mapping[str, Spec] = json.loads(files("jobs.report").joinpath("charts.json").read_text(encoding="utf-8"))
    return found


def _template(kind: str, has_legend: bool = False) -> Spec:
    return _templates()[f"{kind}, legend" if has_legend else kind]


def _sized(template: Spec, values: Mapping[str, Any]) -> Spec:
    return {**fill(template, values), "width": values["@width"], "height": values["@height"]}


def fill(template: Spec, values: Mapping[str, Any]) -> Spec:
    """Put values into a template: each string that is a key of `values`, or begins with one that ends in -."""
    filled: Spec = _fill(template, values)
    return filled


def _fill(part: Any, values: Mapping[str, Any]) -> Any:  # noqa: ANN401  (any part of a specification)
    if isinstance(part, dict):
        filled = {key: _fill(each, values) for key, each in part.items()}
        return {key: each for key, each in filled.items() if each is not _LEFT_OUT}
    if isinstance(part, list):
        return [_fill(each, values) for each in part]
    if not isinstance(part, str) or not part.startswith("@"):
        return part
    return f"{values['@name']}-{part[6:]}" if part.startswith("@name-") else values[part]


def _values(
    name: str, x: Axis, y: Axis, series: Sequence[Series], size: tuple[int, int], legend: str | None
) -> Mapping[str, Any]:
    values: dict[str, Any] = {"@name": name, "@width": size[0], "@height": size[1], "@legend": legend or None}
    for prefix, axis in (("@x", x), ("@y", y)):
        values |= {f"{prefix}.title": axis.title, f"{prefix}.domain": [axis.low, axis.high]}
        values |= {f"{prefix}.ticks": list(axis.ticks) if axis.ticks else _LEFT_OUT, f"{prefix}.scale": axis.scale}
        values |= {f"{prefix}.format": axis.format or _LEFT_OUT}
    values |= {"@names": [each.name for each in series], "@colours": [each.colour for each in series]}
    return values | {"@dashes": [list(each.dash) for each in series], "@shapes": [each.shape for each in series]}
