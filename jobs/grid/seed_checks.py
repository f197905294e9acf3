"""Whether the trials of a grid can be trained seed by seed until an answer."""

from collections.abc import Sequence

from jobs.grid.seeds import DECIDED, SeedsUntil
from mnist_core.trial import SETTINGS, Trial

_Key = tuple[object, ...]


def until_problem(trials: Sequence[Trial], seeds: SeedsUntil) -> str:
    """Return why trials cannot be trained seed by seed until an answer; "" where they can.

    Args:
        trials: All trials of a grid.
        seeds: The rule of that grid.
    """
    names = [name for name in SETTINGS if name != "seed"]
    found: dict[_Key, set[int]] = {}
    for trial in trials:
        found.setdefault(tuple(getattr(trial, name) for name in names), set()).add(trial.seed)
    every = set(range(seeds.at_most))
    if any(each != every for each in found.values()):
        return (
            f"until {seeds.until}: some configurations would have other seeds than 0 to {seeds.at_most - 1}; "
            "allowed: exclude, include and overrides that treat all seeds alike"
        )
    if seeds.until == DECIDED and not _is_any_pair([dict(zip(names, key, strict=True)) for key in found]):
        return (
            f"until {DECIDED}: no two configurations differ in one setting only, so there is nothing to compare; "
            "allowed: an axis with two values or more, or a width, such as until: 0.2pp"
        )
    return ""


def _is_any_pair(configurations: Sequence[dict[str, object]]) -> bool:
    """Tell whether any two configurations differ in one setting, and what only one of its values uses, alone."""
    for axis in configurations[0]:
        own = {name for name, setting in SETTINGS.items() if setting.only_where and setting.only_where[0] == axis}
        shared = [name for name in configurations[0] if name != axis and name not in own]
        keys = [tuple(each[name] for name in shared) for each in configurations]
        if len(set(keys)) < len({(key, each[axis]) for key, each in zip(keys, configurations, strict=True)}):
            return True
    return False
