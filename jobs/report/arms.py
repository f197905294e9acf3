"""The arms of a study: its configurations, the axes along which they differ, and the pairs that differ in one."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Literal, NamedTuple, get_args, get_origin

import pyarrow as pa

from jobs.report.configurations import CONFIGURATION_COLUMNS, IDENTIFYING, varying_settings
from mnist_core.trial import SETTING_TYPES, SETTINGS, setting_kind

ARM_COLUMNS = ("trial_id", "status", "test_accuracy")  # read from the stored trials
Level = str | int | float | bool
Accuracies = Mapping[int, float]  # of the finished trials, by seed
_Shared = tuple[Level | None, ...]


class Pair(NamedTuple):
    """Two configurations that differ along one axis only."""

    context: Mapping[str, Level | None]  # the other axes
    a: str  # configuration_id
    b: str


@dataclass(frozen=True)
class Arms:
    """The configurations of a study, with the accuracies of their seeds, on the test set by default."""

    settings: Mapping[str, Mapping[str, Level | None]]  # by configuration_id
    accuracies: Mapping[str, Accuracies]  # by configuration_id
    collapsed: Mapping[str, frozenset[int]] = field(default_factory=dict)  # seeds; empty where it was not read
    _grouped: dict[str, Mapping[Level | None, Mapping[str, _Shared]]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    @cached_property
    def axes(self) -> list[str]:
        """Name the settings that vary."""
        columns = {name: [each[name] for each in self.settings.values()] for name in CONFIGURATION_COLUMNS}
        return [name for name in IDENTIFYING if len(set(columns[name])) > 1] + varying_settings(columns)

    def levels(self, axis: str) -> list[Level]:
        """List the values of an axis: numbers by size, names as `Trial` lists them, false before true."""
        values = {each[axis] for each in self.settings.values()} - {None}
        order = _declared_order(axis)
        return sorted(values, key=lambda value: order.index(value) if value in order else value)  # type: ignore[arg-type]

    def pairs(self, axis: str, level_a: Level, level_b: Level) -> Iterator[Pair]:
        """Yield the pairs of configurations with these two levels that agree in everything else.

        A setting that only one of the two levels uses, such as lr_decay of an adaptive rate, need not agree.
        """
        arms, own = self._by_level(axis), _own_settings(axis)
        others: dict[_Shared, list[str]] = {}
        for arm, shared in arms.get(level_b, {}).items():
            others.setdefault(shared, []).append(arm)
        for a, shared in arms.get(level_a, {}).items():
            for b in others.get(shared, []):
                pair = self.settings[a], self.settings[b]
                if all(None in (pair[0][name], pair[1][name]) or pair[0][name] == pair[1][name] for name in own):
                    yield Pair(self._context(axis, *pair), a, b)

    def _by_level(self, axis: str) -> Mapping[Level | None, Mapping[str, _Shared]]:
        """Group the configurations by their level of an axis, each with the settings that a pair has to share."""
        if axis not in self._grouped:
            own = _own_settings(axis)
            names = [name for name in CONFIGURATION_COLUMNS if name != axis and name not in own]
            groups: dict[Level | None, dict[str, _Shared]] = {}
            for arm, settings in self.settings.items():
                groups.setdefault(settings[axis], {})[arm] = tuple(settings[name] for name in names)
            self._grouped[axis] = groups
        return self._grouped[axis]

    def _context(
        self, axis: str, a: Mapping[str, Level | None], b: Mapping[str, Level | None]
    ) -> dict[str, Level | None]:
        return {name: b[name] if a[name] is None else a[name] for name in self.axes if name != axis}

    def aligned(self, *arms: str) -> list[list[float]]:
        """Return the accuracies of some configurations, each in the order of the seeds that all of them have."""
        seeds = sorted(set.intersection(*(set(self.accuracies[arm]) for arm in arms)))
        return [[self.accuracies[arm][seed] for seed in seeds] for arm in arms]


def _own_settings(axis: str) -> set[str]:
    """Name the settings that only some levels of an axis use."""
    return {name for name, setting in SETTINGS.items() if setting.only_where and setting.only_where[0] == axis}


def is_ordered(axis: str) -> bool:
    """Tell whether the levels of an axis are numbers, whose neighbours are worth comparing."""
    return setting_kind(axis) in (int, float)


def read_arms(trials: pa.Table, requested: pa.Table, measure: str = "test_accuracy") -> Arms:
    """Collect the arms of a job.

    Args:
        trials: The stored trials, with at least trial_id, status and `measure`; with `collapsed`, the arms know which
            networks did.
        requested: One row per requested trial, in the schema REQUESTED.
        measure: The column of accuracies.

    Returns:
        The arms, in the order in which `requested` first mentions them. Diverged trials, and those without an
        accuracy, are left out.
    """
    columns = (trials[name].to_pylist() for name in ("trial_id", "status", measure))
    found = {
        trial_id: accuracy
        for trial_id, status, accuracy in zip(*columns, strict=True)
        if status == "finished" and accuracy is not None and math.isfinite(accuracy)
    }
    settings: dict[str, Mapping[str, Level | None]] = {}
    accuracies: dict[str, dict[int, float]] = {}
    collapsed: dict[str, set[int]] = {}
    has_collapsed = _collapsed_trials(trials)
    for row in requested.to_pylist():
        arm = row["configuration_id"]
        settings.setdefault(arm, {name: row[name] for name in CONFIGURATION_COLUMNS})
        seeds = accuracies.setdefault(arm, {})
        if row["trial_id"] in found:
            seeds[row["seed"]] = found[row["trial_id"]]
        if row["trial_id"] in has_collapsed:
            collapsed.setdefault(arm, set()).add(row["seed"])
    return Arms(settings, accuracies, {arm: frozenset(those) for arm, those in collapsed.items()})


def _collapsed_trials(trials: pa.Table) -> set[str]:
    if "collapsed" not in trials.column_names:
        return set()
    columns = (trials[name].to_pylist() for name in ("trial_id", "collapsed"))
    return {trial_id for trial_id, has_collapsed in zip(*columns, strict=True) if has_collapsed}


def _declared_order(axis: str) -> Sequence[Level]:
    kind = SETTING_TYPES[axis]
    return get_args(kind) if get_origin(kind) is Literal else ()


def level_pairs(arms: Arms, axis: str, baseline: Level | None = None) -> list[tuple[Level, Level]]:
    """List which levels of an axis to compare, the later one first.

    Args:
        arms: The study.
        axis: One of its axes.
        baseline: The level that all others are compared with; by default neighbours on an ordered axis, and every
            pair on any other.
    """
    levels = arms.levels(axis)
    if baseline is not None:
        return [(level, baseline) for level in levels if level != baseline]
    if is_ordered(axis):
        return list(zip(levels[1:], levels, strict=False))
    return [(a, b) for (i, b), (j, a) in product(enumerate(levels), enumerate(levels)) if i < j]
