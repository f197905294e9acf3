"""Parts: the Parquet files that tasks write, one row per finished trial.

A trial is finished when a part holds its row. A part is named by the sha256 of its bytes, so damage is found without
any other record.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.errors import StoreError
from jobs.store.layout import COMPACTION_LOCK, PARTS, Store, is_part_name
from jobs.store.part_bytes import part_name as part_name
from jobs.store.part_bytes import read_part_bytes, read_parts_bytes
from jobs.store.part_cache import part_cache
from jobs.store.part_index import LIGHT, PartIndex
from jobs.store.schemas import PART
from jobs.store.weights import stored_weights

PART_FORMAT = "3"  # raise it whenever the columns of PART change, so that other versions recognise such parts
ROW_ORDER = ("finished_at", "attempt", "host", "seconds")  # of several rows of one trial, the first counts
INDEX = ("trial_id", "weights_sha256", *ROW_ORDER)  # the columns that decide which row of a trial counts
FORMAT_KEY, VERSION_KEY = b"mnistjobs.format", b"mnistjobs.version"  # in the metadata of a part
# The first edition wrote no such metadata; its parts are recognised by these columns.
_FIRST_EDITION = "0.1"
_FIRST_EDITION_COLUMNS = ("trial_id", "dataset_fingerprint", "weights_sha256", "mnistjobs_version")
# What a footer may make its reader allocate. The footer of a part has about 10 KB for each of its up to 9 row groups.
_MAX_FOOTER_STRING = 1 << 20  # bytes
_MAX_FOOTER_ITEMS = 10_000
_MAX_VERSION_LENGTH = 40
_MAX_LISTINGS = 10  # of a folder whose parts keep disappearing, before reading it is given up


@dataclass(frozen=True)
class Parts:
    """Rows read from parts (schema PART, one per trial), and the names of the parts that cannot be used."""

    table: pa.Table
    damaged: tuple[str, ...]


# Writing


def write_part(store: Store, *row_groups: pa.Table) -> str:
    """Commit rows as one new part.

    Args:
        store: where to write it.
        row_groups: rows of the schema PART; each table becomes a row group.

    Returns:
        The part's name.

    Raises:
        StoreError: the part cannot be written; it is not in the store then.
    """
    content = encode_part(*row_groups)
    name = part_name(content)
    store.backend.put(f"{PARTS}{name}", content)
    return name


def parquet_bytes(*row_groups: pa.Table) -> bytes:
    """Encode tables of one schema as the row groups of a Parquet file, with a checksum on every page."""
    return encode_stream(row_groups[0].schema, row_groups)


def encode_stream(schema: pa.Schema, row_groups: Iterable[pa.Table]) -> bytes:
    """Encode tables as `parquet_bytes` does, taking one at a time."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, schema, compression="zstd", write_page_checksum=True) as writer:
        for rows in row_groups:
            writer.write_table(rows)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def encode_part(*row_groups: pa.Table) -> bytes:
    """Encode rows (schema PART) as the row groups of a part."""
    schema = PART.with_metadata({FORMAT_KEY: PART_FORMAT, VERSION_KEY: version("mnistjobs")})
    return parquet_bytes(*(rows.cast(schema) for rows in row_groups))


# Reading


def stored_ids(store: Store) -> frozenset[str]:
    """Return the ids of all trials that an undamaged part holds."""
    parts = (rows for _, rows in scan_parts(store, ["trial_id"]) if rows is not None)
    return frozenset(trial_id for rows in parts for trial_id in rows["trial_id"].to_pylist())


def is_stored(store: Store, part: str, trial_ids: Collection[str]) -> bool:
    """Return whether a part exists or, where a compaction has merged it, other parts hold its trials."""
    return store.backend.head(f"{PARTS}{part}") is not None or stored_ids(store).issuperset(trial_ids)


