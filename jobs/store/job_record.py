"""The record of a job: what was asked for (job.json, requested.parquet) and how it ended (final.json).

Each file is written once. A job without final.json is running, or lost where its driver is known to be gone.
"""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
from pydantic import ValidationError

from jobs.errors import InputError, LostRecordError, OldRecordError, StoreError
from jobs.store.atomic_files import NOT_THERE, create_file, fsync_folder, list_dir, make_folder, read_file, write_file
from jobs.store.job_models import (
    END_STATES,
    DamagedJob,
    Job,
    JobEnd,
    JobRecord,
    JobState,
    SealedModel,
    TaskRetry,
    TrialFailure,
    encodable,
)
from jobs.store.layout import JOB_ID, Store
from jobs.store.parts import parquet_bytes
from jobs.store.processes import is_gone, this_process
from mnist_core.data import DatasetInfo
from mnist_core.paths import describe_missing

REQUESTED_FILE = "requested.parquet"
_RECORD_FILE, _END_FILE = "job.json", "final.json"
_FIRST_EDITION_KEYS = {"status", "trial_ids"}
_MAX_REASON = 300  # characters of what is wrong with a file


Sealed = TypeVar("Sealed", bound=SealedModel)


def job_folder(store: Store, job_id: str) -> Path:
    """Return the folder of a job.

    Args:
        store: The store.
        job_id: An id that was checked before, or made by `create_job`.
    """
    assert JOB_ID.fullmatch(job_id), job_id
    return store.jobs / job_id


def create_job(  # noqa: PLR0913 - most of them are fields of the record
    store: Store,
    name: str,
    requested: pa.Table,
    *,
    grid: str,
    dataset: DatasetInfo,
    stored_count: int = 0,
    provenance: Mapping[str, str] | None = None,
    options: Mapping[str, str | int | bool | None] | None = None,
    baseline: Mapping[str, str | bool | int | float] | None = None,
    margin: float | None = None,
) -> Job:
    """Make a job's folder, its requested.parquet and, last, its job.json.

    Args:
        store: The store; its folder is made where it does not exist.
        name: The grid's name, with which the job's id begins.
        requested: One row per requested trial, in the schema REQUESTED.
        grid: The YAML text.
        dataset: The dataset that the trials train on.
        stored_count: How many of the trials the store already has.
        provenance: Versions, host and commit that the job was submitted with.
        options: Options of the submission.
        baseline: For some axes, the level with which the others are compared.
        margin: The difference in accuracy, a fraction, that does not matter.

    Returns:
        The new job, in the state running: its driver is this process.

    Raises:
        StoreError: The store cannot be written.
    """
    now = datetime.now(UTC)
    content = parquet_bytes(requested)
    record = JobRecord(
        job_id=_make_job_folder(store, f"{name}-{now:%Y%m%d-%H%M%S}"),
        name=name,
        submitted_at=now,
        grid=grid,
        options=options or {},
        dataset=replace(dataset, name=str(encodable(dataset.name))),
        provenance=provenance or {},
        driver=this_process(),
        trial_count=requested.num_rows,
        stored_count=stored_count,
        requested_sha256=hashlib.sha256(content).hexdigest(),
        baseline=baseline or {},
        margin=margin,
    ).seal()
    folder = job_folder(store, record.job_id)
    write_file(folder / REQUESTED_FILE, content)
    write_file(folder / _RECORD_FILE, record.to_bytes())
    return Job(record, None, JobState.running)


def _make_job_folder(store: Store, second: str) -> str:
    """Make the folder of a new job and return the job's id."""
    try:
        make_folder(store.jobs)
        fsync_folder(store.root)  # an earlier process may have been killed between making a folder in it and this
        job_id = _claim_job_id(store, second)
        fsync_folder(store.jobs)
    except OSError as error:
        raise StoreError(f"store {str(store.root)!r}: cannot be written: {error.strerror or error}") from error
    return job_id


def _claim_job_id(store: Store, second: str) -> str:
    while True:
        job_id = f"{second}-{secrets.token_hex(2)}"
        try:
            job_folder(store, job_id).mkdir()
        except FileExistsError:
            continue  # another job of this second drew the same digits
        return job_id


def end_job(
    store: Store,
    job: Job,
    state: JobState,
    failures: Sequence[TrialFailure] = (),
    retries: Sequence[TaskRetry] = (),
) -> Job:
    """Write how a job ended, unless that is written already.

    Args:
        store: The store.
        job: The job.
        state: One of END_STATES.
        failures: The trials that failed for good.
        retries: The failures after which trials were tried again.

    Returns:
        The job as final.json has it: where an earlier call wrote that file, as it ended then.

    Raises:
        StoreError: The job's folder is gone, or cannot be written.
    """
    assert state in END_STATES, state
    check_job_exists(store, job)
    end = JobEnd(
        job_id=job.job_id,
        state=state,
        finished_at=datetime.now(UTC),
        failures=tuple(failures),
        retries=tuple(retries),
    ).seal()
    if create_file(job_folder(store, job.job_id) / _END_FILE, end.to_bytes()):
        return Job(job.record, end, state)
    return _read_job(store, job.job_id)


