"""YAML text to plain data with positions: which values are read, which are refused, and where."""

import math
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError, InputFault
from jobs.grid.document import dotted
from jobs.grid.scalars import format_value, resolve
from jobs.grid.source import read_text
from jobs.grid.yaml_document import MAX_BYTES, parse_yaml

ALIAS_BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


def fault_in(text: str) -> InputFault:
    with pytest.raises(InputError) as raised:
        parse_yaml(text, "grid.yaml")
    (fault,) = raised.value.faults
    return fault


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1e-3", 0.001),
        ("1E5", 100000.0),
        ("1.5e+2", 150.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-2", -2),
        ("+7", 7),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("1e999", math.inf),
        ("9" * 5000, math.inf),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
    ],
)
def test_plain_scalars_follow_yaml_1_2(written: str, value: object) -> None:
    assert resolve(written) == value
    assert type(resolve(written)) is type(value)


@pytest.mark.parametrize(
    "written",
    ["1:30", "2024-01-01", "1_000", "0b11", "0x", "1e", "e3", ".", "on", "yes", "no", "--1", "９"],
)
def test_numbers_of_yaml_1_1_alone_stay_text(written: str) -> None:
    assert resolve(written) == written


def test_nan_is_read() -> None:
    number = resolve(".nan")
    assert isinstance(number, float)
    assert math.isnan(number)


def test_a_quoted_scalar_is_text() -> None:
    assert parse_yaml("a: ['1', \"true\", '']", "f").data == {"a": ["1", "true", ""]}


def test_positions_are_those_of_keys_and_values() -> None:
    document = parse_yaml("name: x\ngrid:\n  seed: [0,\n    1]\n", "f")
    assert document.data == {"name": "x", "grid": {"seed": [0, 1]}}
    assert document.keys["grid", "seed"] == (3, 3)
    assert document.values["grid", "seed", 1] == (4, 5)
    assert document.fault(("grid", "model"), "missing") == InputFault("f", 3, 3, "grid.model", "missing")


def test_a_duplicate_key_is_a_fault_and_its_first_value_is_kept() -> None:
    document = parse_yaml("a: {b: 1,\n  b: [2, 3]}\nc: 4\n", "f")
    assert document.data == {"a": {"b": 1}, "c": 4}
    assert document.faults == [
        InputFault("f", 2, 3, "a.b", "duplicate key 'b', first used at line 1, column 5; remove one of them")
    ]
    assert document.values["a", "b"] == (1, 8)


@pytest.mark.parametrize(
    ("text", "line", "column", "fragment"),
    [
        ("", 0, 0, "is empty; a grid file holds one YAML mapping"),
        ("# only a comment\n", 0, 0, "is empty"),
        ("name: a\n---\nname: b\n", 2, 1, "a second YAML document"),
        ("grid:\n\tseed: 1\n", 2, 1, "a tab; indent with spaces"),
        ("a: [1,\n  2\n", 3, 1, "not valid YAML"),
        ("a: b: c\n", 1, 5, "not valid YAML: mapping values are not allowed here"),
        ("a: &x 1\n", 1, 4, "anchor '&x'"),
        ("a: *x\n", 1, 4, "alias '*x'"),
        (ALIAS_BOMB, 1, 4, "anchor '&a'"),
        ("a: 1\n<<: {b: 2}\n", 2, 1, "merge key '<<'"),
        ("a: !!python/object:os.system x\n", 1, 4, "tag 'tag:yaml.org,2002:python/object:os.system'"),
        ("a: !!int 3\n", 1, 4, "tag 'tag:yaml.org,2002:int'"),
        ("a: ! 3\n", 1, 4, "tag '!'"),
        ("!!map {a: 1}\n", 1, 1, "tag"),
        ("a: 1\n? [b]\n: 2\n", 2, 3, "a list or a mapping as a key"),
        ("a: 1\nb: \x00", 2, 4, "binary content: the character '\\x00'"),
        ("a: '\x1b'", 1, 5, "binary content: the character '\\x1b'"),
        ("\ud800", 1, 1, "binary content"),
        ('a: "\\uD800"', 1, 4, "control characters in '\\ud800'"),
        ('a: "\\0"', 1, 4, "control characters in '\\x00'"),
        ('a: "\\UFFFFFFFF"', 1, 7, "not valid YAML"),
        (f"%YAML {'1' * 5000}.1\n---\na: 1", 1, 7, "not valid YAML"),
        ("[" * 100_000, 1, 22, "nested too deeply; allowed up to 20 levels"),
        ("- " * 100_000, 1, 43, "nested too deeply"),
        ("a" * (MAX_BYTES + 1), 0, 0, "is too large; allowed up to 1000000 bytes"),
        ("é" * (MAX_BYTES // 2 + 1), 0, 0, "is too large"),
    ],
)
def test_anything_but_one_plain_document_is_one_fault(text: str, line: int, column: int, fragment: str) -> None:
    fault = fault_in(text)
    assert (fault.file, fault.line, fault.column) == ("grid.yaml", line, column)
    assert fragment in fault.message


@pytest.mark.parametrize(
    ("content", "line", "column", "fragment"),
    [
        (b"name: a\nb: \xff\xfe", 2, 4, "byte 0xff is not UTF-8 text"),
        ("name: a".encode("utf-16"), 1, 1, "byte 0xff is not UTF-8"),
        (b"\x80" * (MAX_BYTES + 1), 0, 0, "is too large"),
    ],
)
def test_bytes_that_are_not_text_are_one_fault(
    tmp_path: Path, content: bytes, line: int, column: int, fragment: str
) -> None:
    path = tmp_path / "grid.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        read_text(path)
    (fault,) = raised.value.faults
    assert (fault.file, fault.line, fault.column) == (str(path), line, column)
    assert fragment in fault.message


def test_paths_that_cannot_be_read_are_faults(tmp_path: Path) -> None:
    for path, fragment in [
        (tmp_path / "absent.yaml", "absent.yaml: no such file"),
        (tmp_path, "is a folder; pass the path of a grid file"),
        (tmp_path / ("x" * 300), "cannot be read: File name too long"),
        (Path("a\0b"), "cannot be read: embedded null byte"),
    ]:
        with pytest.raises(InputError, match=fragment):
            read_text(path)


def test_a_byte_order_mark_and_crlf_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_bytes(b"\xef\xbb\xbfname: a\r\nb:\r\n  - 1\r\n")
    document = parse_yaml(read_text(path), "f")
    assert document.data == {"name": "a", "b": [1]}
    assert document.values["b", 0] == (3, 5)


def test_values_are_formatted_on_one_line_in_yamls_words() -> None:
    assert [format_value(value) for value in (None, True, 0.5, "a\nb\x1b")] == ["null", "true", "0.5", r"'a\nb\x1b'"]
    assert format_value("x" * 100) == "'" + "x" * 56 + "..."
    assert dotted(("grid", "subset_size", 1)) == "grid.subset_size[1]"
    assert dotted(("a\n",)) == r"'a\n'"


@pytest.mark.parametrize("examples", [50, pytest.param(20_000, marks=pytest.mark.chaos)])
def test_any_text_is_data_or_faults(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(st.text() | st.text(alphabet="{}[]:,-?!&*#|>'\"%@\\ \n\tae1.<~"))
    def check(text: str) -> None:
        with suppress(InputError):
            parse_yaml(text, "f")

    check()
