"""The probable meanings of a value that is not allowed: other spellings of numbers, words and lists.

A reading is offered only if the JSON Schema of the value's place allows it.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from jobs.grid.scalars import resolve, yaml_text
from jobs.grid.settings import parse_bool

Schema = dict[str, Any]  # a JSON Schema

MAX_LISTED = 100  # values of a list that a hint writes out
MAX_COMPARED = 60  # characters of a word that are compared with known ones; difflib takes quadratic time
MAX_WHOLE_FLOAT = 1e15  # larger floats are not written out as whole numbers
# The other names under which people know a word.
SYNONYMS = {
    "fp32": "float32",
    "f32": "float32",
    "float": "float32",
    "single": "float32",
    "bf16": "bfloat16",
    "bfloat": "bfloat16",
    "gpu": "cuda",
    "lr": "learning_rate",
    "bs": "batch_size",
    "hidden": "hidden_units",
    "hidden_size": "hidden_units",
    "num_epochs": "epochs",
    "models": "model",
    "n_train": "subset_size",
    "train_size": "subset_size",
    "adaptive": "adaptive_lr",
}
_GROUPED = re.compile(r"[-+]?[1-9][0-9]{0,2}([,_.' \u00a0\u202f])[0-9]{3}(\1[0-9]{3})*")
_UNDERSCORED = re.compile(r"[-+]?[0-9]+(_[0-9]+)+(\.[0-9]+)?")
_DECIMAL_COMMA = re.compile(r"[-+]?[0-9]*,[0-9]+([eE][-+]?[0-9]+)?")
_POINTS = re.compile(r"([0-9]*\.?[0-9]+)(?!e)[^0-9]*", re.IGNORECASE)  # 1e-9 is no 1
_SUFFIXED = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kKM])")
_RANGE = re.compile(r"(?:list\()?\s*(?:np\.|numpy\.)?a?range\(\s*(-?\d{1,9}(?:\s*,\s*-?\d{1,9}){0,2})\s*,?\s*\)\s*\)?")
_SPAN = re.compile(r"(\d{1,9})\s*(?:-|–|\.\.\.?|…|to)\s*(\d{1,9})")
_BOOLEANS = {"true": True, "false": False, "y": True, "n": False, "t": True, "f": False, "1": True, "0": False}


def fits(value: object, node: Schema) -> bool:
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


def meant_values(value: object, node: Schema, source: str = "") -> list[Any]:
    """Return the probable meanings of a value, the likeliest first.

    Args:
        value: The value as it was read.
        node: The JSON Schema of its place.
        source: The value as it is written, where that may tell more.
    """
    found: dict[str, Any] = {}
    for reading in _readings(value, node, source):
        if fits(reading, node):
            found.setdefault(yaml_text(reading), reading)
    return list(found.values())[:2]


def _readings(value: object, node: Schema, source: str) -> Iterator[object]:
    if isinstance(value, list) and len(value) == 1:
        yield value[0]
        yield from meant_values(value[0], node)
    if "enum" in node:
        yield from closest(value, node["enum"]) if isinstance(value, str) else ()
        return
    match node.get("type"), value:
        case "boolean", str() | int():
            yield _BOOLEANS.get(str(value).strip().lower())
        case "string", str():
            name = _as_name(value)
            yield next((each for each in (name, name.lower()) if fits(each, node)), _as_points(value))
        case "string", int() | float():
            text = source or repr(value)
            yield text if fits(text, node) else _as_points(text)
        case _, str():
            yield from _numbers(value)
        case _, float():
            if value.is_integer() and abs(value) < MAX_WHOLE_FLOAT:
                yield int(value)
            yield from _numbers(source)  # 50.000 may be fifty thousand


def closest(word: str, known: Sequence[str]) -> list[str]:
    """Return the known word that another one was probably meant as: another case, a synonym, or a misspelling."""
    spelt = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", word.strip()[:MAX_COMPARED]).lower().replace("-", "_")
    for candidate in (spelt.replace(" ", "_"), spelt.replace("_", ""), word.strip().lower()[:MAX_COMPARED]):
        for name in (candidate, SYNONYMS.get(candidate, "")):
            if name in known:
                return [name]
    return get_close_matches(spelt, known, n=1)


def _as_name(text: str) -> str:
    """Make a name of any text: letters without accents, other characters replaced by a hyphen."""
    plain = unicodedata.normalize("NFKD", text[:MAX_COMPARED]).encode("ascii", "ignore").decode()
    joined = re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._-]+", "-", plain))
    return joined.strip("._-")


def _as_points(text: str) -> str:
    """Give a number its unit, percentage points, whatever stands behind it."""
    match = _POINTS.fullmatch(text.strip().replace(",", "."))
    return f"{match[1]}pp" if match else ""


def _numbers(text: str) -> Iterator[object]:
    """Yield the numbers that a text may be written for, in notations that YAML does not have."""
    text = text.strip()
    unquoted = resolve(text)
    if not isinstance(unquoted, str):
        yield unquoted
    if match := _GROUPED.fullmatch(text):
        yield int(text.replace(match[1], ""))
    if _UNDERSCORED.fullmatch(text):
        yield resolve(text.replace("_", ""))
    if _DECIMAL_COMMA.fullmatch(text):
        yield resolve(text.replace(",", "."))
    if match := _SUFFIXED.fullmatch(text):
        yield round(float(match[1]) * {"k": 1000, "m": 1_000_000}[match[2].lower()])


def meant_lists(value: object, node: Schema, source: str = "") -> list[list[Any]]:
    """Return the lists that a value probably means, at most two.

    Args:
        value: What is written in place of a list.
        node: The JSON Schema of the items.
        source: The value as it is written.
    """
    single = [value] if fits(value, node) else meant_values(value, node, source)[:1]
    found: list[list[Any]] = [single] if single else []
    for items in _sequences(value):
        meant = [[item] if fits(item, node) else meant_values(item, node)[:1] for item in items]
        values = [each[0] for each in meant if each]
        texts = set(map(yaml_text, values))
        if values and len(values) == len(items) == len(texts) and values not in found:
            found.append(values)
    # Two words resemble the first of them, which was not meant alone.
    return found[1:2] if "enum" in node and len(found) > 1 else found[:2]


def _sequences(value: object) -> Iterator[list[object]]:
    """Yield the lists that somebody may have written as text, or as a mapping of names to nothing."""
    if isinstance(value, dict) and value and all(each is None for each in value.values()):
        yield [resolve(key) for key in value]
    if not isinstance(value, str) or len(value) > 20 * MAX_LISTED:
        return
    text = value.strip()
    for pattern, is_open in ((_RANGE, True), (_SPAN, False)):
        if match := pattern.fullmatch(text):
            numbers = [int(each) for group in match.groups() for each in group.split(",")]
            yield from _counted(numbers, is_open)
            return
    inner = text.strip("[](){} ")
    pieces = re.split(r"\s*[,;]\s*", inner.strip(",;")) if re.search("[,;]", inner) else inner.split()
    if len(pieces) > 1 or inner != text:
        yield [resolve(piece.strip("'\"")) for piece in pieces]


def _counted(numbers: list[int], is_open: bool) -> Iterator[list[object]]:
    """Yield the numbers of range(), or from the first to the last of first-last; none where they are too many."""
    try:
        counted = range(*numbers) if is_open else range(numbers[0], numbers[1] + 1)
    except ValueError:  # a step of zero
        return
    yield list(counted[: MAX_LISTED + 1]) if len(counted) <= MAX_LISTED else []


def seed_count(value: object, node: Schema) -> int | None:
    """Return how many seeds a value asks for, counted from zero, or None where it asks for others."""
    text = value.strip() if isinstance(value, str) else ""
    if (match := _RANGE.fullmatch(text)) and (parts := [int(each) for each in match[1].split(",")]):
        counted = parts[0] if len(parts) == 1 else parts[1] if parts[0] == 0 and parts[2:] in ([], [1]) else None
    elif match := _SPAN.fullmatch(text):
        counted = int(match[2]) + 1 if int(match[1]) == 0 else None
    else:
        lists = [value] if isinstance(value, list) else list(_sequences(value))
        counted = next((len(each) for each in lists if each == list(range(len(each)))), None)
    return counted if counted is not None and fits(counted, node) else None
