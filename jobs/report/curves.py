"""Accuracy as curves: against the epoch (training curves) and against the subset size (learning curve)."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from matplotlib.axes import Axes
from matplotlib.markers import CARETDOWN, CARETUP
from matplotlib.ticker import MaxNLocator, NullLocator
from numpy.typing import NDArray

from jobs.report.figure_style import COLOURS, GREY, MARKERS, figure_style, new_figure, to_svg
from jobs.report.formats import format_n

Floats = NDArray[np.float64]

# Curves that rise early stay in the top part of a panel. The room below them then shows the late epochs enlarged.
_MIN_EPOCHS = 10
_CLEAR, _LATE = 0.2, 0.3  # shares of the epochs: from where on curves must be high; where the close-up starts
_TOP = 0.7  # share of the panel's height above which they must stay
_BOTTOM, _HEIGHT = 0.08, 0.5  # of the close-up, as shares of the panel's height

_LEGEND_COLUMNS = 40  # characters in a line of a label
_WIDE_LABEL = 28  # characters of a label from which on two do not fit below a panel


@dataclass(frozen=True)
class Panel:
    """The training curves of one configuration in percent, shape (seeds, epochs); NaN after a seed's last epoch."""

    name: str
    train: Floats
    validation: Floats
    requested: int  # seeds
    collapsed: int


@dataclass(frozen=True)
class Line:
    """The learning curve of one model and schedule, in percent; low and high are NaN where there is no interval."""

    name: str
    group: int  # lines of one group share a colour and a marker
    adaptive_lr: bool
    subset_sizes: tuple[int, ...]
    mean: Floats
    low: Floats
    high: Floats
    min: Floats
    max: Floats
    n: tuple[int, ...]
    requested: tuple[int, ...]  # seeds
    collapsed: int  # trials, at all sizes

    @property
    def label(self) -> str:
        """The text of the legend, in lines."""
        n = f"(n = {format_n(self.n, self.requested, self.collapsed)})"
        *lines, last = textwrap.wrap(self.name, _LEGEND_COLUMNS)
        tail = [f"{last} {n}"] if len(last) + len(n) < _LEGEND_COLUMNS else [last, n]
        return "\n".join([*lines, *tail])


@figure_style()
def training_curves(title: str, panels: Sequence[Panel]) -> str:
    """Draw training and validation accuracy against the epoch.

    Args:
        title: Of the figure.
        panels: At least one; they share the accuracy axis.

    Returns:
        The figure as SVG.
    """
    footnote = "Lines: mean over n seeds. Bands: range over seeds. A seed is included until it diverges."
    figure = new_figure(9.6 if len(panels) > 1 else 5.6, 4.4, title, footnote)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    panels = _pad_to_longest(panels)
    curves = [curve for panel in panels for curve in (panel.train, panel.validation)]
    limits = _limits(curves)
    close_up = _close_up(curves, limits)
    for ax, panel in zip(axes, panels, strict=True):
        _draw_panel(ax, panel)
        ax.set(title=panel.name, xlabel="epoch", ylim=limits)
        ax.tick_params(labelleft=True)
        if close_up is not None:
            _draw_close_up(ax, panel, close_up)
    axes[0].set_ylabel("accuracy (%)")
    return to_svg(figure, title)


def _pad_to_longest(panels: Sequence[Panel]) -> list[Panel]:
    longest = max(panel.train.shape[1] for panel in panels)
    return [replace(p, train=_pad(p.train, longest), validation=_pad(p.validation, longest)) for p in panels]


def _pad(curve: Floats, epochs: int) -> Floats:
    return np.pad(curve, ((0, 0), (0, epochs - curve.shape[1])), constant_values=np.nan)


def _limits(curves: Sequence[Floats]) -> tuple[float, float]:
    values = np.concatenate([curve.ravel() for curve in curves])
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 100.0
    low, high = float(values.min()), float(values.max())
    pad = max(0.05 * (high - low), 0.25)
    return max(low - pad, -1.0), min(high + pad, 100 + pad / 4)


