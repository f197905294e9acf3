"""Choose the configurations to draw: all, or the most and the least accurate where there are too many."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from jobs.escape import escape
from jobs.report.configurations import CONFIGURATION_COLUMNS, varying_settings
from jobs.report.formats import format_setting
from jobs.report.summary import Row

MAX_DRAWN = 24  # figures of one kind, or lines of one figure: nobody looks at more


@dataclass(frozen=True)
class Configuration:
    """One row of the summary with the stored trials behind it, in the order of their seeds, and its names."""

    row: Row
    trial_ids: tuple[str, ...]
    finished_ids: tuple[str, ...]
    finished_seeds: tuple[int, ...]
    accuracies: tuple[float, ...]  # of the finished trials, on the test set
    collapsed_ids: tuple[str, ...]
    others: tuple[tuple[str, str], ...]  # varying settings beyond model, subset_size and adaptive_lr: name, text

    @property
    def schedule(self) -> str:
        return "adaptive" if self.row["adaptive_lr"] else "fixed"

    @property
    def size(self) -> int:
        return int(self.row["subset_size"])

    @property
    def images(self) -> str:
        return f"{self.size:,} image{'' if self.size == 1 else 's'}"

    @property
    def full_title(self) -> str:
        return self.title(self.images, f"{self.schedule} learning rate")

    def title(self, *words: str) -> str:
        """Name the configuration for a person, with `words` after its model."""
        others = (f"{name.replace('_', ' ')} {format_setting(self.row[name])}" for name, _ in self.others)
        return escape(", ".join([format_setting(self.row["model"]), *words, *others]))

    def file_name(self, kind: str, *words: str) -> str:
        """Name the file of a figure of the configuration, with `words` after its model and size."""
        others = (f"{name}={text}" for name, text in self.others)
        stem = "-".join([kind, str(self.row["model"]), str(self.size), *words, *others])
        return re.sub(r"[^A-Za-z0-9._=-]", "_", stem) + ".svg"


Group = Sequence[Configuration]  # what one figure, or one line of a figure, shows


@dataclass(frozen=True)
class Omission:
    """Configurations that a section of figures leaves out."""

    reason: str
    names: Sequence[str]


@dataclass(frozen=True)
class Choice:
    """The configurations to draw, in their order, and those left out because there are too many."""

    drawn: Sequence[Group]
    omission: Omission


def configurations_of(summary: pa.Table, trials: pa.Table) -> list[Configuration]:
    """Put together the facts about each configuration that figures need.

    Args:
        summary: A table with the schema SUMMARY.
        trials: A table with the schema TRIALS.
    """
    stored: dict[str, list[dict[str, Any]]] = {}
    columns = ["trial_id", "configuration_id", "status", "seed", "collapsed", "test_accuracy"]
    for row in trials.select(columns).filter(pc.field("status") != "failed").sort_by("seed").to_pylist():
        stored.setdefault(row["configuration_id"], []).append(row)
    others = varying_settings(summary.select(CONFIGURATION_COLUMNS).to_pydict())
    return [_configuration(row, stored.get(row["configuration_id"], []), others) for row in summary.to_pylist()]


def _configuration(row: Row, trials: Sequence[Row], others: Sequence[str]) -> Configuration:
    finished = [trial for trial in trials if trial["status"] == "finished"]
    return Configuration(
        row,
        tuple(trial["trial_id"] for trial in trials),
        tuple(trial["trial_id"] for trial in finished),
        tuple(trial["seed"] for trial in finished),
        tuple(math.nan if trial["test_accuracy"] is None else trial["test_accuracy"] for trial in finished),
        tuple(trial["trial_id"] for trial in finished if trial["collapsed"]),
        tuple((name, str(row[name])) for name in others if row[name] is not None),
    )


def choose(groups: Sequence[Group], name: Callable[[Group], str]) -> Choice:
    """Choose at most MAX_DRAWN groups: those with the greatest and those with the least mean test accuracy.

    Args:
        groups: In the order of the summary, in which they are drawn, too. A group has the accuracy of its best
            configuration; one without a finished trial counts among the least accurate.
        name: Names a group that is not drawn.
    """
    if len(groups) <= MAX_DRAWN:
        return Choice(groups, Omission("", ()))
    ranked = sorted(range(len(groups)), key=lambda index: -_accuracy(groups[index]))
    best = MAX_DRAWN - MAX_DRAWN // 2
    chosen = {*ranked[:best], *ranked[best - MAX_DRAWN :]}
    drawn = f"the {best} with the greatest and the {MAX_DRAWN // 2} with the least mean test accuracy"
    reason = f"there are {len(groups)}: only {drawn} are shown"
    left_out = [name(group) for index, group in enumerate(groups) if index not in chosen]
    return Choice([groups[index] for index in sorted(chosen)], Omission(reason, left_out))


def _accuracy(group: Group) -> float:
    return max((one.row["test_accuracy_mean"] for one in group if one.row["n"]), default=-1.0)
