"""A YAML document as plain data with the position of every key and value, and edits of its text.

Knows nothing about the contents of grids.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import Correction, Edit, InputFault
from jobs.grid.scalars import format_key

KeyPath = tuple[str | int, ...]  # such as ("grid", "subset_size", 1)
Position = tuple[int, int]  # line and column, both from 1
Range = tuple[int, int]  # start and end, in characters from the beginning of the text


@dataclass(frozen=True)
class Document:
    """Hold the data of one YAML document, where its keys and values are, and the faults found on the way."""

    file: str
    text: str = ""
    data: Any = None
    values: dict[KeyPath, Position] = field(default_factory=dict)
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    value_ranges: dict[KeyPath, Range] = field(default_factory=dict)
    key_ranges: dict[KeyPath, Range] = field(default_factory=dict)
    faults: list[InputFault] = field(default_factory=list)

    def fault(
        self, path: KeyPath, message: str, *, at_key: bool = False, corrections: tuple[Correction, ...] = ()
    ) -> InputFault:
        """Return a fault at the value (or key) of `path`, or at the closest enclosing one that the document has."""
        positions = self.keys if at_key else self.values
        known = path
        while known and known not in positions:
            known = known[:-1]
        line, column = positions.get(known) or self.values.get(known, (0, 0))
        return InputFault(self.file, line, column, dotted(path), message, corrections)

    def source(self, path: KeyPath) -> str:
        """Return the text of the value at `path`."""
        start, end = self.value_ranges[path]
        return self.text[start:end]

    def value(self, path: KeyPath) -> Any:  # noqa: ANN401
        """Return the value at `path`, or None where there is none."""
        found = self.data
        for part in path:
            try:
                found = found[part]
            except (LookupError, TypeError):
                return None
        return found

    def keys_of(self, path: KeyPath) -> set[str]:
        """Return the keys of the mapping at `path`; none where there is no mapping."""
        found = self.value(path)
        return set(found) if isinstance(found, dict) else set()


def corrected(text: str, correction: Correction) -> str:
    """Return the text with the edits of a fault's correction."""
    for edit in sorted(correction, key=lambda edit: (edit.start, edit.end), reverse=True):
        text = text[: edit.start] + edit.text + text[edit.end :]
    return text


# Edits: each function returns none where the document is written in a form for which it knows no edit.


def write(document: Document, path: KeyPath, text: str) -> Correction:
    """Replace the value at `path`."""
    start, end = document.value_ranges[path]
    if start < end:
        # The dashes of a list may be as far to the left as its key; no other value may.
        at_key = path in document.keys and document.keys[path][1] == document.values[path][1]
        return (Edit(start, end, f"  {text}" if at_key else text),)
    before = document.text[:start]
    return (Edit(start, end, f" {text}" if before.endswith((":", "-")) else f": {text}"),)


def rename(document: Document, path: KeyPath, key: str) -> Correction:
    """Replace the last key of `path`."""
    return (Edit(*document.key_ranges[path], key),)


def remove(document: Document, path: KeyPath) -> Correction:
    """Remove an entry of a mapping or of a list."""
    start = document.key_ranges[path][0] if isinstance(path[-1], str) else document.value_ranges[path][0]
    return remove_range(document, path, (start, document.value_ranges[path][1]))


def remove_range(document: Document, path: KeyPath, found: Range) -> Correction:
    """Remove the entry at `path`, which is at `found`: also the comma, the dash or the lines that belong to it."""
    text, (start, end) = document.text, found
    if _is_flow(document, path[:-1]):
        if comma := re.compile(r"\s*,[ \t]*").match(text, end):
            return (Edit(start, comma.end(), ""),)
        before = text[:start].rstrip()
        return (Edit(len(before) - 1 if before.endswith(",") else start, end, ""),)
    line_start = text.rfind("\n", 0, start) + 1
    dashes = text[line_start:start].strip()
    if dashes == ("-" if isinstance(path[-1], int) else ""):
        line_end = text.find("\n", end)
        return (Edit(line_start, line_end + 1 if line_end >= 0 else len(text), ""),)
    following = [each for each in document.key_ranges if each[:-1] == path[:-1]]
    following = following[following.index(path) + 1 :] if path in following else []
    if dashes == "-" and following:
        return (Edit(start, document.key_ranges[following[0]][0], ""),)
    return ()


def insert(document: Document, path: KeyPath, key: str, text: str) -> Correction:
    """Add an entry to the mapping at `path`, which is made where the document lacks it."""
    mapping = document.value(path)
    if path and path not in document.key_ranges:
        return insert(document, path[:-1], str(path[-1]), f"{{{key}: {text}}}")
    if not isinstance(mapping, dict):
        return write(document, path, f"{{{key}: {text}}}") if mapping is None else ()
    if not mapping:
        return write(document, path, f"{{{key}: {text}}}")
    if _is_flow(document, path):
        start = document.value_ranges[path][0] + 1
        return (Edit(start, start, f"{key}: {text}, "),)
    start = document.value_ranges[path][0]
    indent = " " * (start - document.text.rfind("\n", 0, start) - 1)
    return (Edit(start, start, f"{key}: {text}\n{indent}"),)


def append(document: Document, path: KeyPath, items: list[str]) -> Correction:
    """Add items to the list at `path`, which is made where the document lacks it."""
    written = f"[{', '.join(items)}]"
    if path not in document.key_ranges:
        return insert(document, path[:-1], str(path[-1]), written)
    if not document.value(path):
        return write(document, path, written)
    if _is_flow(document, path):
        start = document.value_ranges[path][0] + 1
        return (Edit(start, start, f"{', '.join(items)}, "),)
    first = document.value_ranges[*path, 0][0]
    line_start = document.text.rfind("\n", 0, first) + 1
    before = document.text[line_start:first]
    if before.strip() != "-":
        return ()
    indent = before[: before.index("-")]
    return (Edit(line_start, line_start, "".join(f"{indent}- {item}\n" for item in items)),)


def _is_flow(document: Document, path: KeyPath) -> bool:
    """Return whether a list or a mapping is written in brackets."""
    return document.text[document.value_ranges[path][0]] in "[{"


def dotted(path: KeyPath) -> str:
    """Format a path in dotted form, such as grid.subset_size[1]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{format_key(part)}" for part in path)
    return text.removeprefix(".")
