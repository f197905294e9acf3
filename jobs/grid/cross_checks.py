"""Checks between keys and values that are valid by themselves, on a document before its validation."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from jobs.errors import InputFault
from jobs.grid.messages import MAX_KEY_LENGTH
from jobs.grid.settings import TRAINING_SETTINGS, parse_bool
from jobs.grid.yaml_document import Document, format_value
from mnist_core.trial import SETTINGS, setting_kind


def section(document: Document, key: str) -> dict[str, Any] | None:
    """Return a mapping of the unchecked document, or None if it is missing or not a mapping."""
    section = document.data.get(key) if isinstance(document.data, dict) else None
    return section if isinstance(section, dict) else None


def cross_faults(document: Document) -> Iterator[InputFault]:
    """Find keys that are valid by themselves and contradict each other."""
    axes = section(document, "grid")
    if axes is None:
        return
    # A misspelt key is reported as unknown.
    if not any(get_close_matches(key[:MAX_KEY_LENGTH], ("seed", "seeds")) for key in axes):
        yield document.fault(("grid",), "missing key 'seed'; write seed: [0, 1, 2] or seeds: 3")
    if "seed" in axes and "seeds" in axes:
        yield document.fault(("grid", "seeds"), "cannot be combined with seed; keep one of the two", at_key=True)
    train = section(document, "train") or {}
    for key in train.keys() & axes.keys() & set(TRAINING_SETTINGS):  # others are reported as unknown
        yield document.fault(("train", key), f"{key} is an axis of grid already; keep one of the two", at_key=True)
    for key, values in axes.items():
        yield from _repeated_values(document, key, values)


def _repeated_values(document: Document, axis: str, values: object) -> Iterator[InputFault]:
    is_bool = axis in SETTINGS and setting_kind(axis) is bool
    first: dict[tuple[bool, Any], int] = {}
    for index, value in enumerate(values if isinstance(values, list) else ()):
        if isinstance(value, str | int | float):
            parsed = parse_bool(value) if is_bool else value
            # 1 and True are equal, but different settings.
            first_index = first.setdefault((isinstance(parsed, bool), parsed), index)
            if first_index != index:
                line, column = document.values["grid", axis, first_index]
                message = f"{axis} {format_value(value)} repeats the value at line {line}, column {column}"
                yield document.fault(("grid", axis, index), f"{message}; remove one of them")
