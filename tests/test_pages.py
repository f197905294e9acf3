"""What the pages of a part take in memory is known before they are read, whatever the footer says."""

import pyarrow as pa
import pytest
from support.hostile_parts import HOSTILE, encode
from support.part_tables import part_table

from jobs.store.pages import check_size
from jobs.store.part_bytes import decode_part, parquet_bytes
from jobs.store.schemas import PART
from jobs.store.thrift import BINARY, I32, I64, STRUCT, Fields, Reader

STRINGS = pa.schema([pa.field("name", pa.string(), nullable=False)])


@pytest.mark.parametrize("trials", [1, 100, 3000])
def test_a_part_of_ours_takes_no_more_than_is_said_and_is_far_from_refused(trials: int) -> None:
    content = parquet_bytes(part_table(range(trials)), part_table(range(trials)))
    rows = decode_part(content, PART.names)
    assert rows is not None
    check_size(content, LEAVES, max(1 << 26, 64 * len(content)) // 2)
    with pytest.raises(ValueError, match="are left"):
        check_size(content, LEAVES, rows.nbytes - 1)


def _leaf_types(fields: pa.Schema | pa.StructType) -> list[pa.DataType]:
    kinds: list[pa.DataType] = []
    for field in fields:
        inner = field.type.value_type if pa.types.is_list(field.type) else field.type
        kinds += _leaf_types(inner) if pa.types.is_struct(inner) else [inner]
    return kinds


LEAVES = [pa.types.is_string(kind) for kind in _leaf_types(PART)]


def test_a_string_that_many_rows_refer_to_counts_for_each_of_them() -> None:
    content = encode(pa.table({"name": ["a" * 1000] * 10_000}, STRINGS))
    assert len(content) < 5000
    with pytest.raises(ValueError, match="are left"):
        check_size(content, [True], 1000 * 10_000)


def test_a_column_that_is_not_read_does_not_count() -> None:
    check_size(encode(pa.table({"name": ["a" * 1000] * 10_000}, STRINGS)), [None], 0)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip"])
def test_pages_that_no_writer_of_ours_compressed_are_refused(compression: str) -> None:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(part_table(range(2)), sink, compression=compression)
    assert decode_part(sink.getvalue().to_pybytes(), PART.names) is None


def test_an_encoding_in_which_bytes_stand_for_many_strings_is_refused() -> None:
    encoded = encode(part_table(range(2)), use_dictionary=False, column_encoding={"host": "DELTA_BYTE_ARRAY"})
    assert decode_part(encoded, ["host"]) is None
    assert decode_part(encoded, ["trial_id"]) is not None


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind.endswith("the footer hides")])
def test_a_page_counts_as_it_is_and_not_as_the_footer_says(kind: str) -> None:
    content = HOSTILE[kind](part_table(range(1)))
    with pytest.raises(ValueError, match="are left"):
        check_size(content, LEAVES, 100_000_000)


# Thrift: a field is its distance from the last and its type, in one byte; 0 ends a struct; whole numbers are zigzag.


def test_the_fields_asked_for_are_read_and_all_others_passed_over() -> None:
    content = bytes(
        [0x15, 2, 0x16, 3, 0x18, 2, 65, 66, 0x11, 0x1C, 0x15, 8, 0, 0x17, *bytes(8), 0x13, 9, 0x15, 0x80, 2, 0]
    )
    fields: Fields = {2: I64, 3: BINARY, 5: {1: I32}, 8: I32}
    assert Reader(content).struct(fields) == {2: -2, 3: b"AB", 5: {1: 4}, 8: 128}


def test_a_list_is_read_or_passed_over_as_asked() -> None:
    content = bytes([0x19, 0x2C, 0x15, 2, 0, 0x15, 4, 0, 0x19, 0x25, 1, 2, 0x15, 6, 0])
    assert Reader(content).struct({1: [{1: I32}], 2: -I32, 3: I32}) == {1: [{1: 1}, {1: 2}], 2: None, 3: 3}
    assert Reader(content).struct({1: -STRUCT, 2: -I32, 3: I32})[3] == 3


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([0x19, 0x23, 1, 2, 0], id="a list of other items than are said to be there"),
        pytest.param([0x29, 0x25, 1, 2, 0], id="a list that is not asked for"),
        pytest.param([0x45, 2, 0x05, 8, 4, 0], id="a field that comes twice"),
        pytest.param([0x05, 0x88, 0x80, 0x08, 2, 0], id="a field of more than 16 bits, which would be cut"),
        pytest.param([0x45, *[0xFF] * 10, 0, 0], id="a number of more than 64 bits"),
        pytest.param([0x28, 5, 65, 0], id="bytes that end early"),
        pytest.param([0x2B, 0, 0], id="a map"),
        pytest.param([0x2E, 0], id="a type that there is none of"),
        pytest.param([0x2C] * 5000, id="structs in structs"),
        pytest.param([0x45], id="the end"),
        pytest.param([], id="nothing"),
    ],
)
def test_bytes_that_readers_may_take_differently_are_no_struct(content: list[int]) -> None:
    with pytest.raises((ValueError, IndexError, RecursionError)):
        Reader(bytes(content)).struct({1: -I32, 4: I32})
