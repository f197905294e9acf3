"""The store: the folder that holds all results, its parts and its weights.

A trial is finished when its row stands in a part, and a part is known by the sha256 of its bytes; there is nothing
else to keep in step.
"""

import hashlib
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.errors import StoreError
from jobs.store.atomic_files import names, read_file, write_file, write_files
from jobs.store.part_bytes import decode_part, part_name
from jobs.store.part_bytes import parquet_bytes as parquet_bytes
from jobs.store.schemas import PART

ROW_ORDER = ("finished_at", "attempt", "host", "seconds")  # of several rows of one trial, the first counts
_TRIAL_ID = re.compile(r"[0-9a-f]{32}")
_LISTINGS = 10  # of the parts, before a reader gives up on a folder from which parts keep going


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
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

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


def write_part(store: Store, *row_groups: pa.Table) -> str:
    """Commit rows (schema PART) as one new part and return its name."""
    content = parquet_bytes(*(rows.cast(PART) for rows in row_groups))
    path = store.parts / part_name(content)
    was_there = os.path.lexists(path)
    try:
        write_file(path, content)
    except StoreError:
        if not was_there:
            with suppress(OSError):
                path.unlink()  # it came to its place, and may still not last: nobody shall count on it
        raise
    return path.name


def write_weights(store: Store, weights: Mapping[str, Mapping[str, NDArray[Any]]]) -> dict[str, str]:
    """Write trials' weights, return each file's sha256, both by trial_id; belongs before the part that names them."""
    from safetensors.numpy import save

    contents = {
        trial_id: save({name: np.ascontiguousarray(value) for name, value in arrays.items()})
        for trial_id, arrays in weights.items()
    }
    write_files(store.weights, {weights_path(store, trial_id).name: content for trial_id, content in contents.items()})
    return {trial_id: hashlib.sha256(content).hexdigest() for trial_id, content in contents.items()}


def read_weights(store: Store, trial_id: str, sha256: str) -> dict[str, NDArray[Any]] | None:
    """Read a trial's weights, or None where the file is missing or its bytes do not hash to `sha256`."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    content = read_file(weights_path(store, trial_id))
    if content is None or hashlib.sha256(content).hexdigest() != sha256:
        return None
    # Whoever gave a row the right hash may still not be a task of ours.
    try:
        arrays: dict[str, NDArray[Any]] = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError):
        return None
    return arrays


def weights_path(store: Store, trial_id: str) -> Path:
    """Return where a trial's weights lie; raises StoreError where it is no trial's id, which might lead anywhere."""
    return trial_file(store.weights, trial_id, ".safetensors")


def trial_file(folder: Path, trial_id: str, suffix: str) -> Path:
    """Return the path of a file that is named after a trial; raises StoreError where it is no trial's id."""
    if not _TRIAL_ID.fullmatch(trial_id):
        raise StoreError(f"{folder}: trial_id {trial_id[:80]!r} names no trial; allowed: 32 hexadecimal digits")
    return folder / f"{trial_id}{suffix}"


def stored_ids(store: Store) -> frozenset[str]:
    """Return the ids of all trials that stand in an undamaged part."""
    # One column is a sixth of the work, and the hash has vouched for the others.
    parts = (rows for _, rows in scan_parts(store, ["trial_id"]) if rows is not None)
    return frozenset(trial_id for rows in parts for trial_id in rows["trial_id"].to_pylist())


def is_stored(store: Store, part: str, trial_ids: Collection[str]) -> bool:
    """Tell whether a part is there, or its trials are in another one: a compaction may have merged it already."""
    return (store.parts / part).exists() or stored_ids(store).issuperset(trial_ids)


def read_parts(store: Store, trial_ids: Collection[str], columns: Sequence[str] = tuple(PART.names)) -> Parts:
    """Read the rows of the given trials, in the order given, and of each row the given columns of PART.

    Where parts hold several rows of one trial, the row is taken that `first_rows` says.
    """
    asked = frozenset(trial_ids)
    found, damaged = [PART.empty_table().select([*_needed(columns)])], []
    for name, rows in scan_parts(store, _needed(columns)):
        if rows is None:
            damaged.append(name)
        else:
            found.append(rows.filter(pa.array([each in asked for each in rows["trial_id"].to_pylist()], pa.bool_())))
    table = pa.concat_tables(found)
    first = first_rows(table)
    order = pa.array([first[trial_id] for trial_id in trial_ids if trial_id in first], pa.int64())
    return Parts(table.select(columns).take(order).combine_chunks(), tuple(sorted(damaged)))


def _needed(columns: Sequence[str]) -> list[str]:
    """Add to the columns asked for those that tell the rows of one trial apart."""
    return list(dict.fromkeys([*columns, "trial_id", *ROW_ORDER]))


def first_rows(rows: pa.Table) -> dict[str, int]:
    """Give the place of each trial's one row that counts: of several, the one that finished first.

    It is told by the row itself (ROW_ORDER), not by the part it stands in, so that it remains the same row where
    parts are merged. Rows that agree in all of ROW_ORDER are one row, written twice. Needs trial_id and ROW_ORDER.
    """
    trial_ids = rows["trial_id"].to_pylist()
    if len(set(trial_ids)) == len(trial_ids):
        return dict(zip(trial_ids, range(len(trial_ids)), strict=True))
    order = pc.sort_indices(rows, [(name, "ascending") for name in ROW_ORDER]).to_pylist()
    return {trial_ids[place]: place for place in reversed(order)}


def scan_parts(store: Store, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table | None]]:
    """Yield every part by name with these columns of its rows, None where it is damaged: not what a task wrote.

    A compaction may delete parts meanwhile, after it has written their rows to another one: the folder is listed
    again until nothing has gone. A row may then come more than once. Raises StoreError where parts keep going.
    """
    seen: set[str] = set()
    for listing in range(_LISTINGS):
        gone = False
        for name in [name for name in names(store.parts) if name.endswith(".parquet") and name not in seen]:
            seen.add(name)
            rows = read_part(store.parts / name, columns)
            if rows is None and not os.path.lexists(store.parts / name):
                gone = True
            else:
                yield name, rows
        # One listing alone may miss both a part that goes and the one that comes for it.
        if listing > 0 and not gone:
            return
    raise StoreError(f"{store.parts}: parts went while they were read, {_LISTINGS} times in a row; read again")


def read_part(path: Path, columns: Sequence[str]) -> pa.Table | None:
    """Read columns of a part, or None where it is damaged or not there; every byte is verified by the name."""
    content = read_file(path)
    if content is None or part_name(content) != path.name:
        return None
    return decode_part(content, columns)
