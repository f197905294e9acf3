"""The report's figures: which configurations are drawn, from which rows, under which file names.

A new kind of figure is a function here that returns ReportFigures, and a line in SECTIONS of jobs.report.page.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.escape import escape
from jobs.report.configurations import CONFIGURATION_COLUMNS, Key, configuration_key, varying_settings
from jobs.report.curves import Line, Panel, learning_curve, training_curves
from jobs.report.formats import format_count, format_setting
from jobs.report.matrices import confusion_matrix, weight_sheet
from jobs.report.summary import Row
from mnist_core.data import DIGITS

MAX_CONFIGURATIONS = 24  # drawn in figures of one kind: nobody looks at more


@dataclass(frozen=True)
class ReportFigure:
    """One figure of the report, ready to be written under its file name."""

    file_name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class Configuration:
    """One row of the summary with the stored trials behind it, in the order of their seeds, and its names."""

    row: Row
    trial_ids: tuple[str, ...]
    others: tuple[tuple[str, str], ...]  # varying settings beyond model, subset_size and adaptive_lr: name, text

    @property
    def schedule(self) -> str:
        return "adaptive" if self.row["adaptive_lr"] else "fixed"

    @property
    def size(self) -> int:
        return int(self.row["subset_size"])

    def title(self, *words: str) -> str:
        """Name the configuration for a person, with `words` after its model."""
        others = (f"{name.replace('_', ' ')} {text}" for name, text in self.others)
        return escape(", ".join([format_setting(self.row["model"]), *words, *others]))

    def file_name(self, kind: str, *words: str) -> str:
        """Name the file of a figure of the configuration, with `words` after its model and size."""
        others = (f"{name}={text}" for name, text in self.others)
        stem = "-".join([kind, str(self.row["model"]), str(self.size), *words, *others])
        return re.sub(r"[^A-Za-z0-9._=-]", "_", stem) + ".svg"


def draw_figures(
    summary: pa.Table,
    trials: pa.Table,
    metrics: pa.Table,
    confusion: pa.Table,
    weights: Mapping[str, NDArray[np.float32]],
) -> list[ReportFigure]:
    """Draw every figure of the report, kind by kind.

    Args:
        summary: A table with the schema SUMMARY; its order is the order of the figures.
        trials: A table with the schema TRIALS.
        metrics: A table with the schema METRICS.
        confusion: A table with the schema CONFUSION.
        weights: W1, shape (hidden, 784), by trial_id.

    Returns:
        The figures of configurations that have data. At most MAX_CONFIGURATIONS of each kind are drawn; the last
        caption of the kind gives the number of the others.
    """
    configurations = _configurations(summary, trials)
    return [
        *_training_figures(configurations, metrics),
        *_learning_figures(configurations),
        *_confusion_figures(configurations, confusion),
        *_weight_figures(configurations, trials, weights),
    ]


def _configurations(summary: pa.Table, trials: pa.Table) -> list[Configuration]:
    stored: dict[Key, list[str]] = {}
    for row in trials.select(["trial_id", "seed", *CONFIGURATION_COLUMNS]).sort_by("seed").to_pylist():
        stored.setdefault(configuration_key(row), []).append(row["trial_id"])
    others = varying_settings(summary.select(CONFIGURATION_COLUMNS).to_pydict())
    rows: list[Row] = summary.to_pylist()
    return [
        Configuration(
            row,
            tuple(stored.get(configuration_key(row), ())),
            tuple((name, str(row[name])) for name in others if row[name] is not None),
        )
        for row in rows
    ]


def _note_omitted(figures: list[ReportFigure], found: int) -> list[ReportFigure]:
    if found <= MAX_CONFIGURATIONS or not figures:
        return figures
    last, omitted = figures[-1], found - MAX_CONFIGURATIONS
    caption = f"{last.caption} {omitted} more {'is' if omitted == 1 else 'are'} not drawn."
    return [*figures[:-1], replace(last, caption=caption)]


def _grouped(configurations: Iterable[Configuration], settings: tuple[str, ...]) -> list[list[Configuration]]:
    groups: dict[Key, list[Configuration]] = {}
    for configuration in configurations:
        key = (*(configuration.row[name] for name in settings), configuration.others)
        groups.setdefault(key, []).append(configuration)
    return list(groups.values())


def _rows_of(table: pa.Table, trial_ids: Sequence[str]) -> pa.Table:
    return table.filter(pc.is_in(table["trial_id"], pa.array(trial_ids, pa.string())))


def _training_figures(configurations: Sequence[Configuration], metrics: pa.Table) -> list[ReportFigure]:
    stored = set(metrics["trial_id"].unique().to_pylist())
    drawable = [one for one in configurations if stored.intersection(one.trial_ids)]
    groups = _grouped(drawable, ("model", "subset_size"))
    figures = [_training_figure(group, metrics) for group in groups[:MAX_CONFIGURATIONS]]
    return _note_omitted(figures, len(groups))


def _training_figure(group: Sequence[Configuration], metrics: pa.Table) -> ReportFigure:
    ordered = sorted(group, key=lambda one: one.schedule, reverse=True)  # fixed, then adaptive
    title = f"Training curves: {ordered[0].title(f'{ordered[0].size:,} images')}"
    caption = (
        "Accuracy on the training subset and on the validation set after each epoch, with "
        f"{' and with '.join(_with_article(one.schedule) for one in ordered)} learning rate. "
        "Lines: mean over n seeds. Bands: range over seeds."
    )
    svg = training_curves(title, [_panel(one, metrics) for one in ordered])
    return ReportFigure(ordered[0].file_name("curves"), title, caption, svg)


def _with_article(schedule: str) -> str:
    return "an adaptive" if schedule == "adaptive" else "a fixed"


def _panel(configuration: Configuration, metrics: pa.Table) -> Panel:
    rows = _rows_of(metrics, configuration.trial_ids)
    ids = rows["trial_id"].to_pylist()
    seed = np.array([configuration.trial_ids.index(trial_id) for trial_id in ids])
    epoch = rows["epoch"].to_numpy()
    # Once the loss is not a number, the accuracy is meaningless.
    finite = np.isfinite(rows["train_loss"].to_numpy()) & np.isfinite(rows["validation_loss"].to_numpy())
    curves = np.full((2, len(configuration.trial_ids), int(epoch.max())), np.nan)
    for curve, name in zip(curves, ("train_accuracy", "validation_accuracy"), strict=True):
        curve[seed, epoch - 1] = np.where(finite, 100 * rows[name].to_numpy(), np.nan)
    return Panel(f"{configuration.schedule} learning rate", *curves)


def _learning_figures(configurations: Sequence[Configuration]) -> list[ReportFigure]:
    measured = [one for one in configurations if one.row["n"]]
    if not measured:
        return []
    groups = _grouped(measured, ("model",))
    parts = [(number, part) for number, group in enumerate(groups) for part in _by_schedule(group)]
    lines = [_line(number, part) for number, part in parts[:MAX_CONFIGURATIONS]]
    title = "Learning curve: test accuracy against subset size"
    caption = (
        "Accuracy on the test set after the last epoch against the number of training images. "
        "Points: mean over n seeds. Bars: 95 % t-interval of the mean."
    )
    figure = ReportFigure("learning-curve.svg", title, caption, learning_curve(title, lines))
    return _note_omitted([figure], len(parts))


def _by_schedule(group: Sequence[Configuration]) -> list[list[Configuration]]:
    return [part for kind in ("fixed", "adaptive") if (part := [one for one in group if one.schedule == kind])]


def _line(group: int, part: Sequence[Configuration]) -> Line:
    ordered = sorted(part, key=lambda one: one.size)
    mean, low, high = (
        100 * np.array([one.row[f"test_accuracy_{name}"] for one in ordered], dtype=np.float64)
        for name in ("mean", "low", "high")
    )
    return Line(
        name=ordered[0].title(ordered[0].schedule),
        group=group,
        adaptive_lr=ordered[0].row["adaptive_lr"],
        subset_sizes=tuple(one.size for one in ordered),
        mean=mean,
        low=low,
        high=high,
        n=tuple(one.row["n"] for one in ordered),
    )


def _confusion_figures(configurations: Sequence[Configuration], confusion: pa.Table) -> list[ReportFigure]:
    stored = set(confusion["trial_id"].unique().to_pylist())
    drawable = [one for one in configurations if stored.intersection(one.trial_ids)]
    figures = [_confusion_figure(one, confusion) for one in drawable[:MAX_CONFIGURATIONS]]
    return _note_omitted(figures, len(drawable))


def _confusion_figure(configuration: Configuration, confusion: pa.Table) -> ReportFigure:
    rows = _rows_of(confusion, configuration.trial_ids)
    n = len(rows["trial_id"].unique())
    counts = np.zeros((DIGITS, DIGITS), dtype=np.int64)  # (actual, predicted)
    np.add.at(counts, (rows["actual"].to_numpy(), rows["predicted"].to_numpy()), rows["count"].to_numpy())
    words = (f"{configuration.size:,} images", f"{configuration.schedule} learning rate")
    title = f"Confusion matrix: {configuration.title(*words)}"
    counted = f"n = {format_count(n, 'seed')}: {format_count(int(counts.sum()), 'prediction')}"
    caption = f"Percent of each actual digit's test images over {counted}, {np.trace(counts):,} of them correct."
    svg = confusion_matrix(counts, title, f"Percent of each row over {counted}.")
    return ReportFigure(configuration.file_name("confusion", configuration.schedule), title, caption, svg)


def _weight_figures(
    configurations: Sequence[Configuration], trials: pa.Table, weights: Mapping[str, NDArray[np.float32]]
) -> list[ReportFigure]:
    seeds = dict(zip(trials["trial_id"].to_pylist(), trials["seed"].to_pylist(), strict=True))
    found = [(one, trial_id) for one in configurations for trial_id in one.trial_ids if trial_id in weights]
    figures = [_weight_figure(one, seeds[trial], weights[trial]) for one, trial in found[:MAX_CONFIGURATIONS]]
    return _note_omitted(figures, len(found))


def _weight_figure(configuration: Configuration, seed: int, weight: NDArray[np.float32]) -> ReportFigure:
    words = (f"{configuration.size:,} images", f"{configuration.schedule} learning rate", f"seed {seed}")
    title = f"W1: {configuration.title(*words)}"
    caption = (
        "The rows of W1 as 28x28 images, from left to right and top to bottom: one for each of "
        f"{format_count(len(weight), 'hidden unit')}, with the weights from the pixels to that unit."
    )
    file_name = configuration.file_name("w1", configuration.schedule)
    return ReportFigure(file_name, title, caption, weight_sheet(weight, title))
