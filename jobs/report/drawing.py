"""Draw a specification with its rows as SVG, and turn an SVG into PDF or PNG."""

import re
import resource
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, Literal
from xml.sax.saxutils import escape as escape_xml

import vl_convert

from jobs.escape import escape
from jobs.report.charts import Spec, theme

Rows = Sequence[Mapping[str, Any]]

_ADDRESS_SPACE = 128 << 30  # bytes that the library reserves without using them; with less it would abort the process
_NUMBERED = re.compile(r"(?<=[\"#])(gradient_|clip)\d+")
_PNG_SCALE = 2.0
_TITLE_WIDTH, _SUBTITLE_WIDTH = 8.0, 5.8  # pixels of a character


def draw(spec: Spec, rows: Mapping[str, Rows]) -> str:
    """Draw a specification as SVG; equal specifications and rows give equal text.

    Args:
        spec: One of jobs.report.charts, or several of them side by side.
        rows: By the name that the specification has for them.

    Raises:
        MemoryError: This process may not reserve as much address space as drawing takes.
    """
    check_address_space()
    return _renumbered(render({**spec, "datasets": rows}))


def render(spec: Spec) -> str:
    """Turn a whole specification into SVG."""
    return str(vl_convert.vegalite_to_svg(spec, config=theme()))


def _renumbered(svg: str) -> str:
    """Number the gradients and clips of a drawing from 0: the library goes on counting over all of a process."""
    numbers: dict[str, str] = {}
    return _NUMBERED.sub(lambda match: numbers.setdefault(match[0], f"{match[1]}{len(numbers)}"), svg)


def check_address_space() -> None:
    """Raise MemoryError where the limit of the address space (ulimit -v) leaves no room for drawing."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit not in (resource.RLIM_INFINITY, -1) and limit < _ADDRESS_SPACE:
        raise MemoryError


def titled(spec: Spec, title: str, footnote: str, width: int) -> Spec:
    """Put a title and a line below it over a figure, wrapped to a width in pixels."""
    lines = _wrap(title, int(width / _TITLE_WIDTH))
    below = _wrap(footnote, int(width / _SUBTITLE_WIDTH))
    return {**spec, "title": {"text": lines, "subtitle": below, "offset": 12, "subtitlePadding": 5}}


def _wrap(text: str, columns: int) -> list[str]:
    return textwrap.wrap(escape(text), columns)


def as_file(svg: str, title: str) -> str:
    """Make a file of a drawing: with its title, for those who search or hear it."""
    named = f'role="img"><title>{escape_xml(escape(title))}</title>'
    return '<?xml version="1.0" encoding="utf-8"?>\n' + re.sub(r"^(<svg [^>]*)>", lambda m: f"{m[1]} {named}", svg)


def convert(svg: str, kind: Literal["pdf", "png"]) -> bytes:
    """Turn a drawing into a PDF, or into a PNG with twice its size in pixels."""
    if kind == "pdf":
        return bytes(vl_convert.svg_to_pdf(svg))
    return bytes(vl_convert.svg_to_png(svg, scale=_PNG_SCALE))
