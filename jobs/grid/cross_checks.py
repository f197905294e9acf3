"""Checks between keys and values that are valid by themselves, on a document before its validation."""

from collections.abc import Iterator
from typing import Any

from jobs.errors import InputFault
from jobs.grid.document import Document, KeyPath, insert, remove
from jobs.grid.meanings import closest
from jobs.grid.scalars import format_value
from jobs.grid.seeds import bounds_message
from jobs.grid.settings import TRAINING_SETTINGS, parse_bool
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
    if not any(closest(key, ("seed", "seeds")) for key in axes):
        added = (insert(document, ("grid",), "seed", "[0, 1, 2]"), insert(document, ("grid",), "seeds", "3"))
        message = "missing key 'seed'; write seed: [0, 1, 2] or seeds: 3"
        yield document.fault(("grid",), message, corrections=added)
    if "seed" in axes and "seeds" in axes:
        yield _one_too_many(document, ("grid", "seeds"), ("grid", "seed"), "cannot be combined with seed")
    if message := bounds_message(axes.get("seeds")):
        yield document.fault(("grid", "seeds", "at_least"), message)
    train = section(document, "train") or {}
    for key in train.keys() & axes.keys() & set(TRAINING_SETTINGS):  # others are reported as unknown
        yield _one_too_many(document, ("train", key), ("grid", key), f"{key} is an axis of grid already")
    for key, values in axes.items():
        yield from _repeated_values(document, key, values)


def _one_too_many(document: Document, path: KeyPath, other: KeyPath, message: str) -> InputFault:
    corrections = (remove(document, path), remove(document, other))
    return document.fault(path, f"{message}; keep one of the two", at_key=True, corrections=corrections)


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
                path = ("grid", axis, index)
                message = f"{axis} {format_value(value)} repeats the value at line {line}, column {column}"
                removed = (remove(document, path),)
                yield document.fault(path, f"{message}; remove one of them", corrections=removed)
