"""How much memory columns of a part take, as the headers of their pages say: Arrow makes room for just that.

The sizes in a footer are claims to which nothing holds a hostile writer. pyarrow shows no headers of pages, and its
`RowGroup.column` ends the process, past any `except`, where the statistics in a footer do not fit its schema. So both
are read here, as the Parquet format has them (https://github.com/apache/parquet-format).
"""

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from jobs.store.thrift import BINARY, I32, I64, STRUCT, Fields, Reader

_MAGIC = b"PAR1"
_TAIL = 4 + len(_MAGIC)  # the footer's length comes before
_DATA, _DICTIONARY = 0, 2  # pages
_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY = 0, 2, 3, 8
# Of the other encodings, a few bytes may stand for many strings.
_ENCODINGS = (_PLAIN, _PLAIN_DICTIONARY, _RLE, _RLE_DICTIONARY)
_ZSTD = 6
_BYTES_A_VALUE = 16  # a number or the place of a string, with the levels of lists and nulls

# By the ids of their fields: of a page's header its type, sizes, values and encoding; of a column the lists that it
# has, where its pages lie and how they are compressed, or the largest of its values; of a footer its lists.
_PAGE: Fields = {1: I32, 2: I32, 3: I32, 5: {1: I32, 2: I32}, 7: {1: I32, 2: I32}}
_LISTS: Fields = {2: -I32, 3: -BINARY, 13: -STRUCT, 16: {2: -I64, 3: -I64}}
_PASSED: Fields = {3: _LISTS}
_PAGES: Fields = {3: {**_LISTS, 4: I32, 7: I64, 9: I64, 11: I64}}
_LARGEST: Fields = {3: {**_LISTS, 3: [BINARY], 12: {5: BINARY}}}
_FOOTER: Fields = {2: -STRUCT, 5: -STRUCT, 7: -STRUCT}


def footer_length(content: bytes) -> int:
    """Return how many bytes a Parquet file says that its footer has."""
    return int.from_bytes(content[-_TAIL : -len(_MAGIC)], "little")


def check_size(content: bytes, leaves: Sequence[bool | None], most: int) -> None:
    """Raise ValueError where leaf columns may take more bytes than `most` when they are read, or a page is not ours.

    `leaves` says of each whether it holds strings, and None where it is not read.
    """
    wanted = [_PASSED if has_strings is None else _PAGES for has_strings in leaves]
    size = 0
    try:
        for group in _row_groups(content, {1: wanted, 3: I64}):
            for has_strings, chunk in zip(leaves, group[1], strict=True):
                if has_strings is not None:
                    size += _of_chunk(content, chunk[3], group[3], has_strings, most - size)
    except (IndexError, KeyError, RecursionError, struct.error) as error:
        raise ValueError(f"there is no page where the footer says so: {error}") from error


def largest_strings(content: bytes, column: str) -> list[str]:
    """Return the largest value of a column of strings in every row group that tells it; raises ValueError."""
    try:
        columns = [chunk[3] for group in _row_groups(content, {1: [_LARGEST]}) for chunk in group[1]]
        of_column = [each[12] for each in columns if each[3] == [column.encode()] and 12 in each]
        return [statistics[5].decode() for statistics in of_column if 5 in statistics]
    except (IndexError, KeyError, RecursionError) as error:
        raise ValueError(f"the footer has no field {error}") from error


def _row_groups(content: bytes, fields: Fields) -> list[dict[int, Any]]:
    """Read fields of every row group in the footer."""
    footer = content[-_TAIL - footer_length(content) : -_TAIL]
    groups: list[dict[int, Any]] = Reader(footer).struct({**_FOOTER, 4: [fields]})[4]
    return groups


def _of_chunk(content: bytes, column: Mapping[int, Any], rows: int, has_strings: bool, most: int) -> int:
    """Bound the bytes that the pages of a column in a row group take, and the room for as many rows."""
    first, dictionary = column[9], column.get(11, 0)
    at = dictionary if 0 < dictionary < first else first
    end = at + column[7]
    if column[4] != _ZSTD or at < 0 or end > len(content) or rows < 0:
        raise ValueError(f"a column of {rows} rows lies from {at} to {end}")
    size = rows * _BYTES_A_VALUE
    longest = 0
    while at < end:
        reader = Reader(content, at)
        page = reader.struct(_PAGE)
        kind, decompressed, compressed = page[1], page[2], page[3]
        head = page[7 if kind == _DICTIONARY else 5]
        values, encoding = head[1], head[2]
        at = reader.at + compressed
        if kind not in (_DATA, _DICTIONARY) or encoding not in _ENCODINGS or min(decompressed, compressed, values) < 0:
            raise ValueError(f"a page of type {kind}, encoding {encoding}, with {values} values")
        size += decompressed + values * (_BYTES_A_VALUE + longest)
        if size > most:
            raise ValueError(f"{size} bytes, where {most} are left")
        if kind == _DICTIONARY and has_strings:
            longest = max(longest, _longest(content[reader.at : at], decompressed, values))
    if at != end:
        raise ValueError(f"a page ends at {at}, behind its column")
    return size


def _longest(compressed: bytes, size: int, strings: int) -> int:
    """Return the length of the longest string in a dictionary page."""
    page = pa.decompress(compressed, size, codec="zstd", asbytes=True)
    at = longest = 0
    for _ in range(strings):
        (length,) = struct.unpack_from("<I", page, at)
        at += 4 + length
        longest = max(longest, length)
    return longest
