"""Translate pydantic's errors into faults: the position, the value, what is allowed, and what was probably meant."""

from collections.abc import Collection, Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from jobs.errors import InputFault
from jobs.grid.document import Document, KeyPath
from jobs.grid.hints import Hint, hint_for_key, hint_for_list, hint_for_mapping, hint_for_value
from jobs.grid.scalars import format_value
from jobs.grid.schema_nodes import Schema, closest_key, node_at

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
    misspelt = {(*path[:-1], key) for path in unknown for key in closest_key(path, schema)}
    # A misspelt key is not reported as missing, too.
    return [
        _fault(path, details, document, schema, allowed)
        for path, details in errors
        if details["type"] != "missing" or path not in misspelt
    ]


def _fault(
    path: KeyPath, details: ErrorDetails, document: Document, schema: Schema, allowed: Mapping[str, str]
) -> InputFault:
    if details["type"] == "missing":
        return document.fault(path[:-1], _missing_key(path, schema))
    if details["type"] == "extra_forbidden":
        hint = hint_for_key(path, document, schema)
        known = ", ".join(node_at(schema, path[:-1])["properties"])
        message = f"{_unknown_key(path, schema)}; {hint.text}allowed: {known}"
        return document.fault(path, message, at_key=True, corrections=hint.corrections)
    message, hint = _describe_value(path, details, document, schema, allowed)
    return document.fault(path, f"{message}{hint.text}", corrections=hint.corrections)


def _describe_value(
    path: KeyPath, details: ErrorDetails, document: Document, schema: Schema, allowed: Mapping[str, str]
) -> tuple[str, Hint]:
    """Return what is wrong with a value, and what was probably meant."""
    value, node = details["input"], node_at(schema, path)
    keys = [part for part in path if isinstance(part, str)]
    shown = f"{keys[-1]} {format_value(value)}" if keys else format_value(value)
    match details["type"]:
        case "list_type":
            return f"{shown}: must be a list", hint_for_list(path, value, document, schema)
        case "dict_type" | "model_type":
            message = f"{shown}: must be a mapping; allowed keys: {', '.join(node['properties'])}"
            return message, hint_for_mapping(path, value, document)
        case "too_short" | "value_error" if value in ([], {}):
            return f"{shown}: is empty; needs at least one entry", Hint()
    words = allowed.get(keys[-1]) or allowed_values(node)
    return f"{shown}: allowed {words}", hint_for_value(path, value, document, schema)


def _unknown_key(path: KeyPath, schema: Schema) -> str:
    key = str(path[-1])
    if path[-2:-1] == ("set",) and key in node_at(schema, ("include", 0))["properties"]:
        return f"{key} cannot be set, because it identifies the trial"
    return f"unknown key {format_value(key)}"


def _missing_key(path: KeyPath, schema: Schema) -> str:
    needed = ", ".join(node_at(schema, path[:-1])["required"])
    return f"missing key {path[-1]!r}; needed: {needed}"


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


def join_words(words: Sequence[object]) -> str:
    """Join words as English does: a, b or c."""
    *most, end = map(str, words)
    return f"{', '.join(most)} or {end}" if most else end
