"""Parquet files of other programs that look like parts, each under the name that its sha256 gives it."""

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from jobs.store.parts import FORMAT_KEY, PART_FORMAT, VERSION_KEY, parquet_bytes
from jobs.store.schemas import PART
from support.part_tables import part_table


def put_part(folder: Path, content: bytes) -> str:
    """Put bytes among the parts under their own name."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{hashlib.sha256(content).hexdigest()}.parquet"
    (folder / name).write_bytes(content)
    return name


METADATA = {FORMAT_KEY.decode(): PART_FORMAT, VERSION_KEY.decode(): "9.9"}


def encode(rows: pa.Table, metadata: Mapping[str, str] | None = None) -> bytes:
    """Write rows with the metadata of a part and more."""
    return parquet_bytes(rows.replace_schema_metadata({**METADATA, **(metadata or {})}))


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


def _split(content: bytes) -> tuple[bytes, bytes]:
    """Cut a file into its data and its footer, without the footer's length."""
    length: int = struct.unpack("<I", content[-8:-4])[0]
    return content[: -8 - length], content[-8 - length : -8]


def _with_footer(data: bytes, footer: bytes) -> bytes:
    return data + footer + struct.pack("<I", len(footer)) + b"PAR1"


def _huge_metadata(rows: pa.Table) -> bytes:
    return encode(rows, {"x": "a" * 20_000_000})


def _more_metadata(rows: pa.Table) -> bytes:
    return encode(rows, {"pandas": "{}"})


def _metadata_of_a_nested_field(rows: pa.Table) -> bytes:
    settings = rows["settings"].combine_chunks()
    fields = [field.with_metadata({"x": "y"}) if field.name == "seed" else field for field in settings.type]
    column = pa.StructArray.from_arrays(settings.flatten(), fields=fields)
    return encode(with_column(rows, "settings", column, PART.field("settings").with_type(column.type)))


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
    "20 MB of metadata": _huge_metadata,
    "metadata of another program": _more_metadata,
    "metadata of a nested field": _metadata_of_a_nested_field,
    "a footer that lies about its length": _lying_footer,
    "a footer without data": _footer_alone,
    "noise in the footer": _noise_in_footer,
}


def first_edition_part(rows: pa.Table) -> bytes:
    """Write rows as mnistjobs 0.1 did: without a format in the metadata, with the columns of a part."""
    plain = pa.schema([field.remove_metadata() for field in rows.schema])
    return parquet_bytes(rows.cast(plain).replace_schema_metadata(None))


def foreign_part(rows: int = 1) -> bytes:
    """Make a part as version 9.9, which has one column more, would write it."""
    table = part_table(range(rows))
    return parquet_bytes(
        table.append_column("more", pa.array(["x"] * rows)).replace_schema_metadata(
            {FORMAT_KEY: "99", VERSION_KEY: "9.9"}
        )
    )
