"""Job records for tests: what a job asked for, and records that somebody else wrote."""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from jobs.store.job_models import Job, JobEnd, JobRecord, JobState, TrialFailure
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.processes import this_process
from jobs.store.requested import read_requested
from mnist_core.data.datasets import NAMED_DATASETS

RECORD = JobRecord(
    job_id="study-20260101-000000-abcd",
    name="study",
    submitted_at=datetime(2026, 1, 1, tzinfo=UTC),
    grid="name: study\n",
    dataset=NAMED_DATASETS["mnist"],
    provenance={},
    driver=this_process(),
    trial_count=2,
    stored_count=0,
    requested_sha256="0" * 64,
)


def job_of(state: JobState = JobState.running, failures: tuple[TrialFailure, ...] = (), **record: Any) -> Job:  # noqa: ANN401
    """Make a job without a store: RECORD with these fields changed."""
    end = None
    if state not in (JobState.running, JobState.lost):
        end = JobEnd(job_id=RECORD.job_id, state=state, finished_at=RECORD.submitted_at, failures=failures)
    return Job(RECORD.model_copy(update=record), end, state)


def trial_ids(store: Store, job: Job) -> list[str]:
    """Return the ids of the trials that a job asked for, in the grid's order."""
    ids: list[str] = read_requested(store, job)["trial_id"].to_pylist()
    return ids


def failure_of(trial_id: str, message: str = "", traceback: str = "") -> TrialFailure:
    """Make the record of a trial that raised an exception at its first attempt."""
    return TrialFailure(trial_id=trial_id, kind="raised", message=message, traceback=traceback, attempt=1)


def with_end(job: Job, state: JobState, *failures: TrialFailure) -> Job:
    """Return the job as if it had ended otherwise."""
    assert job.end
    return replace(job, state=state, end=job.end.model_copy(update={"state": state, "failures": failures}))


def put_record(store: Store, job: Job, **changed: Any) -> Path:  # noqa: ANN401
    """Replace values in a job's job.json, as somebody would who knows how to hash it."""
    return _put(JobRecord, job_folder(store, job.job_id) / "job.json", changed)


def put_end(store: Store, job: Job, **changed: Any) -> Path:  # noqa: ANN401
    """Replace values in a job's final.json, as somebody would who knows how to hash it."""
    return _put(JobEnd, job_folder(store, job.job_id) / "final.json", changed)


def _put(kind: type[JobRecord] | type[JobEnd], path: Path, changed: Mapping[str, Any]) -> Path:
    content = {**json.loads(path.read_text(encoding="utf-8")), **changed}
    text = json.dumps(content)
    with suppress(ValidationError):  # then no hash can make it valid
        text = kind.model_validate_json(text).seal().to_bytes().decode()
    path.write_text(text, encoding="utf-8")
    return path
