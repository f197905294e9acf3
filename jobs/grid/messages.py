"""From pydantic's errors to faults: where the value stands, what it is, what is allowed, what may have been meant."""

from collections.abc import Collection, Mapping
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from jobs.errors import InputFault
from jobs.grid.yaml_document import Document, KeyPath, format_value, resolve

Schema = dict[str, Any]  # a JSON Schema


def faults_of(
    error: ValidationError, document: Document, schema: Schema, allowed: Mapping[str, str], tags: Collection[str | int]
) -> list[InputFault]:
    """Translate every error of a validation.

    `schema` is the model's JSON Schema, which knows the keys and the bounds; `allowed` gives words for the keys whose
    values it cannot describe; `tags` are the names of union members, which pydantic puts into its paths.
    """
    errors = [
        (tuple(part for part in details["loc"] if part not in tags), details)
        for details in error.errors(include_url=False)
    ]
    unknown = [path for path, details in errors if details["type"] == "extra_forbidden"]
    misspelt = {(*path[:-1], key) for path in unknown for key in _near(path, schema)}
    # A misspelt key is not missing too.
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
            return document.fault(path, f"{_name(path)}{format_value(value)}: must be a list{_list_hint(path, value)}")
        case "dict_type" | "model_type":
            keys = ", ".join(_node(schema, path)["properties"])
            return document.fault(path, f"{_name(path)}{format_value(value)}: must be a mapping; allowed keys: {keys}")
        case "too_short" | "value_error" if value in ([], {}):
            return document.fault(path, f"{_name(path)}{format_value(value)}: is empty; give at least one")
    node = _node(schema, path)
    key = next(part for part in reversed(path) if isinstance(part, str))
    words = allowed.get(key) or _bounds(node)
    return document.fault(path, f"{key} {format_value(value)}: allowed {words}{_hint(value, node)}")


def _name(path: KeyPath) -> str:
    """Name what stands at a path, for the start of a message; the whole file has no name."""
    keys = [part for part in path if isinstance(part, str)]
    return f"{keys[-1]} " if keys else ""


def _node(schema: Schema, path: KeyPath) -> Schema:
    """Find the part of a JSON Schema that describes what stands at a path."""
    node = schema
    for part in path:
        node = _resolved(schema, node["items"] if isinstance(part, int) else node["properties"][part])
    return node


def _resolved(schema: Schema, node: Schema) -> Schema:
    if "$ref" in node:
        return _resolved(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    if "properties" in node or "oneOf" not in node:
        return node
    # The dataset: the names of one alternative and the keys of the other.
    return {key: value for option in node["oneOf"] for key, value in _resolved(schema, option).items()}


def _near(path: KeyPath, schema: Schema) -> list[str]:
    """Find the valid key that an unknown one comes nearest to, if there is one."""
    return get_close_matches(str(path[-1])[:60], _node(schema, path[:-1])["properties"], n=1)


def _unknown_key(path: KeyPath, schema: Schema) -> str:
    key = str(path[-1])
    known = list(_node(schema, path[:-1])["properties"])
    if path[-2:-1] == ("set",) and key in _node(schema, ("include", 0))["properties"]:
        return f"{key} cannot be set, it says which trial it is; use exclude and include; allowed: {', '.join(known)}"
    sections = [name for name in schema["properties"] if key in _node(schema, (name,)).get("properties", ())]
    if near := _near(path, schema):
        hint = f"did you mean {near[0]!r}? "
    else:
        hint = f"it belongs in {' or '.join(sections)}; " if sections and len(path) == 1 else ""
    return f"unknown key {format_value(key)}; {hint}allowed: {', '.join(known)}"


def _missing_key(path: KeyPath, schema: Schema) -> str:
    needed = ", ".join(_node(schema, path[:-1])["required"])
    return f"missing key {path[-1]!r}; needed: {needed}"


def _list_hint(path: KeyPath, value: object) -> str:
    if isinstance(value, dict | list) or value is None or value == "":
        return ""
    text = value if isinstance(value, str) and value.isalnum() else format_value(value)
    seeds = f", or seeds: {value} for that many" if path[-1] == "seed" else ""
    return f"; write [{text}]{seeds}"


def _bounds(node: Schema) -> str:
    """Put a JSON Schema's bounds into words."""
    if "enum" in node:
        return " or ".join(map(str, node["enum"]))
    if node.get("type") == "boolean":
        return "true or false"
    words = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "up to", "exclusiveMaximum": "below"}
    bounds = ", ".join(f"{word} {node[bound]}" for bound, word in words.items() if bound in node)
    return f"{'whole' if node['type'] == 'integer' else 'finite'} numbers {bounds}"


def _hint(value: object, node: Schema) -> str:
    """Guess what was meant."""
    kind = node.get("type")
    if isinstance(value, str):
        near = get_close_matches(value[:60], node.get("enum", ()), n=1)
        if near:
            return f"; did you mean {near[0]!r}?"
        quoted = kind in ("integer", "number", "boolean") and not isinstance(resolve(value), str | None)
        return "; write it without quotes" if quoted else ""
    if isinstance(value, float) and kind == "integer" and value.is_integer():
        return f"; write {int(value)}" if abs(value) < 1e15 else ""
    return "; write it in quotes" if kind == "string" and "enum" not in node and isinstance(value, int | float) else ""
