"""Figures of matrices: the confusion matrix, and W1 as a sheet of small images."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from numpy.typing import NDArray

from jobs.report.figure_style import GREY, figure_style, new_figure, to_svg
from mnist_core.data import SIDE

COLUMNS = 8  # of the sheet
MAX_UNITS = 256  # hidden units drawn; a wider layer's sheet would be too tall to read

_GAP = 2  # pixels between two images of the sheet
_CLIPPED = 0.002  # share of the weights beyond the colour scale: a few large ones would make all others pale


@figure_style()
def confusion_matrix(counts: NDArray[np.int64], title: str, footnote: str) -> str:
    """Draw a confusion matrix in percent of each row.

    Args:
        counts: Shape (10, 10): actual digit, predicted digit. A digit without images has an empty row.
        title: Of the figure.
        footnote: Below it.

    Returns:
        The figure as SVG.
    """
    totals = counts.sum(axis=1, keepdims=True)  # (actual, 1)
    percent = np.full(counts.shape, np.nan)
    np.divide(100 * counts, totals, out=percent, where=totals > 0)
    figure = new_figure(6.8, 5.9, title, footnote)
    ax = figure.subplots()
    # A power below 1 makes errors of a fraction of a percent visible beside a diagonal near 100 percent.
    mesh = ax.pcolormesh(percent, cmap="Blues", norm=PowerNorm(0.4, vmin=0, vmax=100), edgecolor="white")
    _label_cells(ax, percent)
    _label_digits(ax, totals.ravel())
    bar = figure.colorbar(mesh, ax=ax, label="share of the actual digit's images (%)", shrink=0.8, pad=0.03)
    bar.set_ticks([0, 0.5, 2, 5, 10, 25, 50, 100], labels=["0", "0.5", "2", "5", "10", "25", "50", "100"])
    bar.outline.set_visible(False)
    return to_svg(figure, title)


def _label_cells(ax: Axes, percent: NDArray[np.float64]) -> None:
    for (actual, predicted), share in np.ndenumerate(percent):
        if math.isnan(share):
            continue
        colour = "white" if share > 20 else "black" if share > 0 else "#8C8C8C"
        weight = "bold" if actual == predicted else "normal"
        at = (predicted + 0.5, actual + 0.5)
        label = ax.text(*at, f"{share:.2f}", ha="center", va="center", fontsize=7.5, color=colour, fontweight=weight)
        label.set_in_layout(False)  # it fits its cell: measuring a hundred labels would be slow


def _label_digits(ax: Axes, totals: NDArray[np.int64]) -> None:
    digits = np.arange(len(totals))
    ax.set_xticks(digits + 0.5, [f"{digit}" for digit in digits])
    ax.set_yticks(digits + 0.5, [f"{digit}" for digit in digits])
    ax.set(xlabel="predicted digit", ylabel="actual digit", aspect="equal")
    ax.invert_yaxis()
    ax.grid(visible=False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    for digit, total in zip(digits, totals, strict=True):
        ax.text(len(totals) + 0.15, digit + 0.5, f"{total:,}", va="center", fontsize=7, color=GREY)
    ax.text(len(totals) + 0.15, -0.15, "images", va="bottom", fontsize=7, color=GREY)


@figure_style()
def weight_sheet(weight: NDArray[np.float32], title: str) -> str:
    """Draw the rows of W1 as 28x28 images, from left to right and top to bottom.

    Args:
        weight: W1, shape (hidden, 784).
        title: Of the figure.

    Returns:
        The figure as SVG.
    """
    hidden = len(weight)
    drawn = weight[:MAX_UNITS]
    largest = float(np.quantile(np.abs(drawn), 1 - _CLIPPED)) or 1.0
    sheet = _sheet(drawn)
    omitted = f" Only the first {MAX_UNITS} of {hidden:,} hidden units are drawn." if hidden > MAX_UNITS else ""
    footnote = f"Weights beyond ±{largest:.2g} have the colour of that end of the scale.{omitted}"
    figure = new_figure(6.8, 1.2 + 5.6 * sheet.shape[0] / sheet.shape[1], title, footnote)
    ax = figure.subplots()
    image = ax.imshow(sheet, cmap="PuOr_r", vmin=-largest, vmax=largest, interpolation="none")
    ax.set_axis_off()
    figure.colorbar(image, ax=ax, label="weight", extend="both", shrink=0.8, aspect=30, pad=0.03)
    return to_svg(figure, title)


def _sheet(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, step = math.ceil(len(weight) / COLUMNS), SIDE + _GAP
    sheet = np.full((rows * step - _GAP, COLUMNS * step - _GAP), np.nan, dtype=np.float32)
    for unit, image in enumerate(weight.reshape(-1, SIDE, SIDE)):
        top, left = unit // COLUMNS * step, unit % COLUMNS * step
        sheet[top : top + SIDE, left : left + SIDE] = image
    return sheet
