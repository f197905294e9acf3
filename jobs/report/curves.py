"""Training curves: accuracy and loss against the epoch, with both schedules in one panel."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jobs.report.charts import COLOURS, DASHED, SOLID, Axis, Series, Spec, line_panel
from jobs.report.drawing import Rows, draw, titled
from jobs.report.formats import format_n

Floats = NDArray[np.float64]

MEASURES = ("validation_accuracy", "train_accuracy", "validation_loss", "train_loss")
SCHEDULES = {"fixed": Series("fixed", COLOURS[0], DASHED), "adaptive": Series("adaptive", COLOURS[1], SOLID)}

# Curves that rise early stay in the top part of a panel. Their late epochs are then shown enlarged, too.
_MIN_EPOCHS = 10
_CLEAR, _LATE = 0.2, 0.3  # shares of the epochs: from where on curves must be high; where the enlargement starts
_TOP = 0.7  # share of the panel's height above which they must stay
_FEW_EPOCHS = 12  # up to which each is marked
_FILE_PANEL, _PAGE_PANEL = (330, 230), (250, 165)  # pixels

FOOTNOTE = "Thick lines: mean over n seeds. Thin lines: seeds. A seed is included until it diverges."


@dataclass(frozen=True)
class Curves:
    """The training of one configuration: accuracies in percent, (seeds, epochs), NaN after a seed's last epoch."""

    schedule: str  # fixed or adaptive
    values: Mapping[str, Floats]  # by measure
    requested: int  # seeds
    collapsed: int

    @property
    def epochs(self) -> int:
        return int(self.values[MEASURES[0]].shape[1])

    @property
    def label(self) -> str:
        """The schedule with the number of its seeds."""
        n = np.isfinite(self.values[MEASURES[0]]).sum(axis=0)
        counted = n[n > 0].tolist()
        if not counted:
            return f"{self.schedule} (n = 0 of {self.requested}: those stored diverged in the first epoch)"
        return f"{self.schedule} (n = {self._count(counted)})"

    def _count(self, seeds: Sequence[int]) -> str:
        """Format how many seeds a curve has in each epoch, of those requested."""
        if min(seeds) == max(seeds):
            return format_n([seeds[0]], [self.requested], self.collapsed)
        of_requested = f"{min(seeds)}–{max(seeds)} of {self.requested}"
        return f"{of_requested}, {self.collapsed} collapsed" if self.collapsed else of_requested


@dataclass(frozen=True)
class TrainingSheet:
    """The panels of one measure, with what a script needs to read values off them."""

    svg: str  # of all panels; what belongs to one only has a label that begins with its number
    first: int  # epoch of the left edge
    last: int
    width: int  # pixels of the plotting area
    means: Sequence[Mapping[str, Sequence[float | None]]]  # of each panel, by schedule: per epoch from `first` on


def training_curves(title: str, curves: Sequence[Curves]) -> str:
    """Draw training and validation accuracy against the epoch.

    Args:
        title: Of the figure.
        curves: At least one; they share the accuracy axis.

    Returns:
        The figure as SVG.
    """
    return draw(*training_chart(title, curves))


def training_chart(title: str, curves: Sequence[Curves]) -> tuple[Spec, dict[str, Rows]]:
    """Specify what `training_curves` draws, and make its rows."""
    epochs = max(each.epochs for each in curves)
    both = [each.values[measure] for each in curves for measure in MEASURES[:2]]
    series = [SCHEDULES[each.schedule]._replace(name=each.label) for each in curves]
    ranges = {"": (1, *limits(both))}
    if is_flat(both):
        first = first_late(epochs)
        ranges["enlarged detail: "] = (first, *limits([curve[:, first - 1 :] for curve in both]))
    rows: dict[str, Rows] = {}
    lines = []
    for prefix, (first, low, high) in ranges.items():
        panels = []
        for measure in MEASURES[:2]:
            name = f"{measure}-{first}"
            x, y = _epoch_axis(first, epochs), Axis(prefix + axis_title(measure), low, high)
            panels.append(line_panel(name, x, y, series, size=_FILE_PANEL, legend="learning rate"))
            rows |= _rows(name, curves, measure, first, [each.name for each in series])
        lines.append({"hconcat": panels})
    return titled({"vconcat": lines}, title, FOOTNOTE, 2 * _FILE_PANEL[0]), rows