def read_parts(
    store: Store, trial_ids: Collection[str], columns: Sequence[str] = tuple(PART.names), use_cache: bool = True
) -> Parts:
    """Read the rows of some trials.

    Args:
        store: where to read them.
        trial_ids: the trials, in the order in which to return their rows; those without a row are left out.
        columns: of PART, which to read.
        use_cache: whether a copy that an earlier reading of a bucket has kept may be used.

    Returns:
        One row per trial (where parts hold several, the one that `first_rows` selects), and the unusable parts.

    Raises:
        StoreError: the store cannot be read.
    """
    asked = frozenset(trial_ids)
    found, damaged = [PART.empty_table().select([*_needed(columns)])], []
    for name, rows in scan_parts(store, _needed(columns), use_cache):
        if rows is None:
            damaged.append(name)
        else:
            found.append(rows.filter(pa.array([each in asked for each in rows["trial_id"].to_pylist()], pa.bool_())))
    table = pa.concat_tables(found)
    first = first_rows(store, table)
    order = pa.array([first[trial_id] for trial_id in trial_ids if trial_id in first], pa.int64())
    return Parts(table.select(columns).take(order).combine_chunks(), tuple(sorted(damaged)))


def _needed(columns: Sequence[str]) -> list[str]:
    """Add the columns by which the rows of one trial are ordered."""
    return list(dict.fromkeys([*columns, *INDEX]))


def first_rows(store: Store, rows: pa.Table) -> dict[str, int]:
    """Return, by trial, the index of the row that counts: of several whose weights are stored, the first to finish.

    Where the weights were lost and the trial was trained again, the later row counts. Otherwise the order (ROW_ORDER)
    depends on the rows alone, so that merging parts does not change it. Rows that agree in all of ROW_ORDER are copies
    of one row. `rows` needs the columns INDEX.

    Raises:
        StoreError: the folder of the weights cannot be read.
    """
    trial_ids = rows["trial_id"].to_pylist()
    if len(set(trial_ids)) == len(trial_ids):
        return dict(zip(trial_ids, range(len(trial_ids)), strict=True))
    weights = stored_weights(store)
    is_lost = pa.array([sha256 not in weights for sha256 in rows["weights_sha256"].to_pylist()], pa.bool_())
    keys = ("is_lost", *ROW_ORDER)
    order = pc.sort_indices(rows.append_column("is_lost", is_lost), [(name, "ascending") for name in keys]).to_pylist()
    return {trial_ids[index]: index for index in reversed(order)}


def scan_parts(
    store: Store, columns: Sequence[str], use_cache: bool = True, skip: Collection[str] = ()
) -> Iterator[tuple[str, pa.Table | None]]:
    """Yield each part's name and these columns of its rows; None instead of rows where the part cannot be used.

    A compaction may delete parts meanwhile, after writing their rows to another one, so the folder is listed again
    until nothing has disappeared. A row may then come more than once.

    Args:
        store: where to read.
        columns: of PART, which to read.
        use_cache: whether a copy that an earlier reading of a bucket has kept may be used.
        skip: names of parts that are not read.

    Raises:
        StoreError: the folder or a part cannot be read, or parts keep disappearing.
    """
    seen: set[str] = set(skip)
    index = None
    if use_cache and store.is_remote and set(columns) <= set(LIGHT):
        index = PartIndex(store, part_cache(), PART_FORMAT)
    for listing in range(_MAX_LISTINGS):
        has_lost_one, before = False, store.backend.lock_state(COMPACTION_LOCK)
        names = [name for name in store.backend.names(PARTS) if is_part_name(name) and name not in seen]
        seen.update(names)
        for name, rows in _read_rows(store, names, columns, index, use_cache):
            if rows is None and not store.backend.is_taken(f"{PARTS}{name}"):
                has_lost_one = True
            else:
                yield name, rows
        # A single listing may miss both a deleted part and the one that replaces it, unless nobody has compacted.
        is_settled = listing > 0 or (before is not None and before == store.backend.lock_state(COMPACTION_LOCK))
        if is_settled and not has_lost_one:
            if index:
                index.save(seen)
            return
    raise StoreError(f"{store.locate(PARTS)}: parts disappeared during each of {_MAX_LISTINGS} readings; read again")


