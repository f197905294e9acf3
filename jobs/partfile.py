"""The bytes of a part: Parquet of the schema PART, known by their sha256, read within bounded memory.

A part's name vouches for its bytes, not for whoever wrote them: what no task of ours writes is refused before it is
decoded, as a few bytes of Parquet can stand for gigabytes.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.schemas import PART

# A row of ours takes more bytes than this by its ids alone, which nothing compresses.
_LEAST_BYTES_A_ROW = 16
_MOST_ROWS_UNCHECKED = 10_000
# So does a value: every epoch took its own time.
_LEAST_BYTES_A_VALUE = 0.25
_MOST_VALUES_UNCHECKED = 1_000_000
_MOST_BYTES_OF_STRINGS = (1 << 16, 256)  # of a column of a row group, and for each of its rows
# What a part has had in every version; the last says which.
_SIGNATURE = ("trial_id", "dataset_fingerprint", "weights_sha256", "mnistjobs_version")
_LONGEST_VERSION = 40


def parquet_bytes(*row_groups: pa.Table) -> bytes:
    """Encode tables of one schema as the row groups of a Parquet file, with a checksum on every page."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, row_groups[0].schema, compression="zstd", write_page_checksum=True) as writer:
        for rows in row_groups:
            writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def part_name(content: bytes) -> str:
    """Name a part by its bytes."""
    return f"{hashlib.sha256(content).hexdigest()}.parquet"


def decode_part(content: bytes, columns: Sequence[str]) -> pa.Table | None:
    """Read columns of a part whose name fits its bytes, or None where no task of ours wrote it."""
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        # Metadata count: an extension type is one of ours with a name that makes some library run code.
        if not file.schema_arrow.equals(_schema_in_files(), check_metadata=True) or _is_blown_up(
            file.metadata, len(content)
        ):
            return None
        rows = file.read(columns=list(columns), use_threads=False)
        rows.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):  # ValueError: names that are no UTF-8
        return None
    return rows


@cache
def _schema_in_files() -> pa.Schema:
    """Return PART as Parquet gives it back: it has a word of its own for the elements of a list."""
    return pq.read_schema(pa.BufferReader(parquet_bytes(PART.empty_table())))


def _is_blown_up(metadata: pq.FileMetaData, size: int) -> bool:
    """Tell whether a part of so many bytes would take memory that they do not account for."""
    if metadata.num_rows > max(_MOST_ROWS_UNCHECKED, size / _LEAST_BYTES_A_ROW):
        return True
    values = dict.fromkeys(range(metadata.num_columns), 0)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for place in values:
            chunk = group.column(place)
            values[place] += chunk.num_values
            most = _MOST_BYTES_OF_STRINGS[0] + _MOST_BYTES_OF_STRINGS[1] * group.num_rows
            if chunk.physical_type == "BYTE_ARRAY" and chunk.total_uncompressed_size > most:
                return True
    return max(values.values()) > max(_MOST_VALUES_UNCHECKED, size / _LEAST_BYTES_A_VALUE)


def writer_version(content: bytes) -> str | None:
    """Return the version of mnistjobs that wrote a part whose schema is not today's, or None where it is no such part.

    It is told by the statistics of the column; nothing is decoded.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        schema = file.schema_arrow
        if schema.equals(_schema_in_files()):
            return None
        if any(name not in schema.names or schema.field(name).type != pa.string() for name in _SIGNATURE):
            return None
        groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
        chunks = (group.column(place) for group in groups for place in range(group.num_columns))
        found = {
            str(chunk.statistics.max)[:_LONGEST_VERSION]
            for chunk in chunks
            if chunk.path_in_schema == _SIGNATURE[-1] and chunk.statistics and chunk.statistics.has_min_max
        }
    except (pa.ArrowException, OSError, ValueError):
        return None
    return max(found, default="unknown")
