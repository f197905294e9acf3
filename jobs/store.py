"""The store: the folder that holds all results, and the only module that knows its layout.

A trial is finished when its row stands in a part, and a part is known by the sha256 of its bytes; there is nothing
else to keep in step. Every file is written beside its place, fsynced and moved there.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
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

_JOB_ID = re.compile(r"(?P<second>(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)-\d{8}-\d{6})-[0-9a-f]{4}")
Job = dict[str, Any]  # the content of a job.json
# What every reader of a job.json relies on.
_JOB_KEYS = {"submitted_at": str, "status": str, "grid": str, "trial_ids": list, "failures": list, "dataset": dict}


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


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place, fsynced, then moved there; raises StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        _make_folder(path.parent)
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


def _make_folder(folder: Path) -> None:
    if folder.exists():
        return  # where it is a file, opening what lies in it will say so
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _fsync_folder(folder.parent)


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_file(path: Path) -> bytes | None:
    """Read a file whole, or return None where no regular file is there."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; allowed: a file that you may read") from error


def _names(folder: Path) -> list[str]:
    """List what lies in a folder, in the order of the names; nothing where the folder is not there yet."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}; allowed: a folder that you may read") from error


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

    content = _read_file(store.weights / f"{trial_id}.safetensors")
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
    for name in _names(store.parts):
        if name.endswith(".parquet"):
            yield name, _read_part(store.parts / name, columns)


def _read_part(path: Path, columns: list[str] | None) -> pa.Table | None:
    content = _read_file(path)
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


def create_job(store: Store, name: str, content: Mapping[str, Any]) -> Job:
    """Make a job's folder and its job.json, with a new id and the time of submission; return the content."""
    now = datetime.now(UTC)
    try:
        _make_folder(store.jobs)
        job_id = _claim_job_id(store, f"{name}-{now:%Y%m%d-%H%M%S}")
        _fsync_folder(store.jobs)
    except OSError as error:
        raise StoreError(f"store {str(store.root)!r}: cannot be written: {error.strerror or error}") from error
    job = {"job_id": job_id, "name": name, "submitted_at": now.isoformat(), **content}
    write_job(store, job)
    return job


def _claim_job_id(store: Store, second: str) -> str:
    while True:
        job_id = f"{second}-{secrets.token_hex(2)}"
        try:
            store.job_folder(job_id).mkdir()
        except FileExistsError:
            continue  # another job of this second drew the same digits
        return job_id


def write_job(store: Store, job: Job) -> None:
    """Write a job's job.json anew."""
    text = json.dumps(job, indent=1, ensure_ascii=False)
    # A lone surrogate, out of some file name in a traceback, becomes its JSON escape.
    write_file(store.job_folder(job["job_id"]) / "job.json", text.encode(errors="backslashreplace"))


def read_jobs(store: Store) -> list[Job]:
    """Read the job.json of every job, oldest first; where one is damaged, its job has the status `damaged`."""
    jobs = [_read_job_or_damage(store, job_id) for job_id in _job_ids(store)]
    return sorted(jobs, key=lambda job: (job["submitted_at"], job["job_id"]))


def find_job(store: Store, job: str) -> Job:
    """Return the job with this id, or the latest job with this name.

    Raises InputError where there is none, StoreError where its job.json is damaged; other jobs' do not matter.
    """
    ids = _job_ids(store)
    if job in ids:
        return _read_job(store, job)
    seconds = [ids[job_id]["second"] for job_id in ids if ids[job_id]["name"] == job]
    if not seconds:
        known = ", ".join(sorted({match["name"] for match in ids.values()})) or "none yet"
        raise InputError(f"no job {job!r} in the store {str(store.root)!r}; jobs there: {known}")
    latest = [_read_job(store, job_id) for job_id in ids if ids[job_id]["second"] == max(seconds)]
    return max(latest, key=lambda each: (each["submitted_at"], each["job_id"]))


def _job_ids(store: Store) -> dict[str, re.Match[str]]:
    """Give the ids of all jobs, each with its parts; a folder without a job.json is no job yet."""
    matches = map(_JOB_ID.fullmatch, _names(store.jobs))
    return {match[0]: match for match in matches if match and (store.jobs / match[0] / "job.json").exists()}


def _read_job_or_damage(store: Store, job_id: str) -> Job:
    try:
        return _read_job(store, job_id)
    except StoreError:
        return {"job_id": job_id, "status": "damaged", "submitted_at": "", "trial_ids": [], "failures": []}


def _read_job(store: Store, job_id: str) -> Job:
    path = store.job_folder(job_id) / "job.json"
    try:
        job = json.loads(_read_file(path) or b"")
        wrong = [key for key, kind in _JOB_KEYS.items() if not isinstance(job[key], kind)]
        if job["job_id"] != job_id or wrong:
            raise ValueError(f"wrong content of {', '.join(wrong) or 'job_id'}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{path}: is not a job's file: {message}; restore it, or remove its folder") from error
    return dict(job)