def check_job_exists(store: Store, job: Job) -> None:
    """Check that the folder of a job under way is still there; without it, most likely, the whole store is gone.

    Raises:
        LostRecordError: It is gone.
    """
    folder = job_folder(store, job.job_id)
    if not os.path.isdir(folder):
        message = f"{folder}: is gone, although its job is running"
        raise LostRecordError(f"{message}; bring the store {str(store.root)!r} back, if you can")


def read_jobs(store: Store) -> list[Job | DamagedJob]:
    """Read every job of a store.

    Returns:
        The jobs, oldest first; before them those whose record cannot be read.

    Raises:
        StoreError: The store cannot be read.
    """
    jobs = [_read_job_or_damage(store, job_id) for job_id in _job_ids(store)]
    damaged = [job for job in jobs if isinstance(job, DamagedJob)]
    return [*damaged, *sorted((job for job in jobs if isinstance(job, Job)), key=_age)]


def _age(job: Job) -> tuple[datetime, str]:
    return job.submitted_at, job.job_id


def find_job(store: Store, job: str) -> Job:
    """Read one job; others may be damaged.

    Args:
        store: The store.
        job: The job's id, or a name, which means the latest job of that name.

    Raises:
        InputError: There is no such job.
        StoreError: Its record cannot be read.
        OldRecordError: Its record was written by the first edition of mnistjobs.
    """
    ids = _job_ids(store)
    if job in ids:
        return _read_job(store, job)
    seconds = [ids[job_id]["second"] for job_id in ids if ids[job_id]["name"] == job]
    if not seconds:
        known = ", ".join(sorted({match["name"] for match in ids.values()})) or "none yet"
        raise InputError(f"no job {job!r} in the store {str(store.root)!r}; jobs there: {known}")
    return max((_read_job(store, job_id) for job_id in ids if ids[job_id]["second"] == max(seconds)), key=_age)


def _job_ids(store: Store) -> dict[str, re.Match[str]]:
    """Return the ids of all jobs, each with its match; a folder without a job.json is not a job yet."""
    matches = map(JOB_ID.fullmatch, list_dir(store.jobs))
    return {match[0]: match for match in matches if match and _has_record(store.jobs / match[0])}


def _has_record(folder: Path) -> bool:
    """Return whether a folder has a job.json, also one that cannot be read; a link that leads nowhere had one."""
    try:
        (folder / _RECORD_FILE).lstat()
    except OSError as error:
        return error.errno not in NOT_THERE or bool(describe_missing(folder))
    return True


def _read_job_or_damage(store: Store, job_id: str) -> Job | DamagedJob:
    try:
        return _read_job(store, job_id)
    except StoreError as error:
        return DamagedJob(job_id, str(error))


def _read_job(store: Store, job_id: str) -> Job:
    record = _read_model(JobRecord, job_folder(store, job_id) / _RECORD_FILE)
    path = job_folder(store, job_id) / _END_FILE
    if os.path.lexists(path):
        end = _read_model(JobEnd, path)
        return Job(record, end, end.state)
    return Job(record, None, JobState.lost if is_gone(record.driver) else JobState.running)


def _read_model(kind: type[Sealed], path: Path) -> Sealed:
    """Read and check a file of the folder of the job that it has to belong to; raises StoreError."""
    content = read_file(path)
    if content is None and (link := describe_missing(path)):
        raise StoreError(f"{path}: {link}; restore it, or remove the link")
    content = content or b""
    try:
        model = kind.model_validate_json(content)
    except ValidationError as error:
        if _is_first_edition(content):
            raise OldRecordError(f"{path}: was written by the first edition of mnistjobs") from error
        faults = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}".lstrip(": ") for each in error.errors()[:3])
        raise _damage(path, ", ".join(faults)) from error
    if model.job_id != path.parent.name:
        raise _damage(path, f"job_id: {model.job_id!r} is another job")
    if model.sha256 != model.digest():
        raise _damage(path, "sha256: does not match the content")
    return model


def _damage(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path}: is not a job's record: {reason[:_MAX_REASON]}; restore it, or remove its folder")


def _is_first_edition(content: bytes) -> bool:
    try:
        record: Any = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.keys() >= _FIRST_EDITION_KEYS
