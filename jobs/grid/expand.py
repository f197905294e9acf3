"""From axes to trials: the cross product, exclusion, inclusion and overrides; knows neither YAML nor datasets."""

import math
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from itertools import product
from typing import Any

from jobs.grid.yaml_document import KeyPath, format_value
from mnist_core.trial import Trial, unused_settings

MAX_TRIALS = 1_000_000
DEFAULTS = {setting.name: setting.default for setting in fields(Trial) if setting.default is not MISSING}
# The seeds of one configuration stand together.
ORDER = (*(setting.name for setting in fields(Trial) if setting.name != "seed"), "seed")

Index = dict[tuple[str, ...], dict[tuple[Any, ...], list[int]]]  # keys -> their values -> numbers of rules
Settings = Mapping[str, Any]  # setting -> value, such as {"model": "cnn", "seed": 0}


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with the trials a grid asks for, and the key path it stands at."""

    path: KeyPath
    message: str


@dataclass(frozen=True, kw_only=True)
class GridSpec:
    """Hold what a grid asks for as plain, valid values."""

    axes: Mapping[str, Sequence[Any]]
    train: Settings = field(default_factory=dict)
    exclude: Sequence[Settings] = ()
    include: Sequence[Settings] = ()
    overrides: Sequence[tuple[Settings, Settings]] = ()  # (when, set)

    @cached_property
    def override_index(self) -> "Index":
        """The numbers of the overrides by what they match."""
        return _index([when for when, _ in self.overrides])


def expand(spec: GridSpec) -> tuple[list[Trial], list[Problem]]:
    """Make the trials of a spec, and list everything that is wrong with them.

    The order is that of the axes model, subset_size, adaptive_lr, then the training settings as Trial lists them,
    then seed, the last one running fastest; included trials follow. Settings are matched as the grid writes them,
    also where a model does not use them; an override sees what the overrides before it have set.
    """
    lengths = [len(values) for values in spec.axes.values()]
    if math.prod(lengths) > MAX_TRIALS:
        count = f"{' x '.join(map(str, lengths))} = {math.prod(lengths)} trials"
        return [], [Problem(("grid",), f"{count}; allowed up to {MAX_TRIALS}")]
    touched: set[KeyPath] = set()
    trials = [Trial(**_overridden(point, spec, touched)) for _, point in _points(spec, touched)]
    return trials, [*_rule_problems(spec, touched, bool(trials)), *_duplicate_problems(spec, trials)]


def _points(spec: GridSpec, touched: set[KeyPath]) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Yield the settings of every trial before overrides, and where they come from; note which exclusions matched."""
    base = {**DEFAULTS, **spec.train}
    names = _axis_names(spec)
    exclusions = _index(spec.exclude)
    for values in product(*(spec.axes[name] for name in names)):
        point = base | dict(zip(names, values, strict=True))
        hits = [
            number
            for keys, numbers in exclusions.items()
            for number in numbers.get(tuple([point[key] for key in keys]), ())
        ]
        if hits:
            touched.update(("exclude", number) for number in hits)
        else:
            yield ("grid",), point
    for number, settings in enumerate(spec.include):
        yield ("include", number), {**base, **settings}


def _axis_names(spec: GridSpec) -> list[str]:
    return [name for name in ORDER if name in spec.axes]


def _index(rules: Sequence[Settings]) -> Index:
    """Look rules up by the keys and values they give, so that thousands of them cost each trial no more than a few."""
    index: Index = defaultdict(lambda: defaultdict(list))
    for number, rule in enumerate(rules):
        keys = tuple(sorted(rule))
        index[keys][tuple(rule[key] for key in keys)].append(number)
    return index


def _overridden(point: dict[str, Any], spec: GridSpec, touched: set[KeyPath]) -> dict[str, Any]:
    """Apply the overrides that match, in order; note them, and every change that the trial makes use of."""
    number = -1
    while (number := _next_override(point, spec, number)) < len(spec.overrides):
        changes = spec.overrides[number][1]
        point.update(changes)
        used = changes.keys() - unused_settings(point["model"], point["adaptive_lr"])
        touched.add(("overrides", number, "when"))
        touched.update(("overrides", number, "set", key) for key in used)
    return point