def _from(curves: Sequence[Floats], share: float) -> list[Floats]:
    return [curve[:, int(share * curve.shape[1]) :] for curve in curves]


def _close_up(curves: Sequence[Floats], limits: tuple[float, float]) -> tuple[float, float] | None:
    """Return the limits of the close-up's accuracy axis, or None where a close-up is not needed or has no room."""
    low, high = limits
    if curves[0].shape[1] < _MIN_EPOCHS:
        return None
    lowest = min((float(np.nanmin(c)) for c in _from(curves, _CLEAR) if np.isfinite(c).any()), default=low)
    return _limits(_from(curves, _LATE)) if lowest > low + _TOP * (high - low) else None


def _draw_close_up(ax: Axes, panel: Panel, limits: tuple[float, float]) -> None:
    epochs = panel.train.shape[1]
    first, (start, end) = int(_LATE * epochs) + 1, ax.get_xlim()
    left, right = ((epoch - start) / (end - start) for epoch in (first, epochs))
    inset = ax.inset_axes((left, _BOTTOM, right - left, _HEIGHT), xlim=(first, epochs), ylim=limits)
    _draw_curves(inset, panel)
    inset.set_title("enlarged detail", fontsize=7, color=GREY, pad=3)
    inset.tick_params(labelsize=7)
    inset.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    frame = ax.indicate_inset_zoom(inset, edgecolor=GREY)
    # The close-up is right below its frame: connecting lines would only cross the curves.
    for connector in frame.connectors or ():
        connector.set_visible(False)


def _draw_panel(ax: Axes, panel: Panel) -> None:
    epochs = panel.train.shape[1]
    _draw_curves(ax, panel)
    ax.set_xticks(_epoch_ticks(epochs))
    pad = max(0.02 * epochs, 0.3)
    ax.set_xlim(1 - pad, epochs + pad)
    if ax.lines:
        longest = max(len(str(line.get_label())) for line in ax.lines)
        is_wide = longest > _WIDE_LABEL
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17 if is_wide else -0.14), ncols=1 if is_wide else 2)
    else:
        ax.text(
            0.5,
            0.5,
            f"n = 0 of {panel.requested}: those stored diverged in the first epoch",
            transform=ax.transAxes,
            ha="center",
            color=GREY,
        )


def _epoch_ticks(epochs: int) -> list[int]:
    steps = MaxNLocator(nbins=6, integer=True, min_n_ticks=1).tick_values(1, max(epochs, 2))
    half = (steps[1] - steps[0]) / 2
    return [1, *(int(step) for step in steps if 1 + half <= step <= epochs)]


