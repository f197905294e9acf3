"""From YAML text to plain data with the position of every key and value. Knows nothing about the contents of grids."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import yaml

from jobs.errors import Edit, InputError, InputFault
from jobs.grid.document import Document, KeyPath, Position, Range, dotted, remove_range
from jobs.grid.scalars import format_value, resolve

MAX_BYTES = 1_000_000
MAX_DEPTH = 20

Event = Any  # PyYAML leaves its events and marks untyped
Mark = Any
Events = Iterator[Event]

FORBIDDEN_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_TAB = 2  # spaces


class _Loader(yaml.SafeLoader):
    """Accept a tab between the words of a line, as YAML does and PyYAML does not."""

    def scan_to_next_token(self) -> None:
        """Move to the next token; a tab that indents a line stays, and is an error."""
        super().scan_to_next_token()
        while self.peek() == "\t":
            length = 1
            while self.peek(length) in " \t":
                length += 1
            is_blank = self.peek(length) in "#\r\n\0\x85\u2028\u2029"
            if not self.flow_level and not is_blank and self._is_first_on_line():
                return
            self.forward(length)
            super().scan_to_next_token()

    def _is_first_on_line(self) -> bool:
        return not self.buffer[self.pointer - self.column : self.pointer].strip()


def parse_yaml(text: str, file: str) -> Document:
    """Parse text that holds exactly one plain YAML document.

    Args:
        text: The text, at most MAX_BYTES in UTF-8.
        file: The file's name for faults.

    Returns:
        The document; duplicate keys are among its faults, and the first value of such a key is kept.

    Raises:
        InputError: The text cannot be read as plain data: a syntax error, an empty file, a second document, an alias,
            anchor, tag or merge key, or too large or too deeply nested.
    """
    _check_characters(text, file)
    document = Document(file, text)
    loader = _Loader(text)
    try:
        data = _read_document(iter(loader.get_event, None), document)
    except yaml.MarkedYAMLError as error:
        raise InputError([_syntax_fault(error, text, file)]) from None
    except (ValueError, OverflowError) as error:  # PyYAML, for "\UFFFFFFFF" and a %YAML version of thousands of digits
        raise _refused(document, loader.get_mark(), f"not valid YAML: {error}") from None
    return replace(document, data=data)


def _check_characters(text: str, file: str) -> None:
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise too_large(file)
    if found := FORBIDDEN_CHARACTER.search(text):
        message = f"binary content: the character {found.group()!r}; a grid file is YAML text"
        raise InputError([fault_after(file, text[: found.start()], message)])


def _read_document(events: Events, document: Document) -> object:
    next(events)  # stream start
    if isinstance(next(events), yaml.StreamEndEvent):
        raise InputError([InputFault(document.file, 0, 0, "", "is empty; a grid file holds one YAML mapping")])
    data = _read_value(next(events), events, document, ())
    next(events)  # document end
    if not isinstance(event := next(events), yaml.StreamEndEvent):
        raise _refused(document, event.start_mark, "a second YAML document starts here; a grid file holds one")
    return data


def _read_value(event: Event, events: Events, document: Document, path: KeyPath) -> object:
    document.values[path] = _position(event.start_mark)
    document.value_ranges[path] = _range(event)
    if len(path) > MAX_DEPTH:
        raise _refused(document, event.start_mark, f"nested too deeply; allowed up to {MAX_DEPTH} levels")
    _refuse_special(event, document)
    if isinstance(event, yaml.ScalarEvent):
        return resolve(event.value) if event.implicit[0] else event.value
    if isinstance(event, yaml.SequenceStartEvent):
        return _read_sequence(events, document, path)
    return _read_mapping(events, document, path)


def _read_sequence(events: Events, document: Document, path: KeyPath) -> list[object]:
    items: list[object] = []
    while not isinstance(event := next(events), yaml.SequenceEndEvent):
        items.append(_read_value(event, events, document, (*path, len(items))))
    _end_range(document, path, event, (*path, len(items) - 1))
    return items


def _read_mapping(events: Events, document: Document, path: KeyPath) -> dict[str, object]:
    mapping: dict[str, object] = {}
    last: KeyPath = ()
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key, position = _read_key(event, document)
        last = (*path, key)
        if key in mapping:
            _note_duplicate(event, events, document, last)
        else:
            document.keys[last], document.key_ranges[last] = position, _range(event)
            mapping[key] = _read_value(next(events), events, document, last)
    _end_range(document, path, event, last)
    return mapping


def _note_duplicate(event: Event, events: Events, document: Document, path: KeyPath) -> None:
    """Add a fault for a second key of one name, and read its value."""
    # Into a scratch document, so that the first value keeps its positions.
    scratch = Document(document.file, document.text)
    _read_value(next(events), events, scratch, path)
    found = (_range(event)[0], scratch.value_ranges[path][1])
    line, column = document.keys[path]
    first = f"first used at line {line}, column {column}"
    message = f"duplicate key {format_value(path[-1])}, {first}; remove one of them"
    fault = InputFault(
        document.file, *_position(event.start_mark), dotted(path), message, (remove_range(document, path, found),)
    )
    document.faults.append(fault)


def _end_range(document: Document, path: KeyPath, event: Event, last: KeyPath) -> None:
    """Enter where a list or a mapping ends: PyYAML's mark is right for brackets only."""
    start, _ = document.value_ranges[path]
    is_flow = document.text[start] in "[{"
    end = event.end_mark.index if is_flow else document.value_ranges[last][1]
    document.value_ranges[path] = (start, end)


