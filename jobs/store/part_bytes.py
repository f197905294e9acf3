"""The bytes of a part: Parquet of the schema PART, known by their sha256, read within bounded memory.

A part's name vouches for its bytes, not for whoever wrote them: what no task of ours writes is refused before it is
decoded, as a few bytes of Parquet can stand for gigabytes.
"""

import hashlib
from collections.abc import Sequence
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.store.pages import check_size, footer_length, largest_strings
from jobs.store.schemas import PART

# What a part may take in memory, once read, and how often its own size.
_MOST_UNCHECKED = 1 << 26
_MOST_TIMES = 64
# Arrow makes of a footer some hundred times its size. One of ours has 9 KB for each of its up to 8 row groups.
_MOST_OF_FOOTER = 1 << 20
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
        file = _open(content)
        # Metadata count: an extension type is one of ours with a name that makes some library run code.
        if not file.schema_arrow.equals(_schema_in_files(), check_metadata=True):
            return None
        leaves = [has_strings if name in columns else None for name, has_strings in _leaves()]
        check_size(content, leaves, max(_MOST_UNCHECKED, _MOST_TIMES * len(content)))
        rows = file.read(columns=list(columns), use_threads=False)
        rows.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):  # ValueError: names that are no UTF-8
        return None
    return rows


def _open(content: bytes) -> pq.ParquetFile:
    """Open a part; raises ValueError or one of pyarrow's errors where it is none."""
    if footer_length(content) > _MOST_OF_FOOTER:
        raise ValueError("the footer is longer than any of ours")
    return pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)


def _empty() -> pq.ParquetFile:
    # Not PART.empty_table(): where pandas is installed, that imports it, a quarter of a second.
    return pq.ParquetFile(pa.BufferReader(parquet_bytes(pa.Table.from_batches([], PART))))


@cache
def _schema_in_files() -> pa.Schema:
    """Return PART as Parquet gives it back: it has a word of its own for the elements of a list."""
    return _empty().schema_arrow


@cache
def _leaves() -> tuple[tuple[str, bool], ...]:
    """Return of each leaf column of PART, in the order of a file, its column and whether it holds strings."""
    schema = _empty().metadata.schema
    leaves = map(schema.column, range(len(schema)))
    return tuple((leaf.path.partition(".")[0], leaf.physical_type == "BYTE_ARRAY") for leaf in leaves)


def writer_version(content: bytes) -> str | None:
    """Return the version of mnistjobs that wrote a part whose schema is not today's, or None where it is no such part.

    It is told by the statistics of the column; nothing is decoded.
    """
    try:
        file = _open(content)
        schema = file.schema_arrow
        if schema.equals(_schema_in_files()):
            return None
        if any(name not in schema.names or schema.field(name).type != pa.string() for name in _SIGNATURE):
            return None
        return max(largest_strings(content, _SIGNATURE[-1]), default="unknown")[:_LONGEST_VERSION]
    except (pa.ArrowException, OSError, ValueError):
        return None