def _next_override(point: dict[str, Any], spec: GridSpec, number: int) -> int:
    """Find the first override after this number that matches as the point stands; their count where there is none."""
    following = len(spec.overrides)
    for keys, numbers in spec.override_index.items():
        matching = numbers.get(tuple([point[key] for key in keys]), [])
        later = bisect_right(matching, number)
        following = min([following, *matching[later : later + 1]])
    return following


def _rule_problems(spec: GridSpec, touched: set[KeyPath], any_left: bool) -> Iterator[Problem]:
    for number, rule in enumerate(spec.exclude):
        if ("exclude", number) not in touched:
            yield Problem(("exclude", number), f"{_flow(rule)} matches no trial; remove it or correct it")
    if not any_left:
        yield Problem(("exclude",), "no trial is left; exclude fewer of them")
        return
    for number, (when, changes) in enumerate(spec.overrides):
        path: KeyPath = ("overrides", number, "when")
        if path not in touched:
            yield Problem(path, f"{_flow(when)} matches no trial; remove it or correct it")
            continue
        for key in changes:
            path = ("overrides", number, "set", key)
            if path not in touched:
                reason = f"not used where {_flow(_where_unused(key))}, as in every trial matched here"
                yield Problem(path, f"{key} {format_value(changes[key])}: {reason}; remove it")


def _duplicate_problems(spec: GridSpec, trials: Sequence[Trial]) -> list[Problem]:
    if len(set(trials)) == len(trials):
        return []
    names = _axis_names(spec)
    first: dict[Trial, tuple[KeyPath, tuple[Any, ...]]] = {}
    counts: Counter[KeyPath] = Counter()
    reasons: dict[KeyPath, str] = {}
    for path, point in _points(spec, set()):
        values = tuple(point[name] for name in names)
        trial = Trial(**_overridden(point, spec, set()))
        earlier_path, earlier_values = first.setdefault(trial, (path, values))
        if earlier_values is not values:
            pairs = zip(names, values, earlier_values, strict=True)
            differing = {name: mine for name, mine, other in pairs if mine != other}
            place, reason = _duplicate(trial, path, earlier_path, differing)
            counts[place] += 1
            reasons.setdefault(place, reason)
    return [
        Problem(path, f"{counts[path]} duplicate trial{'s'[: counts[path] > 1]}: {reason}")
        for path, reason in reasons.items()
    ]


def _duplicate(trial: Trial, path: KeyPath, earlier: KeyPath, differing: Settings) -> tuple[KeyPath, str]:
    """Say where a duplicate stands, and why it is one; `differing` are the axis values that tell the two apart."""
    if path[0] == "include":
        origin = "the grid" if earlier[0] == "grid" else f"include[{earlier[1]}]"
        return path, f"{origin} has it already; remove one of them"
    if not differing:
        return path, "two values of an axis are one and the same number as a float; remove one of them"
    unused = [name for name in differing if name in unused_settings(trial.model, trial.adaptive_lr)]
    if not unused:
        return ("grid", next(iter(differing))), "an override makes them equal; exclude all but one of them"
    name = unused[0]
    condition = _where_unused(name)
    example = f"exclude: [{_flow({**condition, name: differing[name]})}]"
    return ("grid", name), f"{name} is not used where {_flow(condition)}; keep one value of it there, by {example}"


def _where_unused(setting: str) -> dict[str, Any]:
    return {"adaptive_lr": False} if setting == "lr_decay" else {"model": "cnn"}


def _flow(settings: Settings) -> str:
    """Write settings as YAML does on one line."""
    pairs = (f"{key}: {value if isinstance(value, str) else format_value(value)}" for key, value in settings.items())
    return f"{{{', '.join(pairs)}}}"
