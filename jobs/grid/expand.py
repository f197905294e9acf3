"""From axes to trials: cross product, exclusion, inclusion and overrides. Knows neither YAML nor datasets."""

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product
from typing import Any

from jobs.grid.document import KeyPath
from jobs.grid.scalars import format_value, yaml_text
from jobs.grid.settings import DEFAULTS
from mnist_core.trial import SETTINGS, Trial, unused_settings

MAX_TRIALS = 1_000_000
MAX_LISTED = 8  # entries for `exclude` that a message lists
AXIS_ORDER = (*(name for name in SETTINGS if name != "seed"), "seed")  # the seeds of a configuration are neighbours

Settings = Mapping[str, Any]  # setting -> value, such as {"model": "cnn", "seed": 0}
RuleIndex = dict[tuple[str, ...], dict[tuple[Any, ...], list[int]]]  # keys -> their values -> indices of rules


@dataclass(frozen=True)
class Problem:
    """A fault of the trials that a grid asks for, and its remedy."""

    path: KeyPath
    message: str
    remove: KeyPath = ()  # the path of an entry to remove
    exclude: Sequence[Settings] = ()  # entries to add to `exclude`


@dataclass(frozen=True, kw_only=True)
class GridSpec:
    """The trials that a grid asks for, as plain, valid values."""

    axes: Mapping[str, Sequence[Any]]
    train: Settings = field(default_factory=dict)
    exclude: Sequence[Settings] = ()
    include: Sequence[Settings] = ()
    overrides: Sequence[tuple[Settings, Settings]] = ()  # (when, set)

    @cached_property
    def axis_names(self) -> list[str]:
        """The names of the axes, the slowest first."""
        return [name for name in AXIS_ORDER if name in self.axes]

    @cached_property
    def exclude_index(self) -> RuleIndex:
        """The exclusions by the settings that they match."""
        return _index_rules(self.exclude)

    @cached_property
    def override_index(self) -> RuleIndex:
        """The overrides by the settings that they match."""
        return _index_rules([when for when, _ in self.overrides])


def expand(spec: GridSpec) -> tuple[list[Trial], list[Problem]]:
    """Return the trials of a grid, and a problem for each rule that has no effect and each kind of duplicate.

    The axes vary in the order in which `Trial` declares them, seeds fastest; included trials come last. Rules match
    settings as the grid gives them, also where the model does not use them; an override sees the effects of earlier
    ones.
    """
    lengths = [len(values) for values in spec.axes.values()]
    if math.prod(lengths) > MAX_TRIALS:
        count = f"{' x '.join(map(str, lengths))} = {math.prod(lengths)} trials"
        return [], [Problem(("grid",), f"{count}; allowed up to {MAX_TRIALS}")]
    used: set[KeyPath] = set()
    trials = [Trial(**_override(point, spec, used)) for _, point in _points(spec, used)]
    return trials, [*_unused_rules(spec, used, bool(trials)), *_duplicates(spec, trials)]


