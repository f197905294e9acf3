"""The record of a job: what was asked for (job.json, requested.parquet) and how it ended (final.json).

Each file is written once. The lease of a job without a final.json shows whether it runs.
"""

import hashlib
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa

from jobs.errors import InputError, LostRecordError, StoreError
from jobs.store.backends import Refused
from jobs.store.job_models import (
    END_STATES,
    DamagedJob,
    Job,
    JobEnd,
    JobRecord,
    JobState,
    Options,
    Stop,
    TaskRetry,
    TrialFailure,
    encodable,
)
from jobs.store.layout import JOB_ID, JOBS, Store, job_key
from jobs.store.layout import job_folder as job_folder
from jobs.store.liveness import Look, look_at_all
from jobs.store.parts import parquet_bytes
from jobs.store.processes import Process, is_gone, this_process
from jobs.store.sealed_files import read_sealed
from jobs.store.seed_rule import Decision, SeedRule
from mnist_core.data import DatasetInfo

REQUESTED_FILE = "requested.parquet"
_RECORD_FILE, _END_FILE = "job.json", "final.json"
_SECOND = len("yyyymmdd-hhmmss")


def create_job(  # noqa: PLR0913 - what a record holds
    store: Store,
    name: str,
    requested: pa.Table,
    *,
    grid: str,
    dataset: DatasetInfo,
    stored_count: int = 0,
    provenance: Mapping[str, str] | None = None,
    options: Options | None = None,
    baseline: Mapping[str, str | bool | int | float] | None = None,
    margin: float | None = None,
    until: SeedRule | None = None,
    start: Callable[[str], Process | None] = lambda job_id: this_process(),
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
        options: Options of the submission; a true `detach` means that the driver is another process.
        baseline: For some axes, the level with which the others are compared.
        margin: The difference in accuracy, a fraction, that does not matter.
        until: The rule by which the seeds end, where their number is not given.
        start: Called with the job's id before job.json is written, to start the driver; returns its process, or None
            where that is not known.

    Returns:
        The new job: queued where it is detached, else running, its driver being this process.

    Raises:
        StoreError: The store cannot be written.
    """
    now = datetime.now(UTC)
    content = parquet_bytes(requested)
    job_id = _make_job_folder(store, f"{name}-{now:%Y%m%d-%H%M%S}")
    store.backend.put(job_key(job_id, REQUESTED_FILE), content)
    record = JobRecord(
        job_id=job_id,
        name=name,
        submitted_at=now,
        grid=grid,
        options=options or {},
        dataset=replace(dataset, name=str(encodable(dataset.name))),
        provenance=provenance or {},
        driver=start(job_id),
        trial_count=requested.num_rows,
        stored_count=stored_count,
        requested_sha256=hashlib.sha256(content).hexdigest(),
        baseline=baseline or {},
        margin=margin,
        until=until,
    ).seal()
    store.backend.put(job_key(job_id, _RECORD_FILE), record.to_bytes())
    state = JobState.queued if record.options.get("detach") else JobState.running
    return Job(record, None, state, record.driver)


def _make_job_folder(store: Store, second: str) -> str:
    """Make the folder of a new job and return the job's id."""
    while True:
        job_id = f"{second}-{secrets.token_hex(2)}"
        if store.backend.claim_folder(job_key(job_id)):  # else another job of this second drew the same digits
            return job_id


def end_job(
    store: Store,
    job: Job,
    state: JobState,
    failures: Sequence[TrialFailure] = (),
    retries: Sequence[TaskRetry] = (),
    reason: str = "",
    stop: Stop | None = None,
    decision: Decision | None = None,
) -> Job:
    """Write how a job ended, unless that is written already.

    Args:
        store: The store.
        job: The job.
        state: One of END_STATES.
        failures: The trials that failed for good.
        retries: The failures after which trials were tried again.
        reason: Why the job ended before all was trained, where an error ended it.
        stop: Of a job that was stopped: what its tables contain.
        decision: Of a job whose seeds end by a rule: what was decided.

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
        reason=reason,
        stop=stop,
        decision=decision,
    ).seal()
    if store.backend.put(job_key(job.job_id, _END_FILE), end.to_bytes(), create_only=True) is not Refused.exists:
        return Job(job.record, end, state)
    return read_job(store, job.job_id)


def check_job_exists(store: Store, job: Job) -> None:
    """Check that the folder of a job under way is still there; without it, most likely, the whole store is gone.

    Raises:
        LostRecordError: It is gone.
    """
    key = job_key(job.job_id)
    if not store.backend.has_folder(key):
        message = f"{store.locate(key)}: is gone, although its job is running"
        raise LostRecordError(f"{message}; bring the store {store.locate()!r} back, if you can")


def read_jobs(store: Store) -> list[Job | DamagedJob]:
    """Read every job of a store.

    Returns:
        The jobs, oldest first; before them those whose record cannot be read.

    Raises:
        StoreError: The store cannot be read.
    """
    read = _read_all(store, list(_job_ids(store)))
    jobs = _judge_all(store, [job for job in read if isinstance(job, Job)])
    return [*(job for job in read if isinstance(job, DamagedJob)), *sorted(jobs, key=_age)]


def _age(job: Job) -> tuple[datetime, str]:
    return job.submitted_at, job.job_id


def find_job(store: Store, job: str | None = None) -> Job:
    """Read one job; others may be damaged.

    Args:
        store: The store.
        job: The job's id, or a name, which means the latest job of that name; None means the latest of all.

    Raises:
        InputError: There is no such job.
        StoreError: Its record cannot be read.
        OldRecordError: Its record was written by the first edition of mnistjobs.
    """
    ids = _job_ids(store)
    if job in ids:
        return read_job(store, job)
    seconds = {job_id: match["second"][-_SECOND:] for job_id, match in ids.items() if job in (None, match["name"])}
    if not seconds:
        known = ", ".join(sorted({match["name"] for match in ids.values()})) or "none yet"
        raise InputError(
            f"no job{'' if job is None else f' {job!r}'} in the store {store.locate()!r}; jobs there: {known}"
        )
    latest = max(seconds.values())
    candidates = (_read_record(store, job_id) for job_id, second in seconds.items() if second == latest)
    return _judge_all(store, [max(candidates, key=_age)])[0]


def _job_ids(store: Store) -> dict[str, re.Match[str]]:
    """Return the ids of all jobs, each with its match; a folder without a job.json is not a job yet."""
    matches = map(JOB_ID.fullmatch, store.backend.names(JOBS))
    found = {match[0]: match for match in matches if match}
    has_record = store.backend.are_taken([job_key(job_id, _RECORD_FILE) for job_id in found])
    return {job_id: match for (job_id, match), is_job in zip(found.items(), has_record, strict=True) if is_job}


def _read_all(store: Store, job_ids: Sequence[str]) -> list[Job | DamagedJob]:
    """Read jobs in this order, several at once where each read is a request."""
    at_once = store.backend.reads_at_once
    if at_once == 1:
        return [_read_job_or_damage(store, job_id) for job_id in job_ids]
    with ThreadPoolExecutor(at_once) as threads:
        return list(threads.map(partial(_read_job_or_damage, store), job_ids))


def _read_job_or_damage(store: Store, job_id: str) -> Job | DamagedJob:
    try:
        return _read_record(store, job_id)
    except StoreError as error:
        return DamagedJob(job_id, str(error))


def read_job(store: Store, job_id: str) -> Job:
    """Read one job by its id; raises StoreError where it is missing or damaged."""
    return _judge_all(store, [_read_record(store, job_id)])[0]


def _read_record(store: Store, job_id: str) -> Job:
    """Read a job, whose state is final where it has ended and `queued` otherwise."""
    record = read_sealed(JobRecord, store, job_key(job_id, _RECORD_FILE))
    key = job_key(job_id, _END_FILE)
    if not store.backend.is_taken(key):
        return Job(record, None, JobState.queued, record.driver)
    end = read_sealed(JobEnd, store, key)
    return Job(record, end, end.state)


def _judge_all(store: Store, jobs: Sequence[Job]) -> list[Job]:
    """Find out the states of the jobs that have not ended."""
    looks = look_at_all(store, [job.job_id for job in jobs if not job.end])
    judged = [job if job.end else _judge(job, looks[job.job_id]) for job in jobs]
    # A lost job may have ended since its record was read.
    return [_unless_ended(store, job) if job.state is JobState.lost else job for job in judged]


def _unless_ended(store: Store, job: Job) -> Job:
    again = _read_record(store, job.job_id)
    return again if again.end else job


def _judge(job: Job, seen: Look | None) -> Job:
    """Return a job that has not ended with the state that its lease shows."""
    if seen is None:
        return replace(job, state=_state_without_lease(job))
    state = JobState.queued if seen.lease.phase == "queued" else JobState.running
    driver = seen.lease.driver
    return replace(job, state=state if seen.is_alive else JobState.lost, driver=driver, last_sign_s=seen.age_s)


def _state_without_lease(job: Job) -> JobState:
    """Return the state of a job that no driver has begun to drive: lost where its driver is known to be gone."""
    if job.record.driver and is_gone(job.record.driver):
        return JobState.lost
    if job.is_detached:
        return JobState.queued
    is_known = job.record.driver and job.record.driver.is_from_here()
    return JobState.running if is_known else JobState.lost  # of an edition without leases