def training_sheet(
    groups: Sequence[Sequence[Curves]], measure: str, axes: tuple[Axis, Axis], points: int
) -> TrainingSheet:
    """Draw one measure of some groups of configurations for the page, on axes that they share.

    Args:
        groups: One for each panel.
        measure: One of MEASURES.
        axes: Of the epochs and of the measure.
        points: Of the thin line of a seed, at most.

    Returns:
        All panels on top of each other: drawn at once, because each drawing takes its time.
    """
    x, y = axes
    first, last = int(x.low), int(x.high)
    schedules = dict.fromkeys(each.schedule for group in groups for each in group)
    spec = line_panel("c", x, y, [SCHEDULES[name] for name in schedules], size=_PAGE_PANEL, legend=None)
    step = -(-(last - first + 1) // points)
    rows: dict[str, list[dict[str, Any]]] = {}
    for number, group in enumerate(groups):
        for name, found in _rows(
            "c", group, measure, first, [each.schedule for each in group], step, f"{number} "
        ).items():
            rows[name] = rows.get(name, []) + found
    means = [{each.schedule: _listed(_mean(each.values[measure])[first - 1 :]) for each in group} for group in groups]
    return TrainingSheet(draw(spec, rows), first, last, _PAGE_PANEL[0], means)


def shared_axes(groups: Sequence[Sequence[Curves]], measure: str) -> tuple[Axis, Axis]:
    """Choose the axes that all panels of a measure share."""
    curves = [each for group in groups for each in group]
    epochs = max((each.epochs for each in curves), default=1)
    found = [each.values[measure] for each in curves]
    y = _loss_axis(measure, found) if measure.endswith("loss") else Axis(axis_title(measure), *limits(found))
    return _epoch_axis(1, epochs), y


def late_axes(group: Sequence[Curves], measure: str) -> tuple[Axis, Axis] | None:
    """Choose axes of its own that enlarge the late epochs of a group; None where its epochs are too few."""
    epochs = max(each.epochs for each in group)
    first = first_late(epochs)
    late = [each.values[measure][:, first - 1 :] for each in group]
    if epochs < _MIN_EPOCHS or not any(np.isfinite(each).any() for each in late):
        return None
    return _epoch_axis(first, epochs), Axis(axis_title(measure), *limits(late))


def axis_title(measure: str) -> str:
    """Name a measure with its unit."""
    return measure.replace("_", " ") + (" (%)" if measure.endswith("accuracy") else "")


def limits(curves: Sequence[Floats]) -> tuple[float, float]:
    """Return the ends of the axis of some accuracies in percent."""
    values = np.concatenate([curve.ravel() for curve in curves]) if curves else np.zeros(0)
    values = values[np.isfinite(values)]
    if not values.size:
        return 0.0, 100.0
    low, high = float(values.min()), float(values.max())
    pad = max(0.05 * (high - low), 0.25)
    return max(low - pad, -1.0), min(high + pad, 100 + pad / 4)


def first_late(epochs: int) -> int:
    """Return the first epoch of an enlargement."""
    return int(_LATE * epochs) + 1


def is_flat(curves: Sequence[Floats]) -> bool:
    """Tell whether the late epochs need an enlargement: curves that rise early leave most of a panel empty."""
    low, high = limits(curves)
    epochs = max(curve.shape[1] for curve in curves)
    if epochs < _MIN_EPOCHS:
        return False
    late = (curve[:, int(_CLEAR * epochs) :] for curve in curves)
    lowest = min((float(np.nanmin(each)) for each in late if np.isfinite(each).any()), default=low)
    return lowest > low + _TOP * (high - low)


def _loss_axis(measure: str, curves: Sequence[Floats]) -> Axis:
    values = np.concatenate([curve.ravel() for curve in curves]) if curves else np.zeros(0)
    values = values[np.isfinite(values) & (values > 0)]
    if not values.size:
        return Axis(axis_title(measure), 0, 1)
    low, high = float(values.min()), float(values.max())
    return Axis(axis_title(measure), low / 1.1, high * 1.1, scale="log", format="~g")


def _epoch_axis(first: int, last: int) -> Axis:
    return Axis("epoch", first, max(last, first + 1), _epoch_ticks(first, last), format="d")


def _epoch_ticks(first: int, last: int) -> list[int]:
    """Return the first epoch and round ones after it."""
    steps = (1, 2, 5, 10, 20, 25, 50)
    step = next((each for each in steps if (last - first) / each <= 5), 10 ** len(str(last)) // 20)
    return [first, *(each for each in range(step, last + 1, step) if each >= first + step / 2)]


def _rows(
    name: str,
    curves: Sequence[Curves],
    measure: str,
    first: int,
    names: Sequence[str],
    step: int = 1,
    prefix: str = "",
) -> dict[str, list[dict[str, Any]]]:
    """Make the rows of a panel, of each seed every step-th epoch and the last; losses of zero have no logarithm."""
    means, seeds = [], []
    for each, label in zip(curves, names, strict=True):
        values = each.values[measure]
        line = {"s": label, **({"k": f"{prefix}{label}"} if prefix else {})}
        means += [{"e": epoch, "v": v, **line} for epoch, v in _points(_mean(values), measure, first)]
        for k, curve in enumerate(values if len(values) > 1 else []):
            points = list(_points(curve, measure, first))
            kept = [*points[:-1:step], *points[-1:]]
            seeds += [{"e": epoch, "v": v, "s": label, "k": f"{prefix}{label} {k}"} for epoch, v in kept]
    dots = means if len({row["e"] for row in means}) <= _FEW_EPOCHS else []
    return {f"{name}-means": means, f"{name}-seeds": seeds, f"{name}-dots": dots}


def _points(curve: Floats, measure: str, first: int) -> Iterator[tuple[int, float]]:
    least = 0.0 if measure.endswith("loss") else -np.inf
    for epoch in (np.flatnonzero(np.isfinite(curve) & (curve > least)) + 1).tolist():
        if epoch >= first:
            yield epoch, round(float(curve[epoch - 1]), 5)


def _mean(values: Floats) -> Floats:
    """Return the mean over the seeds that have an epoch."""
    n = np.isfinite(values).sum(axis=0)
    total = np.where(np.isfinite(values), values, 0.0).sum(axis=0)
    mean: Floats = np.divide(total, n, out=np.full(values.shape[1], np.nan), where=n > 0)
    return mean


def _listed(curve: Floats) -> list[float | None]:
    return [float(f"{value:.4g}") if np.isfinite(value) else None for value in curve.tolist()]
