"""Make a drawing part of the page: without what a browser does not need, and with colours from the page's style."""

import re
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
_COMMAND = re.compile(r"([A-Za-z])([^A-Za-z]*)")
_NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
_CIRCLE = re.compile(r"M([\d.]+),0A\1,\1,0,1,1,-\1,0A\1,\1,0,1,1,\1,0")
_PLACE = re.compile(r"translate\((-?[\d.]+),(-?[\d.]+)\)")


def inline(svg: str, label: str) -> Markup:
    """Shorten a drawing for the page and give it a name.

    Args:
        svg: As the figures' library draws it.
        label: What it shows, for those who hear the page.

    Returns:
        An element svg, without the drawing's background.
    """
    root = ElementTree.fromstring(svg)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": escape(label)}
    _shorten_children(root)
    background = root.find("rect")
    if background is not None:
        root.remove(background)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _shorten_children(element: Element) -> None:
    """Shorten what is inside an element, and leave out what shows nothing."""
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
    commands = _COMMAND.findall(path)
    if not commands or {name for name, _ in commands} - {"M", "L"}:
        return _rounded(path)
    found, x, y = [], 0, 0
    last = ""
    for name, numbers in commands:
        to_x, to_y = (round(10 * float(each)) for each in numbers.split(","))
        step = (to_x, to_y) if name == "M" else (to_x - x, to_y - y)
        text = _pair(*step)
        if name != last or name == "M":
            text = ("M" if name == "M" else "l") + text
        elif not text.startswith("-"):
            text = " " + text
        found.append(text)
        x, y, last = to_x, to_y, name
    return "".join(found)


def _pair(x: int, y: int) -> str:
    second = _tenths(y)
    return _tenths(x) + (second if second.startswith("-") else f",{second}")


def _tenths(number: int) -> str:
    """Write so many tenths as a decimal number, as short as it gets."""
    sign, whole, tenth = "-" if number < 0 else "", *divmod(abs(number), 10)
    return f"{sign}{whole or ''}.{tenth}" if tenth else f"{sign}{whole}"


_SHORTEN = {"d": _shorten_path, "transform": _rounded, "x2": _rounded, "y2": _rounded}
