"""Parquet files that somebody else made to look like parts, each under the name that its sha256 gives it."""

import hashlib
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.store.schemas import PART

MANY = 10_000_000


def put_part(folder: Path, content: bytes) -> str:
    """Put bytes among the parts under their own name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{hashlib.sha256(content).hexdigest()}.parquet"
    (folder / name).write_bytes(content)
    return name


def encode(*row_groups: pa.Table, **options: Any) -> bytes:  # noqa: ANN401 - of the writer
    """Write tables of one schema as the row groups of a file."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, row_groups[0].schema, compression="zstd", **options) as writer:
        for rows in row_groups:
            writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def with_column(rows: pa.Table, name: str, column: pa.Array, field: pa.Field | None = None) -> pa.Table:
    """Replace a column, and its field if one is given."""
    place = rows.schema.get_field_index(name)
    return rows.set_column(place, field or rows.schema.field(name), column)


def _extension_type(rows: pa.Table) -> bytes:
    return encode(with_column(rows, "trial_id", pa.array([bytes(16)], pa.uuid()), pa.field("trial_id", pa.uuid())))


def _extension_name(rows: pa.Table) -> bytes:
    """Give a column of the right type the name of one of Ray's extension types, which once unpickled its metadata."""
    metadata = {
        "ARROW:extension:name": "ray.data.arrow_tensor",
        "ARROW:extension:metadata": b"\x80\x04cos\nsystem\n(S'touch /tmp/owned'\ntR.",
    }
    return encode(with_column(rows, "host", rows["host"], PART.field("host").with_metadata(metadata)))


def _more_columns(rows: pa.Table) -> bytes:
    return encode(rows.append_column("more", pa.array(["x"])))


def _deep(rows: pa.Table) -> bytes:
    kind = pa.int64()
    for _ in range(200):
        kind = pa.list_(kind)
    return encode(rows.append_column("deep", pa.nulls(1, kind)))


def _other_types(rows: pa.Table) -> bytes:
    fields = [field.with_type(pa.float32()) if field.name == "seconds" else field for field in rows.schema]
    return encode(rows.cast(pa.schema(fields)))


def _nulls_where_none_may_be(rows: pa.Table) -> bytes:
    field = pa.field("trial_id", pa.string())
    return encode(with_column(rows, "trial_id", pa.nulls(1, pa.string()), field))


