"""Translate pydantic's errors into faults: the position, the value, what is allowed, and what was probably meant."""

import re
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from jobs.errors import InputFault
from jobs.grid.settings import parse_bool
from jobs.grid.yaml_document import Document, KeyPath, format_value, resolve

Schema = dict[str, Any]  # a JSON Schema

MAX_KEY_LENGTH = 60  # characters compared with the known keys; difflib takes quadratic time
MAX_WHOLE_FLOAT = 1e15  # larger floats are not written out as whole numbers
BOUNDS = {
    "minimum": "of at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
}


def faults_of(
    error: ValidationError, document: Document, schema: Schema, allowed: Mapping[str, str], tags: Collection[str | int]
) -> list[InputFault]:
    """Translate every error of a validation.

    Args:
        error: The errors, with paths into the document's data.
        document: The document that was validated.
        schema: The model's JSON Schema, the source of known keys and bounds.
        allowed: Descriptions of allowed values, by key, where the schema does not describe them well.
        tags: Names of union members, which pydantic inserts into its paths.
    """
    errors = [
        (tuple(part for part in details["loc"] if part not in tags), details)
        for details in error.errors(include_url=False)
    ]
    unknown = [path for path, details in errors if details["type"] == "extra_forbidden"]
    misspelt = {(*path[:-1], key) for path in unknown for key in _closest_key(path, schema)}
    # A misspelt key is not reported as missing, too.
    return [
        _fault(path, details, document, schema, allowed)
        for path, details in errors
        if details["type"] != "missing" or path not in misspelt
    ]


def _fault(
    path: KeyPath, details: ErrorDetails, document: Document, schema: Schema, allowed: Mapping[str, str]
) -> InputFault:
    value = details["input"]
    match details["type"]:
        case "extra_forbidden":
            return document.fault(path, _unknown_key(path, schema), at_key=True)
        case "missing":
            return document.fault(path[:-1], _missing_key(path, schema))
        case "list_type":
            hint = _list_hint(path, value, schema)
            return document.fault(path, f"{_name(path)}{format_value(value)}: must be a list{hint}")
        case "dict_type" | "model_type":
            keys = ", ".join(_node(schema, path)["properties"])
            return document.fault(path, f"{_name(path)}{format_value(value)}: must be a mapping; allowed keys: {keys}")
        case "too_short" | "value_error" if value in ([], {}):
            return document.fault(path, f"{_name(path)}{format_value(value)}: is empty; needs at least one entry")
    node = _node(schema, path)
    key = next(part for part in reversed(path) if isinstance(part, str))
    words = allowed.get(key) or allowed_values(node)
    return document.fault(path, f"{key} {format_value(value)}: allowed {words}{_hint(value, node)}")


def _name(path: KeyPath) -> str:
    """Return the last key of a path, to begin a message with; the whole file has none."""
    keys = [part for part in path if isinstance(part, str)]
    return f"{keys[-1]} " if keys else ""


def _node(schema: Schema, path: KeyPath) -> Schema:
    """Return the part of a JSON Schema that describes the value at a path."""
    node = schema
    for part in path:
        node = _resolved(schema, node["items"] if isinstance(part, int) else node["properties"][part])
    return node