def _draw_curves(ax: Axes, panel: Panel) -> None:
    curves = (("train", panel.train, "-"), ("validation", panel.validation, "--"))
    for (name, curve, style), colour, marker in zip(curves, COLOURS, MARKERS, strict=False):
        n = np.isfinite(curve).sum(axis=0)
        epochs = np.flatnonzero(n) + 1
        if not epochs.size:
            continue
        seen = curve[:, epochs - 1]
        counted = n[epochs - 1].tolist()
        label = f"{name} (n = {_count(counted, panel)})"
        low, high = np.nanmin(seen, axis=0), np.nanmax(seen, axis=0)
        ax.fill_between(epochs, low, high, color=colour, alpha=0.2, linewidth=0)
        ax.plot(
            epochs,
            np.nanmean(seen, axis=0),
            label=label,
            color=colour,
            linestyle=style,
            linewidth=1.4,
            marker=marker,
            markersize=4,
            markerfacecolor="white",
            markevery=max(1, len(epochs) // 10),
        )


def _count(seeds: Sequence[int], panel: Panel) -> str:
    """Say how many seeds a curve has in each epoch, of those requested."""
    if min(seeds) == max(seeds):
        return format_n([seeds[0]], [panel.requested], panel.collapsed)
    of_requested = f"{min(seeds)}–{max(seeds)} of {panel.requested}"
    return f"{of_requested}, {panel.collapsed} collapsed" if panel.collapsed else of_requested


@figure_style()
def learning_curve(title: str, lines: Sequence[Line]) -> str:
    """Draw test accuracy against subset size, with the 95 % interval of the mean over seeds as error bars.

    Args:
        title: Of the figure.
        lines: One for each model, schedule and combination of other settings.

    Returns:
        The figure as SVG.
    """
    labels = [line.label for line in lines]
    height = 0.6 + 0.19 * sum(label.count("\n") + 1 for label in labels)  # inches, for the legend
    figure = new_figure(8.4, max(4.8, height), title, _learning_footnote(lines))
    ax = figure.subplots()
    sizes = sorted({size for line in lines for size in line.subset_sizes})
    step = _dodge_step(sizes, len(lines))
    for index, (line, label) in enumerate(zip(lines, labels, strict=True)):
        _draw_line(ax, line, label, step ** (index - (len(lines) - 1) / 2))
    ax.set(xlabel="subset size (training images, log scale)", ylabel="test accuracy (%)")
    _set_size_axis(ax, sizes, outermost=step ** ((len(lines) - 1) / 2))
    low, high = ax.get_ylim()
    ax.set_ylim(max(low, -2), min(high, 102))
    figure.legend(loc="outside right upper", title="model, learning rate", alignment="left")
    return to_svg(figure, title)


def _dodge_step(sizes: Sequence[int], lines: int) -> float:
    """Return the factor that separates points of one size: small compared with the gap between two sizes."""
    nearest = float(np.diff(np.log(sizes)).min(initial=np.log(sizes[-1] / sizes[0]) or 1.0))
    return float(np.exp(min(0.022, 0.4 / lines) * nearest))


def _learning_footnote(lines: Sequence[Line]) -> str:
    has_interval = any(np.isfinite(line.low).any() for line in lines)
    is_cut = any((line.low < 0).any() or (line.high > 100).any() for line in lines)
    parts = {
        "Points: mean over n seeds.": True,
        "Bars: 95 % interval of the mean over seeds, on this test set.": has_interval,
        "Arrowheads: bars cut at 0 or 100 %.": is_cut,
        "Dots: both values, where n is 2.": any(2 in line.n for line in lines),
        "Equal sizes are drawn side by side.": len(lines) > 1,
    }
    return " ".join(part for part, applies in parts.items() if applies)


def _draw_line(ax: Axes, line: Line, label: str, dodge: float) -> None:
    colour, marker = COLOURS[line.group % len(COLOURS)], MARKERS[line.group % len(MARKERS)]
    x = np.array(line.subset_sizes) * dodge
    low, high = np.maximum(line.low, 0), np.minimum(line.high, 100)
    bars = np.stack([line.mean - low, high - line.mean])  # (2, sizes); NaN, which is not drawn, without an interval
    for is_cut, end, arrowhead in ((line.low < 0, 0.0, CARETDOWN), (line.high > 100, 100.0, CARETUP)):
        ax.plot(x[is_cut], np.full(int(is_cut.sum()), end), linestyle="", color=colour, marker=arrowhead)
    has_two = np.array(line.n) == 2
    for values in (line.min, line.max):
        ax.plot(x[has_two], values[has_two], linestyle="", color=colour, marker=".", markersize=4)
    ax.errorbar(
        x,
        line.mean,
        yerr=bars,
        label=label,
        color=colour,
        linestyle="-" if line.adaptive_lr else "--",
        marker=marker,
        markerfacecolor=colour if line.adaptive_lr else "white",
        capsize=3,
    )


def _set_size_axis(ax: Axes, sizes: Sequence[int], outermost: float) -> None:
    """Set limits that leave room for the points beside the outer sizes, which are off by at most this factor."""
    margin = max((sizes[-1] / sizes[0]) ** 0.06, 1.1) * outermost
    ax.set_xscale("log")
    ax.set_xlim(sizes[0] / margin, sizes[-1] * margin)
    ax.xaxis.set_minor_locator(NullLocator())
    crowded = len(sizes) > 6
    labels = [f"{size:,}" for size in sizes]
    ax.set_xticks(sizes, labels, rotation=45 if crowded else 0, ha="right" if crowded else "center")
