"""The remedy of a wrong key or value: as text for a message, and as edits of the file.

A hint works as it is given: the tests follow every one, and load the grid that comes out.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile

from jobs.errors import Correction, Edit
from jobs.grid.document import Document, KeyPath, insert, remove, rename, write
from jobs.grid.meanings import fits, meant_lists, meant_values, seed_count
from jobs.grid.scalars import resolve, yaml_text
from jobs.grid.schema_nodes import Schema, closest_key, node_at, resolved

MAX_EXAMPLE = 1_000_000  # a larger maximum is no example of a value
MAX_COMPARED_ITEMS = 1000  # of a list, with which a suggested item is compared
SHORT_LIST = 10  # seeds; more of them are counted, not listed


@dataclass(frozen=True)
class Hint:
    """The advice of a message, and the edits that follow it; several are alternatives."""

    text: str = ""
    corrections: tuple[Correction, ...] = ()


def hint_for_key(path: KeyPath, document: Document, schema: Schema) -> Hint:
    """Advise on an unknown key: its right spelling or its right section."""
    key, siblings = str(path[-1]), document.keys_of(path[:-1])
    if path[-2:-1] == ("set",) and key in node_at(schema, ("include", 0))["properties"]:
        return Hint("use exclude and include; ")
    if hint := _hint_for_remnant(path, document, schema):
        return hint
    sections = [name for name in schema["properties"] if key in node_at(schema, (name,)).get("properties", ())]
    if sections and len(path) <= 2:
        return _hint_to_move(path, sections, document, schema)
    near = next(iter(closest_key(path, schema)), "")
    if not near:
        return Hint()
    alike = {near, "seed", "seeds"} if near in ("seed", "seeds") else {near}
    taken = alike & siblings - {key}
    if taken:
        return Hint(f"{min(taken)} is given already, remove one of them; ", (remove(document, path),))
    return Hint(f"did you mean {near!r}? ", (rename(document, path, near),))


def _hint_for_remnant(path: KeyPath, document: Document, schema: Schema) -> Hint | None:
    """Advise on a key that is the rest of a value, as the 1 in {seed: 0,1}."""
    keys = list(document.value(path[:-1]))
    before = [key for key in keys[: keys.index(path[-1])] if document.value((*path[:-1], key)) is not None]
    owner = (*path[:-1], before[-1]) if before else path
    if before[-1:] == [] or before[-1] not in node_at(schema, path[:-1])["properties"]:
        return None
    value, whole = _whole_value(owner, document)
    if not isinstance(value, str) or whole.value_ranges[owner][1] < document.key_ranges[path][1]:
        return None
    advise = hint_for_list if "items" in node_at(schema, owner) else hint_for_value
    hint = advise(owner, value, whole, schema)
    return Hint(f"it is part of {owner[-1]}{hint.text.replace('; write', ', write', 1)}; ", hint.corrections)


def _whole_value(path: KeyPath, document: Document) -> tuple[object, Document]:
    """Return a value together with the keys without a value that follow it, where a comma has cut it into pieces.

    The document that is returned has the range of the whole.
    """
    value = document.value(path)
    if isinstance(path[-1], int) or not path[:-1] or not document.source(path[:-1]).startswith("{"):
        return value, document
    keys = list(document.value(path[:-1]))
    rest = list(takewhile(lambda key: document.value((*path[:-1], key)) is None, keys[keys.index(path[-1]) + 1 :]))
    remnants = list(takewhile(lambda key: re.match(r"[0-9]", key), rest))
    if not remnants or value is None:
        return value, document
    whole = (document.value_ranges[path][0], document.key_ranges[*path[:-1], remnants[-1]][1])
    joined = replace(document, value_ranges={**document.value_ranges, path: whole})
    return joined.source(path), joined


def _hint_to_move(path: KeyPath, sections: Sequence[str], document: Document, schema: Schema) -> Hint:
    """Advise to move a key to the section to which it belongs, in the form that it has there."""
    key, value = str(path[-1]), document.value(path)
    taken = [name for name in sections if key in document.keys_of((name,))]
    if taken:
        return Hint(f"{taken[0]} has it already, remove one of them; ", (remove(document, path),))
    source = yaml_text(value) if isinstance(value, list | dict) else document.source(path)
    fitting = [name for name in sections if _is_allowed(value, node_at(schema, (name, key)), schema)]
    if fitting:
        return Hint(f"it belongs in {fitting[0]}; ", _moved(path, fitting[0], source, document))
    axis = node_at(schema, ("grid", key)) if "grid" in sections else {}
    if "items" in axis and fits(value, resolved(schema, axis["items"])):
        return Hint(f"it belongs in grid, as {key}: [{source}]; ", _moved(path, "grid", f"[{source}]", document))
    return Hint(f"it belongs in {' or '.join(sections)}; ")


def _is_allowed(value: object, node: Schema, schema: Schema) -> bool:
    if "items" in node:
        items = resolved(schema, node["items"])
        return isinstance(value, list) and bool(value) and all(fits(each, items) for each in value)
    return fits(value, node)


def _moved(path: KeyPath, section: str, text: str, document: Document) -> tuple[Correction, ...]:
    added, removed = insert(document, (section,), str(path[-1]), text), remove(document, path)
    return ((*removed, *added),) if removed and added and "\n" not in text else ()


def hint_for_list(path: KeyPath, value: object, document: Document, schema: Schema) -> Hint:
    """Advise on a value in place of a list."""
    if document.source(path):
        whole, document = _whole_value(path, document)
        value = whole if isinstance(whole, str) else value
    items = resolved(schema, node_at(schema, path)["items"])
    if value is None:
        return _hint_for_nothing(path, document, schema)
    if "properties" in items:
        text = f"[{yaml_text(value)}]"
        return Hint(f"; write {text}", (write(document, path, text),)) if isinstance(value, dict) and value else Hint()
    lists = meant_lists(value, items, document.source(path))
    found = {yaml_text(each): write(document, path, yaml_text(each)) for each in lists}
    counted, count = f"{path[-1]}s", None
    siblings = node_at(schema, path[:-1])["properties"]
    if counted in siblings and counted not in document.keys_of(path[:-1]):
        single = lists[0][0] if lists and len(lists[0]) == 1 else value
        of_counted = resolved(schema, siblings[counted])
        count = single if fits(single, of_counted) else seed_count(value, of_counted)
    if count is None:
        return _written(found)
    correction = (*rename(document, path, counted), *write(document, path, str(count)))
    if count == single:
        text = f"; write {next(iter(found))}, or {counted}: {count} for that many"
        return Hint(text, (*found.values(), correction))
    short = {text: each for text, each in found.items() if text.count(",") < SHORT_LIST}
    return _written({**short, f"{counted}: {count}": correction})


def _written(found: dict[str, Correction]) -> Hint:
    return Hint(f"; write {', or '.join(found)}", tuple(found.values())) if found else Hint()


def _hint_for_nothing(path: KeyPath, document: Document, schema: Schema) -> Hint:
    """Advise on a key without a value: to remove it, or an example where the key is required."""
    parent = node_at(schema, path[:-1])
    key, node = path[-1], node_at(schema, path)
    if isinstance(key, int):
        others = document.value(path[:-1])
        return Hint("; remove it", (remove(document, path),)) if len(others) > 1 else Hint()
    if key not in (*parent.get("required", ()), "seed", "seeds"):
        return Hint("; remove it", (remove(document, path),))
    if "items" not in node:
        return Hint()
    text = yaml_text(_example(resolved(schema, node["items"])))
    return Hint(f"; write {text}, for example", (write(document, path, text),))


def _example(items: Schema) -> list[object]:
    if "enum" in items:
        return list(items["enum"])
    if items["type"] == "boolean":
        return [False, True]
    maximum, minimum = items.get("maximum", MAX_EXAMPLE + 1), items["minimum"]
    return [maximum] if maximum <= MAX_EXAMPLE else [minimum, minimum + 1, minimum + 2]


def hint_for_mapping(path: KeyPath, value: object, document: Document) -> Hint:
    """Advise on a list of mappings in place of one mapping."""
    if not isinstance(value, list) or not value or not all(isinstance(each, dict) and each for each in value):
        return Hint()
    merged = {key: content for each in value for key, content in each.items()}
    if len(merged) < sum(map(len, value)):
        return Hint()
    text = yaml_text(merged)
    return Hint(f"; write {text}", (write(document, path, text),))


def hint_for_value(path: KeyPath, value: object, document: Document, schema: Schema) -> Hint:
    """Advise on a value of a wrong type or out of bounds."""
    key, node = path[-1], node_at(schema, path)
    if value is None:
        return _hint_for_nothing(path, document, schema)
    if key == "path":
        return Hint()
    if key == "dataset" and isinstance(value, str) and "/" in value:
        text = yaml_text({"path": value})
        return Hint(f"; write {text}", (write(document, path, text),))
    if key == "seeds" and (for_seeds := _hint_for_seeds(path, value, document, schema)).text:
        return for_seeds
    if for_many := _hint_for_many(path, value, document, schema):
        return for_many
    source = document.source(path)
    others = _other_items(path, document)
    meant = [each for each in meant_values(value, node, source) if yaml_text(each) not in others]
    found = {yaml_text(each): write(document, path, yaml_text(each)) for each in meant}
    if isinstance(value, str) and "enum" in node:
        return Hint(f"; did you mean {meant[0]!r}?", tuple(found.values())) if meant else Hint()
    if meant and isinstance(value, str) and source[:1] in "'\"" and meant[0] == resolve(value):
        return Hint("; write it without quotes", (write(document, path, value.strip()),))
    return _written(found)


def _other_items(path: KeyPath, document: Document) -> list[str]:
    """Return the other items of the list in which a value is, as text: 1 and true are equal, but different values."""
    items = document.value(path[:-1])
    others = enumerate(items) if isinstance(path[-1], int) and len(items) <= MAX_COMPARED_ITEMS else ()
    return [yaml_text(item) for index, item in others if index != path[-1]]


def _hint_for_seeds(path: KeyPath, value: object, document: Document, schema: Schema) -> Hint:
    """Advise on seeds that are listed where they are to be counted."""
    node, items = node_at(schema, path), resolved(schema, node_at(schema, (*path[:-1], "seed"))["items"])
    if meant := meant_values(value, node, document.source(path)):
        return _written({yaml_text(meant[0]): write(document, path, yaml_text(meant[0]))})
    found: dict[str, Correction] = {}
    if isinstance(value, str) and fits(value, node["properties"]["until"]):
        return _written({text: write(document, path, text) for text in [yaml_text({"until": value})]})
    if (count := seed_count(value, node)) is not None:
        found[f"{path[-1]}: {count}"] = write(document, path, str(count))
    listed = [value] if isinstance(value, list) and _is_allowed(value, {"items": items}, schema) else []
    if not isinstance(value, list | int):
        listed = [each for each in meant_lists(value, items) if len(each) > 1]
    if listed and "seed" not in document.keys_of(path[:-1]) and (not found or len(listed[0]) <= SHORT_LIST):
        text = yaml_text(listed[0])
        found[f"seed: {text}"] = (*rename(document, path, "seed"), *write(document, path, text))
    return _written(dict(reversed(found.items())))


def _hint_for_many(path: KeyPath, value: object, document: Document, schema: Schema) -> Hint | None:
    """Advise on several values in place of one: items of a list, the values of an axis, entries of `exclude`."""
    node, key = node_at(schema, path), path[-1]
    if isinstance(key, int):
        return _joined_thousands(path, document, node) or _hint_for_items(path, value, document, node)
    if not isinstance(value, list) or len(value) < 2 or not all(fits(each, node) for each in value):
        return None
    if path[:-1] == ("train",) and key not in document.keys_of(("grid",)):
        return Hint("; several values are an axis: move it to grid", _moved(path, "grid", yaml_text(value), document))
    if path[0] == "exclude":
        entries = [yaml_text({**document.value(path[:-1]), key: each}) for each in value]
        start, end = document.value_ranges[path[:-1]]
        line = document.text[document.text.rfind("\n", 0, start) + 1 : start]
        separator = f"\n{line}" if line.strip() == "-" else ", "
        edit = (Edit(start, end, separator.join(entries)),)
        return Hint(f"; write an entry for each value: {', '.join(entries)}", (edit,))
    return None


def _hint_for_items(path: KeyPath, value: object, document: Document, node: Schema) -> Hint | None:
    """Advise on an item that holds several values, such as 1-5 or a list in the list."""
    listed = [value] if isinstance(value, list) and all(fits(each, node) for each in value) else []
    if isinstance(value, str):
        listed = [each for each in meant_lists(value, node) if len(each) > 1]
    others = _other_items(path, document)
    is_flow = document.source(path[:-1]).startswith("[")
    if not listed or not listed[0] or not is_flow or any(yaml_text(each) in others for each in listed[0]):
        return None
    text = yaml_text(listed[0])[1:-1]
    return Hint(f"; write {text}", (write(document, path, text),))


def _joined_thousands(path: KeyPath, document: Document, node: Schema) -> Hint | None:
    """Advise on 1,000 in a list, which YAML reads as the two numbers 1 and 0."""
    *parents, index = path
    if not isinstance(index, int) or index == 0:
        return None
    start, before = document.value_ranges[*parents, index - 1]
    after, end = document.value_ranges[path]
    text = document.text[start:end]
    if before + 1 != after or not re.fullmatch(r"[1-9][0-9]{0,2},[0-9]{3}", text):
        return None
    number = int(text.replace(",", ""))
    return Hint(f"; write {number}", ((Edit(start, end, str(number)),),)) if fits(number, node) else None
