"""Configurations: the settings that define one, and which of them differ within a study."""

from collections.abc import Iterable, Mapping

from jobs.store import SETTINGS

CONFIGURATION_COLUMNS = tuple(field.name for field in SETTINGS if field.name != "seed")
IDENTIFYING = ("model", "subset_size", "adaptive_lr")  # part of every configuration's name
MARKED: Mapping[str, object] = {"numerics": "native"}  # shown even where all have it: results then depend on the CPU


def varying_settings(columns: Mapping[str, Iterable[object]]) -> list[str]:
    """Name the settings, apart from IDENTIFYING and the seed, that have more than one value, or a marked one.

    Args:
        columns: The values of each of CONFIGURATION_COLUMNS; None, where a model or schedule does not use a setting,
            is not a value.
    """
    names = [name for name in CONFIGURATION_COLUMNS if name not in IDENTIFYING]
    values = {name: set(columns[name]) - {None} for name in names}
    return [name for name in names if len(values[name]) > 1 or (name in MARKED and MARKED[name] in values[name])]
