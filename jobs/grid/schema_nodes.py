"""Parts of the grid's JSON Schema, by the path of the value that they describe."""

from typing import Any

from jobs.grid.document import KeyPath
from jobs.grid.meanings import closest

Schema = dict[str, Any]  # a JSON Schema


def node_at(schema: Schema, path: KeyPath) -> Schema:
    """Return the part of a JSON Schema that describes the value at a path."""
    node = schema
    for part in path:
        node = resolved(schema, node["items"] if isinstance(part, int) else node["properties"][part])
    return node


def resolved(schema: Schema, node: Schema) -> Schema:
    """Follow a reference, and merge the two forms of the dataset: the names of one with the keys of the other."""
    if "$ref" in node:
        return resolved(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    if "properties" in node or "oneOf" not in node:
        return node
    return {key: value for option in node["oneOf"] for key, value in resolved(schema, option).items()}


def closest_key(path: KeyPath, schema: Schema) -> list[str]:
    """Return the known key that resembles an unknown one most, if any does."""
    return closest(str(path[-1]), list(node_at(schema, path[:-1])["properties"]))


def with_maximum(schema: Any, key: str, maximum: int) -> Any:  # noqa: ANN401 - any part of a schema
    """Return a copy of a JSON Schema in which the values of a setting, also as items of an axis, have a maximum."""
    if isinstance(schema, list):
        return [with_maximum(each, key, maximum) for each in schema]
    if not isinstance(schema, dict):
        return schema
    copy = {name: with_maximum(value, key, maximum) for name, value in schema.items()}
    if key in copy.get("properties", {}):
        node = copy["properties"][key]
        node.get("items", node)["maximum"] = maximum
    return copy