def _read_key(event: Event, document: Document) -> tuple[str, Position]:
    _refuse_special(event, document)
    if not isinstance(event, yaml.ScalarEvent):
        raise _refused(document, event.start_mark, "a list or a mapping as a key; write a single word")
    if event.value == "<<" and event.implicit[0]:
        raise _refused(document, event.start_mark, "merge key '<<'; write out the keys")
    return event.value, _position(event.start_mark)


def _refuse_special(event: Event, document: Document) -> None:
    if isinstance(event, yaml.AliasEvent):
        raise _refused(document, event.start_mark, f"alias {format_value(f'*{event.anchor}')}; write out the value")
    if event.anchor is not None:
        raise _refused(document, event.start_mark, f"anchor {format_value(f'&{event.anchor}')}; write out every value")
    if event.tag is not None:
        raise _refused(document, event.start_mark, f"tag {format_value(event.tag)}; write the value without a tag")
    if isinstance(event, yaml.ScalarEvent) and FORBIDDEN_CHARACTER.search(event.value):
        raise _refused(document, event.start_mark, f"control characters in {format_value(event.value)}; use plain text")


def _syntax_fault(error: yaml.MarkedYAMLError, text: str, file: str) -> InputFault:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return InputFault(file, 0, 0, "", f"not valid YAML: {error.problem}")
    if text[mark.index : mark.index + 1] == "\t":
        return InputFault(file, *_position(mark), "", "a tab; indent with spaces", (_untab(text),))
    reason = "; ".join(part for part in (error.context, error.problem) if part)
    return InputFault(file, *_position(mark), "", f"not valid YAML: {reason}; check indentation, colons and brackets")


def _untab(text: str) -> tuple[Edit, ...]:
    """Replace each tab of an indentation by spaces."""
    found = re.finditer(r"^[ \t]*\t[ \t]*", text, re.MULTILINE)
    return tuple(Edit(*each.span(), each.group().replace("\t", " " * _TAB)) for each in found)


def _range(event: Event) -> Range:
    """Return where an event is in the text, without the line break at the end of a block scalar."""
    start, end = event.start_mark.index, event.end_mark.index
    is_block = isinstance(event, yaml.ScalarEvent) and event.style in ("|", ">")
    return start, end - 1 if is_block and end > start + 1 else end


def _position(mark: Mark) -> Position:
    return mark.line + 1, mark.column + 1


def _refused(document: Document, mark: Mark, message: str) -> InputError:
    return InputError([InputFault(document.file, *_position(mark), "", message)])


def too_large(file: str) -> InputError:
    return InputError([InputFault(file, 0, 0, "", f"is too large; allowed up to {MAX_BYTES} bytes")])


def fault_after(file: str, before: str, message: str) -> InputFault:
    """Return a fault at the position just after the text `before`."""
    lines = f"{before}^".splitlines()
    return InputFault(file, len(lines), len(lines[-1]), "", message)