def _read_rows(
    store: Store, names: Sequence[str], columns: Sequence[str], index: PartIndex | None, use_cache: bool
) -> Iterator[tuple[str, pa.Table | None]]:
    """Yield parts with these columns in this order; those that an index has are not opened."""
    known = {name for name in names if index and name in index}
    reading = read_parts_bytes(store, [name for name in names if name not in known], use_cache)
    for name in names:
        if index and name in known:
            yield name, index.rows(name, columns)
            continue
        _, content = next(reading)
        rows = None if content is None else decode_part(content, LIGHT if index else columns)
        if index and rows is not None:
            index.add(name, rows)
            rows = rows.select(list(columns))
        yield name, rows


def read_part(store: Store, name: str, columns: Sequence[str]) -> pa.Table | None:
    """Read columns of a part, or return None where it is missing or cannot be used; its name verifies every byte."""
    content = read_part_bytes(store, name)
    return None if content is None else decode_part(content, columns)


def decode_part(content: bytes, columns: Sequence[str]) -> pa.Table | None:
    """Read columns of a part whose bytes have been verified, or return None where it is not a part of this format."""
    try:
        file = _open(content)
        if not _is_current(file.schema_arrow):
            return None
        rows = file.read(columns=list(columns), use_threads=False)
        rows.validate(full=True)
    except (pa.ArrowException, OSError, ValueError):  # ValueError: a name is not UTF-8
        return None
    return rows.replace_schema_metadata(None)


def foreign_version(content: bytes) -> str | None:
    """Return which version of mnistjobs, and in which format, wrote a part of another format; None where none did.

    Only the footer is read.
    """
    try:
        schema = _open(content).schema_arrow
    except (pa.ArrowException, OSError, ValueError):
        return None
    if _is_current(schema):
        return None
    metadata = schema.metadata or {}
    if FORMAT_KEY in metadata:
        facts = (metadata.get(VERSION_KEY, b"unknown"), b"part format " + metadata[FORMAT_KEY])
        return ", ".join(str(fact[:_MAX_VERSION_LENGTH], "utf-8", "backslashreplace") for fact in facts)
    is_first = all(name in schema.names and schema.field(name).type == pa.string() for name in _FIRST_EDITION_COLUMNS)
    return _FIRST_EDITION if is_first else None


def _open(content: bytes) -> pq.ParquetFile:
    """Open a Parquet file and read its footer; raises ValueError, OSError or an ArrowException."""
    return pq.ParquetFile(
        pa.BufferReader(content),
        page_checksum_verification=True,
        thrift_string_size_limit=_MAX_FOOTER_STRING,
        thrift_container_size_limit=_MAX_FOOTER_ITEMS,
    )


def _is_current(schema: pa.Schema) -> bool:
    """Return whether a file's schema is PART, in the format of this version.

    Metadata is compared by its keys: the wording of a description may change between versions, but a foreign key, such
    as the name of an extension type, is refused.
    """
    metadata = schema.metadata or {}
    return (
        metadata.keys() == {FORMAT_KEY, VERSION_KEY}
        and metadata[FORMAT_KEY] == PART_FORMAT.encode()
        and _outline(schema) == _expected_outline()
    )


def _outline(fields: Iterable[pa.Field]) -> list[Any]:
    """Describe fields by name, type, nullability and metadata keys, and the fields nested in them likewise."""
    return [
        (field.name, field.type, field.nullable, sorted(field.metadata or {}), _outline(_children(field.type)))
        for field in fields
    ]


def _children(kind: pa.DataType) -> list[pa.Field]:
    return [kind.field(index) for index in range(kind.num_fields)]


@cache
def _expected_outline() -> list[Any]:
    """Describe PART as Parquet returns it: the elements of lists have another name there."""
    # Not PART.empty_table(): where pandas is installed, that imports it, a quarter of a second.
    content = parquet_bytes(pa.Table.from_batches([], PART))
    return _outline(_open(content).schema_arrow)