def _points(spec: GridSpec, used: set[KeyPath]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield the settings of each trial before overrides, with the path of their origin; record effective exclusions."""
    base = {**DEFAULTS, **spec.train}
    for values in product(*(spec.axes[name] for name in spec.axis_names)):
        point = base | dict(zip(spec.axis_names, values, strict=True))
        matching = [
            index
            for keys, by_values in spec.exclude_index.items()
            for index in by_values.get(tuple([point[key] for key in keys]), ())
        ]
        if matching:
            used.update(("exclude", index) for index in matching)
        else:
            yield ("grid",), point
    for index, settings in enumerate(spec.include):
        yield ("include", index), {**base, **settings}


def _index_rules(rules: Sequence[Settings]) -> RuleIndex:
    """Index rules by their keys and values, so that matching a trial is fast even with thousands of rules."""
    found: RuleIndex = defaultdict(lambda: defaultdict(list))
    for index, rule in enumerate(rules):
        keys = tuple(sorted(rule))
        found[keys][tuple(rule[key] for key in keys)].append(index)
    return found


def _override(point: dict[str, Any], spec: GridSpec, used: set[KeyPath]) -> dict[str, Any]:
    """Apply the matching overrides in order; record them, and each setting that they change in effect."""
    index = -1
    while (index := _next_override(point, spec, index)) < len(spec.overrides):
        changes = spec.overrides[index][1]
        point.update(changes)
        effective = changes.keys() - unused_settings(point["model"], point["adaptive_lr"])
        used.add(("overrides", index, "when"))
        used.update(("overrides", index, "set", key) for key in effective)
    return point


def _next_override(point: dict[str, Any], spec: GridSpec, index: int) -> int:
    """Return the index of the first override after `index` that matches, or the number of overrides if none does."""
    following = len(spec.overrides)
    for keys, by_values in spec.override_index.items():
        matching = by_values.get(tuple([point[key] for key in keys]), [])
        later = bisect_right(matching, index)
        following = min([following, *matching[later : later + 1]])
    return following


def _unused_rules(spec: GridSpec, used: set[KeyPath], any_left: bool) -> Iterator[Problem]:
    for index, rule in enumerate(spec.exclude):
        path: KeyPath = ("exclude", index)
        if path not in used:
            yield Problem(path, f"{yaml_text(rule)} matches no trial; remove it or correct it", remove=path)
    if not any_left:
        yield Problem(("exclude",), "every trial is excluded; exclude fewer of them")
        return
    for index, (when, changes) in enumerate(spec.overrides):
        entry: KeyPath = ("overrides", index)
        if (*entry, "when") not in used:
            message = f"{yaml_text(when)} matches no trial; remove it or correct it"
            yield Problem((*entry, "when"), message, remove=entry)
            continue
        unused = [key for key in changes if (*entry, "set", key) not in used]
        for key in unused:
            path = (*entry, "set", key)
            needed = yaml_text(dict([_only_where(key)]))
            reason = f"used only where {needed}, and no matched trial has that"
            message = f"{key} {format_value(changes[key])}: {reason}; remove it"
            yield Problem(path, message, remove=entry if len(changes) == 1 else path)


def _duplicates(spec: GridSpec, trials: Sequence[Trial]) -> Iterator[Problem]:
    """Group equal trials by what makes them equal; yield a problem per group."""
    if len(set(trials)) == len(trials):
        return
    first: dict[Trial, tuple[KeyPath, tuple[Any, ...]]] = {}
    counts: Counter[tuple[KeyPath, str]] = Counter()
    exclusions: dict[KeyPath, dict[tuple[Any, ...], Settings]] = defaultdict(dict)  # those that remove a group
    for path, point in _points(spec, set()):
        values = tuple(point[name] for name in spec.axis_names)
        trial = Trial(**_override(point, spec, set()))
        first_path, first_values = first.setdefault(trial, (path, values))
        if first_values is not values:
            pairs = zip(spec.axis_names, values, first_values, strict=True)
            differing = {name: value for name, value, other in pairs if value != other}
            fault_path, reason, exclusion = _explain_duplicate(trial, path, first_path, differing)
            counts[fault_path, reason] += 1
            if exclusion:
                exclusions[fault_path].setdefault(tuple(exclusion.values()), exclusion)
    for (path, reason), count in counts.items():
        added = list(exclusions[path].values())
        message = f"{count} duplicate {'trial' if count == 1 else 'trials'}: {reason}{_suggest(added)}"
        yield Problem(path, message, remove=path if path[0] == "include" else (), exclude=added)


def _explain_duplicate(
    trial: Trial, path: KeyPath, first_path: KeyPath, differing: Settings
) -> tuple[KeyPath, str, Settings]:
    """Return the path to report, the reason, and an entry of `exclude` that removes this duplicate, if there is one.

    `differing` holds the axis values in which the duplicate differs from the first of its kind.
    """
    if path[0] == "include":
        origin = "the grid" if first_path[0] == "grid" else f"include[{first_path[1]}]"
        return path, f"{origin} has it already; remove one of them", {}
    if not differing:
        return path, "two values of an axis are the same number as a float; remove one of them", {}
    unused = [name for name in differing if name in unused_settings(trial.model, trial.adaptive_lr)]
    if not unused:
        return ("grid", next(iter(differing))), "an override makes them equal; exclude all but one of them", {}
    name = unused[0]
    other, needed = _only_where(name)
    reason = f"{name} is used only where {yaml_text({other: needed})}; elsewhere keep one value of it"
    return ("grid", name), reason, {other: getattr(trial, other), name: differing[name]}


def _suggest(exclusions: Sequence[Settings]) -> str:
    """Name the entries to add to `exclude`; where they are many, one of them and their number."""
    if not exclusions:
        return ""
    texts = list(map(yaml_text, exclusions))
    if len(texts) <= MAX_LISTED:
        return f": add {', '.join(texts)} to exclude"
    return f": add {len(texts)} entries to exclude, such as {texts[0]}, one for each of its values but the first"


def _only_where(name: str) -> tuple[str, str | bool]:
    """Return the setting, and its value, that a conditional setting needs in order to be used."""
    condition = SETTINGS[name].only_where
    assert condition, f"{name} is used by every trial"
    return condition
