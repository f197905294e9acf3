"""The store: the folder that holds all results, its parts and its weights.

A trial is finished when its row stands in a part, and a part is known by the sha256 of its bytes; there is nothing
else to keep in step.
"""

import hashlib
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.errors import StoreError
from jobs.files import names, read_file, write_file
from jobs.schemas import PART


@dataclass(frozen=True)
class Store:
    """Name the folders of a store; what lies in them is read and written by the functions below."""

    root: Path

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"


@dataclass(frozen=True)
class Parts:
    """What was read from parts: their rows (schema PART, one per trial), and the names of damaged files."""

    table: pa.Table
    damaged: tuple[str, ...]


def open_store(path: Path) -> Store:
    """Check that a path can be a store, without writing to it; raises StoreError."""
    if re.match(r"[a-z][a-z0-9+.-]*:/", str(path)):
        raise StoreError(f"store '{path}': is a URL; allowed: a folder, which every node of the cluster can reach")
    store = Store(path.absolute())
    for folder in (path, store.parts, store.weights, store.jobs):
        try:
            is_something_else = folder.exists() and not folder.is_dir()
        except OSError as error:
            raise StoreError(f"store '{folder}': cannot be read: {error.strerror}; allowed: a folder") from error
        if is_something_else:
            raise StoreError(f"store '{folder}': is not a folder; allowed: a folder, made if it does not exist")
    return store


def parquet_bytes(table: pa.Table) -> bytes:
    """Encode a table as Parquet with a checksum on every page."""
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    content: bytes = sink.getvalue().to_pybytes()
    return content


def write_part(store: Store, table: pa.Table) -> str:
    """Commit rows (schema PART) as one new part and return its name."""
    content = parquet_bytes(table.cast(PART))
    name = f"{hashlib.sha256(content).hexdigest()}.parquet"
    write_file(store.parts / name, content)
    return name


def write_weights(store: Store, trial_id: str, weights: Mapping[str, NDArray[Any]]) -> str:
    """Write a trial's weights and return the sha256 of the file; belongs before the part that names them."""
    from safetensors.numpy import save

    content = save({name: np.ascontiguousarray(value) for name, value in weights.items()})
    write_file(store.weights / f"{trial_id}.safetensors", content)
    return hashlib.sha256(content).hexdigest()


def read_weights(store: Store, trial_id: str, sha256: str) -> dict[str, NDArray[Any]] | None:
    """Read a trial's weights, or None where the file is missing or its bytes do not hash to `sha256`."""
    from safetensors.numpy import load

    content = read_file(store.weights / f"{trial_id}.safetensors")
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        return None
    arrays: dict[str, NDArray[Any]] = load(content)
    return arrays


def stored_ids(store: Store) -> frozenset[str]:
    """Return the ids of all trials that stand in an undamaged part."""
    # One column is a sixth of the work, and the hash has vouched for the others.
    parts = (rows for _, rows in _parts(store, ["trial_id"]) if rows is not None)
    return frozenset(trial_id for rows in parts for trial_id in rows["trial_id"].to_pylist())


def read_parts(store: Store, trial_ids: Collection[str]) -> Parts:
    """Read the rows of the given trials, in the order given.

    Where two parts hold one trial, the part whose name sorts first is taken.
    """
    wanted = pa.array(trial_ids, pa.string())
    found, damaged = [PART.empty_table()], []
    for name, rows in _parts(store):
        if rows is None:
            damaged.append(name)
        else:
            found.append(rows.filter(pc.is_in(rows["trial_id"], wanted)))
    table = pa.concat_tables(found)
    first = {trial_id: row for row, trial_id in reversed(list(enumerate(table["trial_id"].to_pylist())))}
    rows = pa.array([first[trial_id] for trial_id in trial_ids if trial_id in first], pa.int64())
    return Parts(table.take(rows).combine_chunks(), tuple(damaged))


def _parts(store: Store, columns: list[str] | None = None) -> Iterator[tuple[str, pa.Table | None]]:
    """Yield every part by name with its rows, None where it is damaged: not, to the byte, what a task wrote."""
    for name in names(store.parts):
        if name.endswith(".parquet"):
            yield name, _read_part(store.parts / name, columns)


def _read_part(path: Path, columns: list[str] | None) -> pa.Table | None:
    content = read_file(path)
    if content is None or hashlib.sha256(content).hexdigest() != path.stem:
        return None
    # Whoever gave a file its right name may still not be a task of ours.
    try:
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        if not file.schema_arrow.equals(PART):
            return None
        rows = file.read(columns=columns)
        rows.validate(full=True)
    except (pa.ArrowException, OSError):
        return None
    return rows
