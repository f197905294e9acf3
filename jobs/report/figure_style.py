"""The style of all figures: fonts, colours that differ without colour vision, and reproducible SVG."""

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib.style
from matplotlib.figure import Figure

from jobs.escape import escape

# The colours of Okabe and Ito, without the two that are faint on white (https://jfly.uni-koeln.de/color/).
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "<")
GREY = "#595959"

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "figure.constrained_layout.h_pad": 0.08,
    "figure.constrained_layout.w_pad": 0.08,
    "font.sans-serif": ["DejaVu Sans", "Helvetica", "Arial", "sans-serif"],
    "font.size": 9,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",  # text stays text: the files are small and can be searched
    "svg.hashsalt": "mnistjobs",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Apply the style, whatever the user's own configuration of matplotlib."""
    with matplotlib.style.context(["default", _STYLE]):
        yield


def new_figure(width: float, height: float, title: str, footnote: str) -> Figure:
    """Make an empty figure with a title above and a footnote below.

    Args:
        width: In inches.
        height: In inches.
        title: Wrapped to the width.
        footnote: Wrapped to the width.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    columns = int(width * 9)  # characters of the title's size that fit
    figure.suptitle(_wrap(title, columns), x=0.01, ha="left", fontsize=11, fontweight="bold")
    figure.supxlabel(_wrap(footnote, int(columns * 1.6)), x=0.01, ha="left", fontsize=8, color=GREY)
    return figure


def _wrap(text: str, columns: int) -> str:
    return textwrap.fill(escape(text), columns)


def to_svg(figure: Figure, title: str) -> str:
    """Render a figure as SVG; equal figures give equal text."""
    file = io.StringIO()
    metadata = {"Date": None, "Creator": None, "Title": escape(title)}
    figure.savefig(file, format="svg", metadata=metadata)
    text = file.getvalue()
    # The text before the root element refers to a remote document type, which no reader should fetch.
    return '<?xml version="1.0" encoding="utf-8"?>\n' + text[text.index("<svg ") :]
