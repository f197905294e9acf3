"""Make a drawing part of the page: as short as a browser allows, with colours from the page's style."""

import itertools
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from markupsafe import Markup

from jobs.escape import escape

Element = ElementTree.Element
_DROPPED = {
    "aria-hidden",
    "aria-roledescription",
    "class",
    "font-family",
    "font-weight",
    "pointer-events",
    "stroke-miterlimit",
    "version",
}
_DEFAULTS = {("opacity", "1"), ("stroke-width", "1"), ("stroke-dasharray", "1,0"), ("transform", "translate(0,0)")}
_DEFAULTS |= {("text-anchor", "start"), ("y2", "0"), ("x2", "0")}
_STRAIGHT = re.compile(r"M[-ML\d.,]*")
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_CIRCLE = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_PLACE = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")


def inline(svg: str, label: str) -> Markup:
    """Shorten a drawing for the page and give it a name.

    Args:
        svg: As the figures' library draws it.
        label: Its description, for screen readers.

    Returns:
        An element svg, without the drawing's background.
    """
    root = _parse(svg)
    root.set("aria-label", escape(label))
    return _markup(root)


def inline_parts(svg: str, labels: Sequence[str]) -> list[Markup]:
    """Take apart a drawing of several panels on top of each other, which share their axes.

    Args:
        svg: As the figures' library draws it: the label of a mark begins with the number of its panel and a space.
        labels: A description of each panel.

    Returns:
        An element svg for each.
    """
    root = _parse(svg)
    parts = []
    for number, label in enumerate(labels):
        part = _part(root, f"{number} ")
        part.set("aria-label", escape(label))
        parts.append(_markup(part))
    return parts


def _part(element: Element, prefix: str) -> Element:
    """Copy an element without the marks of other panels; those of this one need no label."""
    others = {name: value for name, value in element.attrib.items() if name not in ("role", "aria-label")}
    part = ElementTree.Element(element.tag, others if "aria-label" in element.attrib else dict(element.attrib))
    part.text = element.text
    part.extend(_part(child, prefix) for child in element if child.attrib.get("aria-label", prefix).startswith(prefix))
    return part


def _parse(svg: str) -> Element:
    """Return a drawing shortened, without its background."""
    root = ElementTree.fromstring(svg)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img"}
    _shorten_children(root)
    background = root.find("rect")
    if background is not None:
        root.remove(background)
    return root


def _markup(root: Element) -> Markup:
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _shorten_children(element: Element) -> None:
    """Shorten the children of an element, and leave out those that show nothing."""
    element.tag = element.tag.rpartition("}")[2]
    kept: list[Element] = []
    for child in element:
        _shorten_children(child)
        child.attrib = _shorten_attributes(child)
        _use_circle(child)
        if child.tag == "g" and not child.attrib:
            kept += child
        elif not _is_empty(child):
            kept.append(child)
    element[:] = kept


def _shorten_attributes(element: Element) -> dict[str, str]:
    is_mark = element.tag == "path" and "aria-label" in element.attrib
    dropped = _DROPPED if is_mark else _DROPPED | {"role", "aria-label"}
    if "stroke" not in element.attrib:
        dropped = dropped | {"stroke-width"}
    return {
        name: _SHORTEN[name](value) if name in _SHORTEN else value
        for name, value in element.attrib.items()
        if name not in dropped and (name, value) not in _DEFAULTS
    }


def _use_circle(element: Element) -> None:
    """Turn a path that is a circle into one: learning curves have one for each seed."""
    radius = _CIRCLE.fullmatch(element.attrib.get("d", ""))
    centre = _PLACE.fullmatch(element.attrib.get("transform", ""))
    if radius and centre:
        others = {name: value for name, value in element.attrib.items() if name not in ("d", "transform")}
        element.tag, element.attrib = "circle", {"cx": centre[1], "cy": centre[2], "r": radius[1], **others}


def _is_empty(element: Element) -> bool:
    """Tell whether an element shows nothing: after its own attributes have been shortened."""
    if element.tag == "g":
        return not len(element)
    return element.tag == "path" and not {"fill", "stroke"} & element.attrib.keys()


def _rounded(text: str) -> str:
    return _NUMBER.sub(lambda match: f"{float(match[0]):.1f}", text)


def _shorten_path(path: str) -> str:
    """Round a path to tenths of a pixel; one of straight lines is written as steps from point to point."""
    if not _STRAIGHT.fullmatch(path):
        return _rounded(path)
    return "".join(_steps(line.split("L")) for line in path.split("M")[1:])


def _steps(points: Sequence[str]) -> str:
    """Write a line through some points: the first one, and the step to each of the others."""
    places = [[round(10 * float(number)) for number in point.split(",")] for point in points]
    steps = [_pair(b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(places)]
    return "M" + _pair(*places[0]) + ("l" + " ".join(steps).replace(" -", "-") if steps else "")


def _pair(x: int, y: int) -> str:
    second = _tenths(y)
    return _tenths(x) + (second if second.startswith("-") else f",{second}")


def _tenths(number: int) -> str:
    """Write so many tenths as a decimal number, as short as it gets."""
    sign, whole, tenth = "-" if number < 0 else "", *divmod(abs(number), 10)
    return f"{sign}{whole or ''}.{tenth}" if tenth else f"{sign}{whole}"


_SHORTEN = {"d": _shorten_path, "transform": _rounded, "x2": _rounded, "y2": _rounded}
