"""The job.json of every job: what was submitted, where it came from, and how it ended."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jobs.errors import InputError, StoreError
from jobs.store.atomic_files import fsync_folder, list_dir, make_folder, read_file, write_file
from jobs.store.layout import Store
from jobs.store.processes import is_gone, read_process, this_process

_JOB_ID = re.compile(r"(?P<second>(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)-\d{8}-\d{6})-[0-9a-f]{4}")
Job = dict[str, Any]  # the content of a job.json
# What every reader of a job.json relies on.
_JOB_KEYS = {"submitted_at": str, "status": str, "grid": str, "trial_ids": list, "failures": list, "dataset": dict}
_DATASET_KEYS = {"name": str, "fingerprint": str, "train_size": int, "validation_size": int, "test_size": int}
_FAILURE_KEYS = ("trial_id", "message", "traceback")


def job_folder(store: Store, job_id: str) -> Path:
    """Return the folder of a job whose id has been checked."""
    assert _JOB_ID.fullmatch(job_id), job_id
    return store.jobs / job_id


def create_job(store: Store, name: str, content: Mapping[str, Any]) -> Job:
    """Make a job's folder and its job.json, with a new id and the time of submission; return the content."""
    now = datetime.now(UTC)
    try:
        make_folder(store.jobs)
        fsync_folder(store.root)  # whoever made the folders in it may have been killed before
        job_id = _claim_job_id(store, f"{name}-{now:%Y%m%d-%H%M%S}")
        fsync_folder(store.jobs)
    except OSError as error:
        raise StoreError(f"store {str(store.root)!r}: cannot be written: {error.strerror or error}") from error
    driver = vars(this_process())
    job = {"job_id": job_id, "name": name, "submitted_at": now.isoformat(), "driver": driver, **content}
    write_job(store, job)
    return job


def _claim_job_id(store: Store, second: str) -> str:
    while True:
        job_id = f"{second}-{secrets.token_hex(2)}"
        try:
            job_folder(store, job_id).mkdir()
        except FileExistsError:
            continue  # another job of this second drew the same digits
        return job_id


def check_job_is_there(store: Store, job: Job) -> None:
    """Raise StoreError where the folder of a job under way has gone: with it, most likely, the store."""
    if not os.path.isdir(job_folder(store, job["job_id"])):
        raise StoreError(
            f"{job_folder(store, job['job_id'])}: has gone while the job ran; bring the store {str(store.root)!r} "
            "back, if you can, and submit the same grid again"
        )


def write_job(store: Store, job: Job) -> None:
    """Write a job's job.json anew; raises StoreError, also where the job's folder has gone."""
    check_job_is_there(store, job)
    text = json.dumps({**job, "sha256": _digest(job)}, indent=1, ensure_ascii=False)
    # A lone surrogate, out of some file name in a traceback, becomes its JSON escape.
    write_file(job_folder(store, job["job_id"]) / "job.json", text.encode(errors="backslashreplace"))


def _digest(job: Mapping[str, Any]) -> str:
    """Hash what a job.json says, whatever its spelling."""
    content = {key: value for key, value in job.items() if key != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


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
    matches = map(_JOB_ID.fullmatch, list_dir(store.jobs))
    return {match[0]: match for match in matches if match and (store.jobs / match[0] / "job.json").exists()}


def _read_job_or_damage(store: Store, job_id: str) -> Job:
    try:
        return _read_job(store, job_id)
    except StoreError:
        return {"job_id": job_id, "status": "damaged", "submitted_at": "", "trial_ids": [], "failures": []}


def _read_job(store: Store, job_id: str) -> Job:
    path = job_folder(store, job_id) / "job.json"
    try:
        job = json.loads(read_file(path) or b"")
        wrong = _wrong_keys(job, job_id)
        if wrong:
            raise ValueError(f"wrong content of {', '.join(wrong)}")
        if job.pop("sha256") != _digest(job):
            raise ValueError("its sha256 is that of other content")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"missing key {error}" if isinstance(error, KeyError) else str(error)
        raise StoreError(f"{path}: is not a job's file: {message}; restore it, or remove its folder") from error
    return {**job, "status": "interrupted"} if _is_orphan(job) else dict(job)


def _wrong_keys(job: Mapping[str, Any], job_id: str) -> list[str]:
    """Name what is not as every reader relies on; raises KeyError where a key is missing."""
    wrong = [key for key, kind in _JOB_KEYS.items() if not isinstance(job[key], kind)]
    wrong += [] if job["job_id"] == job_id else ["job_id"]
    wrong += [] if isinstance(job.get("provenance", {}), dict) else ["provenance"]
    if not wrong and not all(isinstance(each, str) for each in job["trial_ids"]):
        wrong.append("trial_ids")
    if not wrong and not all(isinstance(job["dataset"].get(key), kind) for key, kind in _DATASET_KEYS.items()):
        wrong.append("dataset")
    if not wrong and not all(map(_is_failure, job["failures"])):
        wrong.append("failures")
    return wrong


def _is_failure(failure: object) -> bool:
    return isinstance(failure, dict) and all(isinstance(failure.get(key), str) for key in _FAILURE_KEYS)


def _is_orphan(job: Job) -> bool:
    """Tell whether a job was left running by a driver that was killed; nobody could say so in its job.json."""
    driver = read_process(job.get("driver"))
    return job["status"] == "running" and driver is not None and is_gone(driver)
