"""Scalars of YAML: how they are read, and how they are written."""

import json
import re
from collections.abc import Mapping

MAX_INTEGER_LENGTH = 100  # characters; longer integers become floats, as Python refuses to print 4300 digits

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
# Words that need no quotes wherever they are written.
PLAIN = re.compile(r"[A-Za-z./_][A-Za-z0-9./_-]*")


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


def format_key(key: str) -> str:
    """Format a key on one line: unchanged if it is short and printable, otherwise quoted, shortened and escaped."""
    return key if key.isprintable() and len(key) <= 60 else format_value(key)


def format_value(value: object) -> str:
    """Format a value on one line in YAML's words, shortened, with control characters escaped."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def yaml_text(value: object) -> str:
    """Write a value as YAML on one line; the result is read as the same value."""
    if value is None or isinstance(value, bool):
        return format_value(value)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{yaml_text(key)}: {yaml_text(each)}' for key, each in value.items())}}}"
    if isinstance(value, list | tuple | range):
        return f"[{', '.join(map(yaml_text, value))}]"
    if not isinstance(value, str):
        return repr(value)
    if not value.isprintable():
        return json.dumps(value)
    is_plain = PLAIN.fullmatch(value) and isinstance(resolve(value), str)
    return value if is_plain else "'" + value.replace("'", "''") + "'"
