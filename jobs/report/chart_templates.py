"""The specification of each kind of figure, in Altair; jobs.report.charts uses what comes of it (charts.json).

A string that begins with @ stands for what differs between the drawings of a kind.
"""

from typing import Any

from jobs.report.altair_import import alt, debug_mode
from jobs.report.charts import DIVERGING, GREY, INK, SEQUENTIAL, Spec

_Chart = alt.LayerChart | alt.FacetChart


def make_templates() -> dict[str, Spec]:
    """Make the specification of each kind of figure, by its name."""
    with debug_mode(False):  # without checks of types: what @ stands for has its type only later
        charts = {
            "line_panel": _line_panel(False),
            "line_panel, legend": _line_panel(True),
            "size_panel": _size_panel(False),
            "size_panel, legend": _size_panel(True),
            "confusion_chart": _confusion_chart(),
            "weight_chart": _weight_chart(),
            "forest_panel": _forest_panel(),
        }
        return {name: _plain(chart) for name, chart in charts.items()}


def _plain(chart: _Chart) -> Spec:
    found: Spec = chart.to_dict(validate=False)
    return {name: each for name, each in found.items() if name not in ("$schema", "config")}


def _at(name: str) -> Any:  # noqa: ANN401  (of the type of whatever it stands for)
    return f"@{name}"


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


def _line_panel(legend: bool) -> _Chart:
    shown = _legend(legend, 300, 2, symbolType="stroke")
    colour = alt.Color("s:N", scale=alt.Scale(domain=_at("names"), range=_at("colours")), legend=shown)
    dash = alt.StrokeDash("s:N", scale=alt.Scale(domain=_at("names"), range=_at("dashes")), legend=shown)
    # Without a legend several panels are drawn as one, and taken apart by these descriptions.
    look: dict[str, Any] = {"aria": False} if legend else {}
    named = {} if legend else {"description": "k:N"}
    thin = _data("@name-seeds").mark_line(strokeWidth=0.8, opacity=0.35, **look)
    means = _data("@name-means").mark_line(strokeWidth=2, strokeJoin="round", **look)
    dots = _data("@name-dots").mark_point(size=18, filled=True, opacity=1, **look)
    layers = [thin.encode(_x("e"), _y("v"), colour, detail="k:N", **named)]
    layers.append(means.encode(_x("e"), _y("v"), colour, dash, **({} if legend else {"detail": "k:N"}), **named))
    layers.append(dots.encode(_x("e"), _y("v"), colour, **named))
    return alt.layer(*layers)


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


def _forest_panel() -> _Chart:
    base = _data(_at("name"))
    labels = alt.Axis(domain=False, ticks=False, labelLimit=380, labelColor=INK, labelFontSize=11, labelPadding=8)
    down = alt.Y("label:N", sort=None, title=None, axis=labels)
    legend = alt.Legend(title=None, orient="top", direction="horizontal")
    words = alt.Scale(domain=_at("words"), range=_at("word-colours"))
    colour = alt.Color("word:N", scale=words, legend=legend)
    zero = _data("zero").mark_rule(color=GREY, strokeDash=[3, 3], aria=False).encode(_x("z"))
    layers = [
        zero,
        base.mark_rule(strokeWidth=2, aria=False).encode(_x("low"), down, colour, alt.X2("high:Q")),
        base.mark_point(filled=True, size=60, opacity=1).encode(_x("mean"), down, colour),
        _data("@name-cut").mark_text(fontSize=11, aria=False).encode(_x("v"), down, colour, text="head:N"),
    ]
    title = alt.TitleParams(_at("title"), fontSize=12, frame="group")
    return alt.layer(*layers).properties(title=title)
