"""Figures of matrices: the confusion matrix, and W1 as a sheet of small images."""

import base64
import io
import math

import numpy as np
from numpy.typing import NDArray

from jobs.report.charts import DIVERGING, Spec, confusion_chart, weight_chart
from jobs.report.drawing import Rows, draw, titled
from mnist_core.data import SIDE

COLUMNS = 8  # of the sheet
MAX_UNITS = 256  # hidden units drawn; a wider layer's sheet would be too tall to read

_GAP = 2  # pixels between two images of the sheet
_CLIPPED = 0.002  # share of the weights beyond the colour scale: a few large ones would make all others pale
_SHADES = 33  # colours of a sheet: more make a larger file and no difference to the eye
_BLANK = 255  # the index of the gaps' colour
_WIDTH = 476  # pixels of the drawn sheet: twice those of its image


def percent_of_rows(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return a confusion matrix in percent of each row; NaN in a row without images."""
    totals = counts.sum(axis=1, keepdims=True)  # (actual, 1)
    percent = np.full(counts.shape, np.nan)
    np.divide(100 * counts, totals, out=percent, where=totals > 0)
    return percent


def confusion_matrix(counts: NDArray[np.int64], title: str, footnote: str) -> str:
    """Draw a confusion matrix in percent of each row.

    Args:
        counts: Shape (10, 10): actual digit, predicted digit. A digit without images has an empty row.
        title: Of the figure.
        footnote: Below it.

    Returns:
        The figure as SVG.
    """
    return draw(*matrix_chart(counts, title, footnote))


def matrix_chart(counts: NDArray[np.int64], title: str, footnote: str) -> tuple[Spec, dict[str, Rows]]:
    """Specify what `confusion_matrix` draws, and make its rows."""
    cells = [
        {
            "actual": actual,
            "predicted": predicted,
            "percent": float(share),
            "text": f"{share:.2f}",
            "tone": "light" if share > 20 else "dark" if share > 0 else "none",
        }
        for (actual, predicted), share in np.ndenumerate(percent_of_rows(counts))
        if not math.isnan(share)
    ]
    totals = [{"actual": digit, "images": f"{total:,}"} for digit, total in enumerate(counts.sum(axis=1).tolist())]
    note = f"{footnote} Right of each row: the images of the digit."
    return titled(confusion_chart(), title, note, 520), {"cells": cells, "totals": totals}


def weight_sheet(weight: NDArray[np.float32], title: str) -> str:
    """Draw the rows of W1 as 28x28 images, from left to right and top to bottom.

    Args:
        weight: W1, shape (hidden, 784).
        title: Of the figure.

    Returns:
        The figure as SVG.
    """
    return draw(*sheet_chart(weight, title))


def sheet_chart(weight: NDArray[np.float32], title: str) -> tuple[Spec, dict[str, Rows]]:
    """Specify what `weight_sheet` draws, and make its rows."""
    hidden, largest = len(weight), colour_range(weight)
    omitted = f" Only the first {MAX_UNITS} of {hidden:,} hidden units are drawn." if hidden > MAX_UNITS else ""
    footnote = f"Weights beyond ±{largest:.2g} have the colour of that end of the scale.{omitted}"
    height, width = sheet_shape(hidden)
    chart = weight_chart(_WIDTH, round(_WIDTH * height / width), largest)
    url = "data:image/png;base64," + base64.b64encode(weight_png(weight, largest)).decode("ascii")
    rows: dict[str, Rows] = {"sheet": [{"url": url}], "scale": [{"w": -largest}, {"w": largest}]}
    return titled(chart, title, footnote, _WIDTH + 60), rows


def colour_range(weight: NDArray[np.float32]) -> float:
    """Return the weight at which the colour scale ends."""
    return float(np.quantile(np.abs(weight[:MAX_UNITS]), 1 - _CLIPPED)) or 1.0


def sheet_shape(hidden: int) -> tuple[int, int]:
    """Return height and width of the sheet of so many hidden units, in pixels."""
    rows, step = math.ceil(min(hidden, MAX_UNITS) / COLUMNS), SIDE + _GAP
    return rows * step - _GAP, COLUMNS * step - _GAP


def weight_png(weight: NDArray[np.float32], largest: float) -> bytes:
    """Draw the rows of W1 as one PNG with a palette; equal weights give equal bytes.

    Args:
        weight: Shape (hidden, 784).
        largest: The weight at which the colour scale ends, on both sides.
    """
    from PIL import Image

    drawn = weight[:MAX_UNITS]
    shade = np.clip(np.rint((drawn / largest + 1) / 2 * (_SHADES - 1)), 0, _SHADES - 1).astype(np.uint8)
    step = SIDE + _GAP
    sheet = np.full(sheet_shape(len(weight)), _BLANK, dtype=np.uint8)
    for unit, image in enumerate(shade.reshape(-1, SIDE, SIDE)):
        top, left = unit // COLUMNS * step, unit % COLUMNS * step
        sheet[top : top + SIDE, left : left + SIDE] = image
    sheet[sheet == _BLANK] = _SHADES
    picture = Image.fromarray(sheet, mode="P")
    picture.putpalette([*_palette(), 255, 255, 255])
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True, transparency=_SHADES, bits=8)
    return file.getvalue()


def _palette() -> list[int]:
    """Return the colours from the lowest to the highest weight: red, green and blue of each."""
    anchors = np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in DIVERGING])
    at = np.linspace(0, len(anchors) - 1, _SHADES)
    shades = np.stack([np.interp(at, range(len(anchors)), anchors[:, channel]) for channel in range(3)], axis=1)
    return [int(each) for each in np.rint(shades).ravel()]