def _resolved(schema: Schema, node: Schema) -> Schema:
    if "$ref" in node:
        return _resolved(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    if "properties" in node or "oneOf" not in node:
        return node
    # The dataset: the names of one alternative together with the keys of the other.
    return {key: value for option in node["oneOf"] for key, value in _resolved(schema, option).items()}


def _closest_key(path: KeyPath, schema: Schema) -> list[str]:
    """Return the known key that resembles an unknown one most, if any does."""
    return get_close_matches(str(path[-1])[:MAX_KEY_LENGTH], _node(schema, path[:-1])["properties"], n=1)


def _unknown_key(path: KeyPath, schema: Schema) -> str:
    key = str(path[-1])
    known = list(_node(schema, path[:-1])["properties"])
    if path[-2:-1] == ("set",) and key in _node(schema, ("include", 0))["properties"]:
        reason = f"{key} cannot be set, because it identifies the trial"
        return f"{reason}; use exclude and include; allowed: {', '.join(known)}"
    sections = [name for name in schema["properties"] if key in _node(schema, (name,)).get("properties", ())]
    near = _closest_key(path, schema)
    if sections and len(path) <= 2:
        hint = f"it belongs in {join_words(sections)}; "
    else:
        hint = f"did you mean {near[0]!r}? " if near else ""
    return f"unknown key {format_value(key)}; {hint}allowed: {', '.join(known)}"


def _missing_key(path: KeyPath, schema: Schema) -> str:
    needed = ", ".join(_node(schema, path[:-1])["required"])
    return f"missing key {path[-1]!r}; needed: {needed}"


def _list_hint(path: KeyPath, value: object, schema: Schema) -> str:
    """Suggest a list of one value, if the value is allowed there."""
    if not _fits(value, _resolved(schema, _node(schema, path)["items"])):
        return ""
    text = value if isinstance(value, str) and value.isalnum() else format_value(value)
    siblings = _node(schema, path[:-1])["properties"]
    count = f"{path[-1]}s"
    several = f", or {count}: {value} for that many" if count in siblings and _fits(value, siblings[count]) else ""
    return f"; write [{text}]{several}"


def allowed_values(node: Schema) -> str:
    """Describe the values that a JSON Schema allows: its choices, or its type with the bounds."""
    if "enum" in node:
        return join_words(node["enum"])
    if node.get("type") == "boolean":
        return "true or false"
    numbers = "whole numbers" if node["type"] == "integer" else "finite numbers"
    if "minimum" in node and "maximum" in node:
        return f"{numbers} from {node['minimum']} to {node['maximum']}"
    bounds = [f"{word} {node[bound]}" for bound, word in BOUNDS.items() if bound in node]
    return " ".join([numbers, " and ".join(bounds)])


def join_words(words: Sequence[object], last: str = "or") -> str:
    """Join words as English does: a, b or c."""
    *most, end = map(str, words)
    return f"{', '.join(most)} {last} {end}" if most else end


def _hint(value: object, node: Schema) -> str:
    """Suggest a correction, if an obvious one is allowed."""
    if isinstance(value, str):
        if near := get_close_matches(value[:MAX_KEY_LENGTH], node.get("enum", ()), n=1):
            return f"; did you mean {near[0]!r}?"
        unquoted = resolve(value)
        return "; write it without quotes" if not isinstance(unquoted, str) and _fits(unquoted, node) else ""
    if isinstance(value, float) and value.is_integer() and abs(value) < MAX_WHOLE_FLOAT and _fits(int(value), node):
        return f"; write {int(value)}"
    is_number = isinstance(value, int | float)
    return "; write it in quotes" if is_number and "enum" not in node and _fits(format_value(value), node) else ""


def _fits(value: object, node: Schema) -> bool:
    """Check a plain value against the type, the choices, the pattern and the bounds of a JSON Schema."""
    if "enum" in node:
        return value in node["enum"]
    match node.get("type"):
        case "boolean":
            return isinstance(parse_bool(value), bool)
        case "string":
            return isinstance(value, str) and re.search(node.get("pattern", ""), value) is not None
        case "integer" | "number" as kind:
            types = int if kind == "integer" else int | float
            return isinstance(value, types) and not isinstance(value, bool) and _within_bounds(value, node)
    return False


def _within_bounds(number: float, node: Schema) -> bool:
    return (
        node.get("minimum", number) <= number <= node.get("maximum", number)
        and ("exclusiveMinimum" not in node or number > node["exclusiveMinimum"])
        and ("exclusiveMaximum" not in node or number < node["exclusiveMaximum"])
    )
