"""Configurations: the settings that define one, and which of them differ within a study."""

from collections.abc import Iterable, Mapping

from jobs.store import SETTINGS

CONFIGURATION_COLUMNS = tuple(field.name for field in SETTINGS if field.name != "seed")
IDENTIFYING = ("model", "subset_size", "adaptive_lr")  # part of every configuration's name


def varying_settings(columns: Mapping[str, Iterable[object]]) -> list[str]:
    """Name the settings, apart from IDENTIFYING and the seed, that have more than one value.

    Args:
        columns: The values of each of CONFIGURATION_COLUMNS; None, where a model or schedule does not use a setting,
            is not a value.
    """
    names = [name for name in CONFIGURATION_COLUMNS if name not in IDENTIFYING]
    return [name for name in names if len(set(columns[name]) - {None}) > 1]
