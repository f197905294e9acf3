"""The report's figures: from which rows each is drawn, under which title and file name.

A new kind of figure is a function here that returns a FigureSection, called by `draw_figures`.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.report.answers import contrasts_by_axis
from jobs.report.choice import Choice, Configuration, Omission, choose, configurations_of
from jobs.report.curves import FOOTNOTE, MEASURES, Curves, training_curves
from jobs.report.drawing import as_file
from jobs.report.forest import FOREST_FOOTNOTE, forest
from jobs.report.formats import format_count, format_n
from jobs.report.learning import Line, learning_curve
from jobs.report.matrices import confusion_matrix, weight_sheet
from jobs.report.wording import contrast_heading, contrast_label, to_points
from mnist_core.data import DIGITS


class StoredTrials(Protocol):
    """What figures need of stored trials; read trial by trial, because only a few are drawn."""

    def metrics(self, trial_ids: Sequence[str]) -> pa.Table:
        """Return the rows of these trials in the schema METRICS."""

    def confusion(self, trial_ids: Sequence[str]) -> pa.Table:
        """Return the rows of these trials in the schema CONFUSION."""

    def first_layer(self, trial_id: str) -> NDArray[np.float32] | None:
        """Return W1 of an MLP, (hidden, 784), or None where the weights are missing or damaged."""


@dataclass(frozen=True)
class ReportFigure:
    """One figure of the report, ready to be written under its file name."""

    file_name: str
    title: str
    caption: str
    svg: str


@dataclass(frozen=True)
class FigureSection:
    """The figures of one kind, and what is not drawn."""

    heading: str
    figures: tuple[ReportFigure, ...]
    omissions: tuple[Omission, ...]


def draw_figures(
    summary: pa.Table, trials: pa.Table, stored: StoredTrials, contrasts: pa.Table | None = None
) -> list[FigureSection]:
    """Draw every figure of the report, kind by kind.

    Args:
        summary: A table with the schema SUMMARY; its order is the order of the figures.
        trials: A table with the schema TRIALS.
        stored: The epochs, confusion matrices and weights of these trials.
        contrasts: A table as `contrast_table` makes it.

    Returns:
        The kinds that have a figure. Of many configurations some are chosen; the section names the others.
    """
    configurations = configurations_of(summary, trials)
    sections = [
        _training_section(configurations, stored),
        _learning_section(configurations),
        _confusion_section(configurations, stored),
        _weight_section(configurations, stored),
        *([_forest_section(contrasts)] if contrasts is not None else []),
    ]
    return [section for section in sections if section.figures]


def _grouped(configurations: Iterable[Configuration], settings: tuple[str, ...]) -> list[list[Configuration]]:
    groups: dict[tuple[object, ...], list[Configuration]] = {}
    for configuration in configurations:
        key = (*(configuration.row[name] for name in settings), configuration.others)
        groups.setdefault(key, []).append(configuration)
    return list(groups.values())


def _training_section(configurations: Sequence[Configuration], stored: StoredTrials) -> FigureSection:
    choice = choose(training_groups(configurations), lambda group: group[0].title(group[0].images))
    figures = tuple(_training_figure(group, stored) for group in choice.drawn)
    absent = Omission("no trial is stored", [one.full_title for one in configurations if not one.trial_ids])
    return _section("Training curves", figures, choice, absent)


def training_groups(configurations: Iterable[Configuration]) -> list[list[Configuration]]:
    """Group the configurations that differ in their schedule alone: the fixed one first."""
    groups = _grouped((one for one in configurations if one.trial_ids), ("model", "subset_size"))
    return [sorted(group, key=lambda one: one.schedule, reverse=True) for group in groups]


def _training_figure(group: Sequence[Configuration], stored: StoredTrials) -> ReportFigure:
    title = f"Training curves: {group[0].title(group[0].images)}"
    caption = (
        "Accuracy on the validation set and on the training subset after each epoch, with "
        f"{' and with '.join(_with_article(one.schedule) for one in group)} learning rate. {FOOTNOTE}"
    )
    svg = as_file(training_curves(title, [curves_of(one, stored.metrics(one.trial_ids)) for one in group]), title)
    return ReportFigure(group[0].file_name("curves"), title, caption, svg)


def _with_article(schedule: str) -> str:
    return "an adaptive" if schedule == "adaptive" else "a fixed"


def curves_of(configuration: Configuration, metrics: pa.Table) -> Curves:
    """Collect the training curves of a configuration from its rows in the schema METRICS."""
    ids = metrics["trial_id"].to_pylist()
    place = {trial_id: index for index, trial_id in enumerate(configuration.trial_ids)}
    seed = np.array([place[trial_id] for trial_id in ids], dtype=np.int64)
    epoch = metrics["epoch"].to_numpy()
    # Once the loss is not a number, the accuracy is meaningless.
    finite = np.isfinite(metrics["train_loss"].to_numpy()) & np.isfinite(metrics["validation_loss"].to_numpy())
    shape = len(configuration.trial_ids), int(epoch.max(initial=1))
    values = {}
    for name in MEASURES:
        scale = 100 if name.endswith("accuracy") else 1
        values[name] = np.full(shape, np.nan)
        values[name][seed, epoch - 1] = np.where(finite, scale * metrics[name].to_numpy(), np.nan)
    row = configuration.row
    return Curves(configuration.schedule, values, row["seeds_requested"], row["collapsed"])


def _learning_section(configurations: Sequence[Configuration]) -> FigureSection:
    choice, lines = learning_lines(configurations)
    title = "Learning curve: test accuracy against subset size"
    caption = "Accuracy on the test set after the last epoch against the number of training images."
    figures = (
        (ReportFigure("learning-curve.svg", title, caption, as_file(learning_curve(title, lines), title)),)
        if lines
        else ()
    )
    absent = Omission("no trial finished", [one.full_title for one in configurations if not one.row["n"]])
    return _section("Learning curve", figures, choice, absent)


def learning_lines(configurations: Sequence[Configuration]) -> tuple[Choice, list[Line]]:
    """Choose which lines the learning curve shows, and return both."""
    groups = _grouped((one for one in configurations if one.row["n"]), ("model",))
    parts = [part for group in groups for part in _by_schedule(group)]
    choice = choose(parts, lambda part: part[0].title(f"{part[0].schedule} learning rate"))
    return choice, [_line(part) for part in choice.drawn]


def _by_schedule(group: Sequence[Configuration]) -> list[list[Configuration]]:
    return [part for kind in ("fixed", "adaptive") if (part := [one for one in group if one.schedule == kind])]


def _line(part: Sequence[Configuration]) -> Line:
    ordered = sorted(part, key=lambda one: one.size)
    percent = {
        name: 100 * np.array([one.row[f"test_accuracy_{name}"] for one in ordered], dtype=np.float64)
        for name in ("mean", "low", "high")
    }
    return Line(
        part[0].title(part[0].schedule),
        part[0].title(),
        part[0].schedule == "adaptive",
        tuple(one.size for one in ordered),
        percent["mean"],
        percent["low"],
        percent["high"],
        tuple(tuple(100 * each for each in one.accuracies) for one in ordered),
        n=tuple(one.row["n"] for one in ordered),
        requested=tuple(one.row["seeds_requested"] for one in ordered),
        collapsed=sum(one.row["collapsed"] for one in ordered),
        collapsed_seeds=tuple(_collapsed_seeds(one) for one in ordered),
    )


def _collapsed_seeds(one: Configuration) -> tuple[float, ...]:
    pairs = zip(one.finished_ids, one.accuracies, strict=True)
    return tuple(100 * accuracy for trial_id, accuracy in pairs if trial_id in one.collapsed_ids)


def _confusion_section(configurations: Sequence[Configuration], stored: StoredTrials) -> FigureSection:
    finished = [[one] for one in configurations if one.finished_ids]
    choice = choose(finished, lambda group: group[0].full_title)
    figures = tuple(_confusion_figure(one, stored.confusion(one.finished_ids)) for (one,) in choice.drawn)
    absent = Omission("no trial finished", [one.full_title for one in configurations if not one.finished_ids])
    return _section("Confusion matrices", figures, choice, absent)


def confusion_counts(rows: pa.Table) -> NDArray[np.int64]:
    """Add up rows of the schema CONFUSION: (actual, predicted)."""
    counts = np.zeros((DIGITS, DIGITS), dtype=np.int64)
    np.add.at(counts, (rows["actual"].to_numpy(), rows["predicted"].to_numpy()), rows["count"].to_numpy())
    return counts


def _confusion_figure(configuration: Configuration, rows: pa.Table) -> ReportFigure:
    counts, row = confusion_counts(rows), configuration.row
    n = format_n([len(configuration.finished_ids)], [row["seeds_requested"]], row["collapsed"])
    title = f"Confusion matrix: {configuration.full_title}"
    counted = f"n = {n}: {format_count(int(counts.sum()), 'prediction')}"
    caption = f"Percent of each actual digit's test images over {counted}, {np.trace(counts):,} of them correct."
    svg = as_file(confusion_matrix(counts, title, f"Percent of each row over {counted}."), title)
    return ReportFigure(configuration.file_name("confusion", configuration.schedule), title, caption, svg)


def _weight_section(configurations: Sequence[Configuration], stored: StoredTrials) -> FigureSection:
    perceptrons = [one for one in configurations if one.row["model"] == "mlp"]
    choice = choose([[one] for one in perceptrons if one.finished_ids], lambda group: group[0].full_title)
    figures, unreadable = [], []
    for (one,) in choice.drawn:
        if figure := _weight_figure(one, stored):
            figures.append(figure)
        else:
            unreadable.append(one.full_title)
    absent = [
        Omission("no trial finished", [one.full_title for one in perceptrons if not one.finished_ids]),
        Omission("the weights are missing or damaged", unreadable),
    ]
    return _section("W1", tuple(figures), choice, *absent)


@dataclass(frozen=True, eq=False)
class FirstLayer:
    """W1 of one trial."""

    trial_id: str
    seed: int
    weight: NDArray[np.float32]  # (hidden, 784)


def find_first_layer(
    configuration: Configuration, read: Callable[[str], NDArray[np.float32] | None]
) -> FirstLayer | None:
    """Read W1 of the first seed whose weights can be read; None where there is none."""
    trials = zip(configuration.finished_ids, configuration.finished_seeds, strict=True)
    layers = ((trial_id, seed, read(trial_id)) for trial_id, seed in trials)
    return next((FirstLayer(*found[:2], found[2]) for found in layers if found[2] is not None), None)


def _weight_figure(configuration: Configuration, stored: StoredTrials) -> ReportFigure | None:
    """Draw W1 of one seed."""
    found = find_first_layer(configuration, stored.first_layer)
    if found is None:
        return None
    weight, trial_id = found.weight, found.trial_id
    title = f"W1: {configuration.full_title}, seed {found.seed}"
    caption = (
        "The rows of W1 as 28x28 images, from left to right and top to bottom: one for each of "
        f"{format_count(len(weight), 'hidden unit')}, with the weights from the pixels to that unit."
        f"{' This trial collapsed.' if trial_id in configuration.collapsed_ids else ''}"
    )
    file_name = configuration.file_name("w1", configuration.schedule)
    return ReportFigure(file_name, title, caption, as_file(weight_sheet(weight, title), title))


def forest_panels(contrasts: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Collect, by heading, the differences that at least one seed gives, in the order of the answers."""
    panels: dict[str, list[dict[str, Any]]] = {}
    for row in chain.from_iterable(contrasts_by_axis(contrasts).values()):
        if row["mean"] is not None:
            found = {"label": contrast_label(row, contrasts.column_names), "word": row["word"]}
            found |= {name: to_points(row[name]) for name in ("mean", "low", "high")}
            panels.setdefault(contrast_heading(row), []).append(found)
    return panels


def _forest_section(contrasts: pa.Table) -> FigureSection:
    panels = forest_panels(contrasts)
    title = "Differences in test accuracy"
    figures = (
        (ReportFigure("differences.svg", title, FOREST_FOOTNOTE, as_file(forest(title, panels), title)),)
        if panels
        else ()
    )
    return FigureSection("Differences", figures, ())


def _section(heading: str, figures: tuple[ReportFigure, ...], choice: Choice, *absent: Omission) -> FigureSection:
    omissions = [choice.omission, *absent]
    return FigureSection(heading, figures, tuple(each for each in omissions if each.names))
