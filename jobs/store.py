"""The store: the folder that holds all results, and the only module that knows its layout.

A trial is finished when its row stands in a part, and a part is known by the sha256 of its bytes; there is nothing
else to keep in step. Every file is written beside its place, fsynced and moved there.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from jobs.errors import InputError, StoreError
from jobs.schemas import PART

_JOB_ID = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)-\d{8}-\d{6}-[0-9a-f]{4}")
Job = dict[str, Any]  # the content of a job.json


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

    def job_folder(self, job_id: str) -> Path:
        """Return the folder of a job whose id has been checked."""
        assert _JOB_ID.fullmatch(job_id), job_id
        return self.jobs / job_id


@dataclass(frozen=True)
class Parts:
    """What was read from parts: their rows (schema PART, one per trial), and the names of damaged files."""

    table: pa.Table
    damaged: tuple[str, ...]


def open_store(path: Path) -> Store:
    """Check that a path can be a store, without writing to it; raises StoreError."""
    text = str(path)
    if re.match(r"[a-z][a-z0-9+.-]*:/", text):
        raise StoreError(f"store {text!r}: is a URL; allowed: a folder, which every node of the cluster can reach")
    if path.exists() and not path.is_dir():
        raise StoreError(f"store {text!r}: is not a folder; allowed: a folder, made if it does not exist")
    return Store(path.absolute())


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place, fsynced, then moved there; raises StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        _fsync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}; what was stored before is kept"
        ) from error


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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

    try:
        content = (store.weights / f"{trial_id}.safetensors").read_bytes()
    except FileNotFoundError:
        return None
    if hashlib.sha256(content).hexdigest() != sha256:
        return None
    arrays: dict[str, NDArray[Any]] = load(content)
    return arrays


def stored_ids(store: Store) -> frozenset[str]:
    """Return the ids of all trials that stand in an undamaged part."""
    tables, _ = _read_verified(store, columns=["trial_id"])
    return frozenset(value for table in tables for value in table["trial_id"].to_pylist())


def read_parts(store: Store, trial_ids: Collection[str]) -> Parts:
    """Read the rows of the given trials, in the order given; every part's bytes are checked against its name.

    Where two parts hold one trial, the part whose name sorts first is taken.
    """
    wanted = pa.array(trial_ids, pa.string())
    tables, damaged = _read_verified(store)
    table = pa.concat_tables(
        [PART.empty_table(), *(each.filter(pc.is_in(each["trial_id"], wanted)) for each in tables)]
    )
    first = {trial: row for row, trial in reversed(list(enumerate(table["trial_id"].to_pylist())))}
    rows = [first[trial] for trial in trial_ids if trial in first]
    return Parts(table.take(pa.array(rows, pa.int64())).combine_chunks(), damaged)


def _read_verified(store: Store, columns: list[str] | None = None) -> tuple[list[pa.Table], tuple[str, ...]]:
    tables, damaged = [], []
    for path in sorted(store.parts.glob("*.parquet")):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != path.stem:
            damaged.append(path.name)
            continue
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        if file.schema_arrow.remove_metadata().equals(PART):
            tables.append(file.read(columns=columns))
        else:
            damaged.append(path.name)
    return tables, tuple(damaged)


def create_job(store: Store, name: str, content: Mapping[str, Any]) -> Job:
    """Make a job's folder and its job.json, with a new id and the time of submission; return the content."""
    now = datetime.now(UTC)
    try:
        while True:
            job_id = f"{name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
            store.jobs.mkdir(parents=True, exist_ok=True)
            try:
                store.job_folder(job_id).mkdir()
                break
            except FileExistsError:
                continue  # another job of this second drew the same digits
    except OSError as error:
        raise StoreError(f"store {str(store.root)!r}: cannot be written: {error.strerror or error}") from error
    job = {"job_id": job_id, "name": name, "submitted_at": now.isoformat(), **content}
    write_job(store, job)
    return job


def write_job(store: Store, job: Job) -> None:
    """Write a job's job.json anew."""
    text = json.dumps(job, indent=1, ensure_ascii=False)
    write_file(store.job_folder(job["job_id"]) / "job.json", text.encode())


def read_jobs(store: Store) -> list[Job]:
    """Read the job.json of every job, oldest first; raises StoreError where one cannot be read."""
    paths = [path for path in store.jobs.glob("*/job.json") if _JOB_ID.fullmatch(path.parent.name)]
    return sorted(map(_read_job, paths), key=lambda job: (job["submitted_at"], job["job_id"]))


def _read_job(path: Path) -> Job:
    try:
        job = json.loads(path.read_bytes())
        if job["job_id"] != path.parent.name or not isinstance(job["submitted_at"], str):
            raise ValueError("its content is another job's")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{path}: is no job file ({error}); restore it, or remove the folder") from error
    return dict(job)


def find_job(store: Store, job: str) -> Job:
    """Return the job with this id, or the latest job with this name; raises InputError where there is none."""
    jobs = read_jobs(store)
    matching = [each for each in jobs if job in (each["job_id"], each["name"])]
    if matching:
        return matching[-1]
    known = ", ".join(unique(each["name"] for each in jobs)) or "none yet"
    raise InputError(f"no job {job!r} in the store {str(store.root)!r}; jobs there: {known}")


def unique(names: Iterable[str]) -> list[str]:
    """Drop repetitions and keep the order."""
    return list(dict.fromkeys(names))
