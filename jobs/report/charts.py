"""The specification of each kind of figure, in Altair: made once, for all drawings of a kind.

Altair takes tens of milliseconds to make a specification, so that what differs between the drawings of a kind (data,
titles, the ends of the axes, the names of the series) is put in afterwards: a string that begins with @ stands for it.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal, NamedTuple

from jobs.report.altair_import import alt, debug_mode

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
_Chart = alt.LayerChart | alt.FacetChart
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
    return _sized(_line_panel(legend is not None), _values(name, x, y, series, size, legend))


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
    return _sized(_size_panel(legend is not None), _values(name, x, y, series, size, legend))


def confusion_chart() -> Spec:
    """Specify a confusion matrix: rows {actual, predicted, percent, text, tone}, and {actual, images}.

    They are named cells and totals.
    """
    return fill(_confusion_chart(), {})


def weight_chart(width: int, height: int, largest: float) -> Spec:
    """Specify a sheet of weights: one row {url} named sheet, and two rows {w} named scale for the legend."""
    lengths = {"@width": width, "@height": height, "@bar": min(260, height)}
    return _sized(_weight_chart(), {**lengths, "@range": [-largest, largest]})


def forest_panel(name: str, x: Axis, title: str, rows: int) -> Spec:
    """Specify a panel of differences with their intervals: rows {label, mean, low, high, word} named `name`."""
    return _sized(_forest_panel(), {**_values(name, x, x, [], (430, 22 * max(rows, 1)), None), "@title": title})


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


def _at(name: str) -> Any:  # noqa: ANN401  (of the type of whatever it stands for)
    return f"@{name}"


def _template(make: Callable[..., _Chart]) -> Callable[..., Spec]:
    """Have Altair make a specification once for all figures."""

    @cache
    def made(*arguments: bool) -> Spec:
        with debug_mode(False):  # without checks of types: what @ stands for has its type only later
            chart: Spec = make(*arguments).to_dict(validate=False)
        return {name: each for name, each in chart.items() if name not in ("$schema", "config")}

    return made


def _x(field: str) -> alt.X:
    ticks = alt.Axis(grid=False, format=_at("x.format"), labelOverlap=True, values=_at("x.ticks"), labelFlush=False)
    scale = alt.Scale(domain=_at("x.domain"), type=_at("x.scale"), nice=False, zero=False)
    return alt.X(f"{field}:Q", title=_at("x.title"), axis=ticks, scale=scale)


def _y(field: str) -> alt.Y:
    ticks = alt.Axis(domain=False, ticks=False, values=_at("y.ticks"), tickCount=5, format=_at("y.format"))
    scale = alt.Scale(domain=_at("y.domain"), type=_at("y.scale"), nice=False, zero=False)
    return alt.Y(f"{field}:Q", title=_at("y.title"), axis=ticks, scale=scale)


def _legend(is_shown: bool, size: int, columns: int, **symbol: Any) -> alt.Legend | None:  # noqa: ANN401
    look = {"symbolOpacity": 1, "symbolStrokeWidth": 2, "symbolSize": size, **symbol}
    return alt.Legend(title=_at("legend"), orient="bottom", columns=columns, **look) if is_shown else None


def _data(name: str) -> alt.Chart:
    return alt.Chart(alt.NamedData(name=name))


@_template
def _line_panel(legend: bool) -> _Chart:
    shown = _legend(legend, 300, 2, symbolType="stroke")
    colour = alt.Color("s:N", scale=alt.Scale(domain=_at("names"), range=_at("colours")), legend=shown)
    dash = alt.StrokeDash("s:N", scale=alt.Scale(domain=_at("names"), range=_at("dashes")), legend=shown)
    thin = _data("@name-seeds").mark_line(strokeWidth=0.8, opacity=0.35, aria=False)
    means = _data("@name-means").mark_line(strokeWidth=2, strokeJoin="round", aria=False)
    dots = _data("@name-dots").mark_point(size=18, filled=True, opacity=1, aria=False)
    layers = [thin.encode(_x("e"), _y("v"), colour, detail="k:N"), means.encode(_x("e"), _y("v"), colour, dash)]
    layers.append(dots.encode(_x("e"), _y("v"), colour))
    return alt.layer(*layers)


@_template
def _size_panel(legend: bool) -> _Chart:
    shown = _legend(legend, 80, 1)
    colour = alt.Color("s:N", scale=alt.Scale(domain=_at("names"), range=_at("colours")), legend=shown)
    dash = alt.StrokeDash("s:N", scale=alt.Scale(domain=_at("names"), range=_at("dashes")), legend=None)
    shape = alt.Shape("s:N", scale=alt.Scale(domain=_at("names"), range=_at("shapes")), legend=shown)
    means, mean = _data("@name-means"), _y("mean")
    layers = [
        means.mark_line(strokeWidth=1.6, aria=False).encode(_x("x"), mean, colour, dash),
        means.mark_rule(strokeWidth=1.6, aria=False).encode(_x("x"), _y("low"), alt.Y2("high:Q"), colour),
        _data("@name-seeds")
        .mark_point(filled=True, size=14, opacity=0.45, aria=False)
        .encode(_x("x"), _y("v"), colour),
        _data("@name-cut").mark_text(fontSize=11, aria=False).encode(_x("x"), _y("v"), colour, text="head:N"),
        means.mark_point(filled=True, size=55, opacity=1).encode(_x("x"), mean, colour, shape, description="text:N"),
    ]
    return alt.layer(*layers)


@_template
def _confusion_chart() -> _Chart:
    digits = alt.Axis(domain=False, ticks=False, labelAngle=0, grid=False)
    across = alt.X("predicted:O", title="predicted digit", axis=digits)
    down = alt.Y("actual:O", title="actual digit", axis=digits)
    # A power below 1 makes errors of a fraction of a percent visible beside a diagonal near 100 percent.
    shades = alt.Scale(type="pow", exponent=0.4, domain=[0, 100], range=list(SEQUENTIAL), interpolate="rgb")
    bar = alt.Legend(title="% of the digit", values=[0, 0.5, 2, 5, 10, 25, 50, 100], gradientLength=260, offset=52)
    tones = alt.Scale(domain=["none", "dark", "light"], range=["#8c8c8c", "#000000", "#ffffff"])
    figures = _data("cells").mark_text(fontSize=10, aria=False)
    totals = _data("totals").mark_text(align="left", color=GREY, fontSize=10, aria=False)
    layers = [
        _data("cells").mark_rect(stroke="white").encode(across, down, alt.Color("percent:Q", scale=shades, legend=bar)),
        figures.encode(across, down, alt.Color("tone:N", scale=tones, legend=None), text="text:N"),
        totals.encode(down, x=alt.value(426), text="images:N"),
    ]
    chart: _Chart = alt.layer(*layers).resolve_scale(color="independent")
    return chart.properties(width=420, height=340)


@_template
def _weight_chart() -> _Chart:
    image = _data("sheet").mark_image(
        width=_at("width"), height=_at("height"), align="left", baseline="top", smooth=False
    )
    colours = alt.Scale(domain=_at("range"), range=list(DIVERGING), interpolate="rgb")
    bar = alt.Color("w:Q", scale=colours, legend=alt.Legend(title="weight", gradientLength=_at("bar")))
    scale = _data("scale").mark_point(opacity=0, filled=True, aria=False)
    corner = {"x": alt.value(0), "y": alt.value(0)}
    layers = [image.encode(**corner, url="url:N"), scale.encode(**corner, color=bar)]
    return alt.layer(*layers)


@_template
def _forest_panel() -> _Chart:
    base = _data(_at("name"))
    labels = alt.Axis(domain=False, ticks=False, labelLimit=380, labelColor=INK, labelFontSize=11, labelPadding=8)
    down = alt.Y("label:N", sort=None, title=None, axis=labels)
    legend = alt.Legend(title=None, orient="top", direction="horizontal")
    words = alt.Scale(domain=list(WORDS), range=list(WORDS.values()))
    colour = alt.Color("word:N", scale=words, legend=legend)
    zero = _data("zero").mark_rule(color=GREY, strokeDash=[3, 3], aria=False).encode(_x("z"))
    layers = [
        zero,
        base.mark_rule(strokeWidth=2, aria=False).encode(_x("low"), down, colour, alt.X2("high:Q")),
        base.mark_point(filled=True, size=60, opacity=1).encode(_x("mean"), down, colour),
    ]
    title = alt.TitleParams(_at("title"), fontSize=12)
    return alt.layer(*layers).properties(title=title)
