"""From YAML text to plain data with the position of every key and value. Knows nothing about the contents of grids."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from jobs.errors import InputError, InputFault

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_INTEGER_LENGTH = 100  # characters; longer integers become floats, as Python refuses to print 4300 digits

KeyPath = tuple[str | int, ...]  # such as ("grid", "subset_size", 1)
Position = tuple[int, int]  # line and column, both from 1
Event = Any  # PyYAML leaves its events and marks untyped
Mark = Any
Events = Iterator[Event]

# The core schema of YAML 1.2. PyYAML resolves by YAML 1.1, where 010 is 8, 1:30 is 90, 1e-3 is text and `no` is false.
CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
DECIMAL = re.compile(r"[-+]?[0-9]+")
OCTAL_OR_HEXADECIMAL = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
FORBIDDEN_CHARACTER = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Document:
    """Hold the data of one YAML document, the positions of its keys and values, and the faults found on the way."""

    file: str
    data: Any = None
    values: dict[KeyPath, Position] = field(default_factory=dict)
    keys: dict[KeyPath, Position] = field(default_factory=dict)
    faults: list[InputFault] = field(default_factory=list)

    def fault(self, path: KeyPath, message: str, *, at_key: bool = False) -> InputFault:
        """Return a fault at the value (or key) of `path`, or at the closest enclosing one that the document has."""
        positions = self.keys if at_key else self.values
        known = path
        while known and known not in positions:
            known = known[:-1]
        line, column = positions.get(known) or self.values.get(known, (0, 0))
        return InputFault(self.file, line, column, dotted(path), message)


def dotted(path: KeyPath) -> str:
    """Format a path in dotted form, such as grid.subset_size[1]."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{format_key(part)}" for part in path)
    return text.removeprefix(".")


def format_key(key: str) -> str:
    """Format a key on one line: unchanged if it is short and printable, otherwise quoted, shortened and escaped."""
    return key if key.isprintable() and len(key) <= 60 else format_value(key)


def format_value(value: object) -> str:
    """Format a value on one line in YAML's words, shortened, with control characters escaped."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_text(path: Path) -> str:
    """Read a UTF-8 text file.

    Raises:
        InputError: The file is missing, unreadable, not UTF-8, or larger than MAX_BYTES.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise _refusal(path, "no such file") from None
    except IsADirectoryError:
        raise _refusal(path, "is a folder; pass the path of a grid file") from None
    except (OSError, ValueError) as error:
        raise _refusal(path, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(content) > MAX_BYTES:
            raise _too_large(str(path)) from None
        before = error.object[: error.start].decode()
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8 text; a grid file is YAML in UTF-8"
        raise InputError([_fault_after(str(path), before, message)]) from None


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
    document = Document(file)
    loader = yaml.SafeLoader(text)
    try:
        data = _read_document(iter(loader.get_event, None), document)
    except yaml.MarkedYAMLError as error:
        raise InputError([_syntax_fault(error, text, file)]) from None
    except (ValueError, OverflowError) as error:  # PyYAML, for "\UFFFFFFFF" and a %YAML version of thousands of digits
        raise _refused(document, loader.get_mark(), f"not valid YAML: {error}") from None
    return replace(document, data=data)


def _check_characters(text: str, file: str) -> None:
    if len(text) > MAX_BYTES or len(text.encode(errors="replace")) > MAX_BYTES:
        raise _too_large(file)
    if found := FORBIDDEN_CHARACTER.search(text):
        message = f"binary content: the character {found.group()!r}; a grid file is YAML text"
        raise InputError([_fault_after(file, text[: found.start()], message)])


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
    return items


def _read_mapping(events: Events, document: Document, path: KeyPath) -> dict[str, object]:
    mapping: dict[str, object] = {}
    while not isinstance(event := next(events), yaml.MappingEndEvent):
        key, position = _read_key(event, document)
        key_path = (*path, key)
        if key in mapping:
            line, column = document.keys[key_path]
            message = (
                f"duplicate key {format_value(key)}, first used at line {line}, column {column}; remove one of them"
            )
            document.faults.append(InputFault(document.file, *position, dotted(key_path), message))
            # Read the second value into a scratch document, so that the first keeps its positions.
            _read_value(next(events), events, Document(document.file), key_path)
        else:
            document.keys[key_path] = position
            mapping[key] = _read_value(next(events), events, document, key_path)
    return mapping


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


def resolve(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar, by the core schema of YAML 1.2."""
    if text in CONSTANTS:
        return CONSTANTS[text]
    if len(text) <= MAX_INTEGER_LENGTH and DECIMAL.fullmatch(text):
        return int(text)
    if len(text) <= MAX_INTEGER_LENGTH and OCTAL_OR_HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if NOT_FINITE.fullmatch(text):
        return float(text.replace(".", ""))
    return float(text) if FLOAT.fullmatch(text) else text


def _syntax_fault(error: yaml.MarkedYAMLError, text: str, file: str) -> InputFault:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return InputFault(file, 0, 0, "", f"not valid YAML: {error.problem}")
    if text[mark.index : mark.index + 1] == "\t":
        return InputFault(file, *_position(mark), "", "a tab; indent with spaces")
    reason = "; ".join(part for part in (error.context, error.problem) if part)
    return InputFault(file, *_position(mark), "", f"not valid YAML: {reason}; check indentation, colons and brackets")


def _position(mark: Mark) -> Position:
    return mark.line + 1, mark.column + 1


def _refused(document: Document, mark: Mark, message: str) -> InputError:
    return InputError([InputFault(document.file, *_position(mark), "", message)])


def _refusal(path: Path, message: str) -> InputError:
    return InputError([InputFault(str(path), 0, 0, "", message)])


def _too_large(file: str) -> InputError:
    return InputError([InputFault(file, 0, 0, "", f"is too large; allowed up to {MAX_BYTES} bytes")])


def _fault_after(file: str, before: str, message: str) -> InputFault:
    """Return a fault at the position just after the text `before`."""
    lines = f"{before}^".splitlines()
    return InputFault(file, len(lines), len(lines[-1]), "", message)