def _many_rows(rows: pa.Table) -> bytes:
    """Repeat one row: run lengths make millions of it a small file."""
    group = rows.take(pa.array(np.zeros(MANY // 100, np.int64)))
    flat = with_column(group, "epochs", pa.array([[]] * len(group), PART.field("epochs").type))
    flat = with_column(flat, "confusion", pa.nulls(len(group), PART.field("confusion").type))
    return encode(*[flat] * 30)


def _many_epochs(rows: pa.Table) -> bytes:
    kind = PART.field("epochs").type
    records = rows["epochs"].combine_chunks().flatten().take(pa.array(np.zeros(MANY, np.int32)))
    return encode(with_column(rows, "epochs", pa.ListArray.from_arrays([0, MANY], records, type=kind)))


def _long_string(rows: pa.Table) -> bytes:
    longest = with_column(rows, "trial_id", pa.array(["a" * 500_000_000]))
    return encode(longest, use_dictionary=False, write_statistics=False)


def _dictionary(rows: pa.Table) -> bytes:
    """Write one long string once, and refer to it from thousands of rows."""
    group = rows.take(pa.array(np.zeros(600, np.int64)))
    longest = pa.array(["a" * 1_000_000] * len(group))
    return encode(with_column(group, "trial_id", longest), dictionary_pagesize_limit=4_000_000)


def _string_of_many_rows(rows: pa.Table) -> bytes:
    """Refer from every row to one string, which as a page of so many rows is not too long."""
    group = rows.take(pa.array(np.zeros(10_000, np.int64)))
    group = with_column(group, "epochs", pa.array([[]] * len(group), PART.field("epochs").type))
    group = with_column(group, "confusion", pa.nulls(len(group), PART.field("confusion").type))
    host = pa.DictionaryArray.from_arrays(np.zeros(len(group), np.int32), ["a" * 2_500_000])
    return encode(with_column(group, "host", host, pa.field("host", host.type, nullable=False)), store_schema=False)


def _varint(number: int, length: int = 1) -> bytes:
    """Write a whole number as Thrift does, in at least so many bytes."""
    number *= 2
    groups: list[int] = []
    while number or len(groups) < length:
        groups.append(number & 127)
        number >>= 7
    return bytes([*(group | 128 for group in groups[:-1]), groups[-1]])


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Cut a file into its data and its footer, without the footer's length."""
    length: int = struct.unpack("<I", content[-8:-4])[0]
    return content[: -8 - length], content[-8 - length : -8]


def _with_footer(data: bytes, footer: bytes) -> bytes:
    return data + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _modest(content: bytes) -> bytes:
    """Have a footer say 1 wherever it says how much a column holds and that is much."""
    data, footer = _split(content)
    metadata = pq.read_metadata(pa.BufferReader(content))
    groups = map(metadata.row_group, range(metadata.num_row_groups))
    chunks = [group.column(place) for group in groups for place in range(metadata.num_columns)]
    for number in {size for chunk in chunks for size in (chunk.num_values, chunk.total_uncompressed_size)}:
        if number > 100_000:
            much = _varint(number)
            footer = footer.replace(much, _varint(1, len(much)))
    return _with_footer(data, footer)


def _many_levels(rows: pa.Table) -> bytes:
    """Tell of a column without lists or nulls how many values have each level: pyarrow may end the process for it."""
    data, footer = _split(encode(rows))
    bytes_of_ids = b"\x16" + _varint(pc.sum(pc.binary_length(rows["trial_id"])).as_py())
    no_levels = b"\x19\x06"
    assert footer.count(bytes_of_ids + no_levels) > 0
    five_levels = b"\x19\x56" + bytes(5)
    return _with_footer(data, footer.replace(bytes_of_ids + no_levels, bytes_of_ids + five_levels))


def _nested_header(rows: pa.Table) -> bytes:
    """Put lists in lists in lists where the first page's header should be."""
    content = encode(rows)
    return content[:4] + b"\xf9" + b"\x19" * 3000 + content[4:]


def _huge_metadata(rows: pa.Table) -> bytes:
    return encode(rows.replace_schema_metadata({"x": "a" * 20_000_000}))


def _lying_footer(rows: pa.Table) -> bytes:
    content = encode(rows)
    return content[:-8] + struct.pack("<I", 2**31 - 1) + content[-4:]


def _footer_alone(rows: pa.Table) -> bytes:
    return _with_footer(b"PAR1", _split(encode(rows))[1])


def _noise_in_footer(rows: pa.Table) -> bytes:
    data, footer = _split(encode(rows))
    return _with_footer(data, np.random.default_rng(0).bytes(len(footer)))


def truncations(content: bytes) -> Iterator[bytes]:
    """Cut a file at many places."""
    return (content[:length] for length in range(0, len(content), max(1, len(content) // 40)))


HOSTILE: dict[str, Callable[[pa.Table], bytes]] = {
    "an extension type": _extension_type,
    "an extension's name": _extension_name,
    "more columns": _more_columns,
    "200 lists in one another": _deep,
    "other types": _other_types,
    "nulls where none may be": _nulls_where_none_may_be,
    "three million rows of a few bytes": _many_rows,
    "ten million epochs of a few bytes": _many_epochs,
    "one string of 500 MB": _long_string,
    "a dictionary with one long string": _dictionary,
    "ten million epochs that the footer hides": lambda rows: _modest(_many_epochs(rows)),
    "a string of 500 MB that the footer hides": lambda rows: _modest(_long_string(rows)),
    "a dictionary that the footer hides": lambda rows: _modest(_dictionary(rows)),
    "a large string in many rows": _string_of_many_rows,
    "levels of a column that has none": _many_levels,
    "3,000 lists in one another in a page's header": _nested_header,
    "20 MB of metadata": _huge_metadata,
    "a footer that lies about its length": _lying_footer,
    "a footer without data": _footer_alone,
    "noise in the footer": _noise_in_footer,
}
