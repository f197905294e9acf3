"""The status of a job: its state and progress, read from the store on any machine."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from jobs.report import FailureGroup, find_report, group_failures
from jobs.service.options import read_options
from jobs.service.ray_launch import look_on_ray
from jobs.store import (
    Job,
    JobProgress,
    JobState,
    Store,
    TrialFailure,
    is_cancel_asked,
    is_driven,
    lease_age_s,
    needed_trials,
    read_parts,
    read_progress,
    read_requested,
)

# The ends after which the driver writes a report.
_REPORTED = (JobState.finished, JobState.failed, JobState.cancelled, JobState.stopped)


@dataclass(frozen=True)
class Failure:
    """A trial that failed for good, and why."""

    trial_id: str
    kind: str
    message: str


@dataclass(frozen=True)
class RunningTrial:
    """A trial that is being trained."""

    trial_id: str
    epoch: int  # the last that has ended
    epochs: int
    node: str


@dataclass(frozen=True)
class JobStatus:
    """The state and progress of a job, or its end."""

    job_id: str
    state: str
    counts: dict[str, int]  # of its trials: finished, diverged, failed, running and waiting, which are all of them
    running: tuple[RunningTrial, ...]  # the first hundred
    last_sign_s: float | None  # seconds since the driver last renewed its lease; None where the job has ended
    seconds_left: float | None
    failures: tuple[Failure, ...]
    failure_groups: tuple[FailureGroup, ...]  # the same by message, named by configuration and seed
    trial_count: int  # of those that the answer needs, or may need, where the seeds end by a rule
    may_end_earlier: bool  # whether an answer may end the job before all of these are trained
    waits_for: str  # the job behind which this one is queued
    host: str  # of the driver
    note: str  # what keeps the job waiting, or why it ended before all was trained
    is_cancel_asked: bool
    submitted_at: str  # ISO 8601
    finished_at: str | None
    report: str | None  # the path or URL of its page; None while there is none, and while the job runs
    is_reporting: bool  # whether the driver of a job that has ended still writes its first report

    def to_dict(self) -> dict[str, Any]:
        """Return the status as plain values."""
        return asdict(self)


def job_status(store: Store, job: Job, *, is_exact: bool = True) -> JobStatus:
    """Find out what a job is doing.

    Args:
        store: The store.
        job: The job as it was just read.
        is_exact: Whether to count finished trials in the store, and to ask a cluster about a driver that has not
            started; otherwise trials of a running job are counted as its driver last wrote.

    Raises:
        StoreError: The store cannot be read.
    """
    progress = read_progress(store, job.job_id) or JobProgress(job_id=job.job_id)
    is_running = job.state is JobState.running
    failures = job.failures if job.end else progress.failures
    running = progress.running if is_running else ()
    if is_running and not is_exact:
        finished, diverged = job.stored_count + progress.finished - progress.diverged, progress.diverged
    else:
        finished, diverged = _count_stored(store, job)
    total = job.needed_count if job.decision else job.trial_count - progress.unneeded
    report = find_report(store, job.job_id) if job.end else None
    return JobStatus(
        job_id=job.job_id,
        state=job.state.value,
        counts=_counts(
            total,
            finished,
            diverged,
            len(failures) if job.end else max(progress.failed, len(failures)),
            max(progress.under_way, len(running)) if is_running else 0,
        ),
        running=tuple(RunningTrial(each.trial_id, each.epoch, each.epochs, each.node) for each in running),
        last_sign_s=None if job.end else lease_age_s(store, job.job_id),
        seconds_left=progress.seconds_left if is_running else None,
        failures=_failures(failures),
        failure_groups=group_failures(failures, read_requested(store, job)) if failures else (),
        trial_count=total,
        may_end_earlier=job.may_end_earlier,
        waits_for=progress.waits_for if job.state is JobState.queued else "",
        host=job.driver.host if job.driver else "",
        note=job.reason or (progress.note if is_running else _why_no_driver(store, job) if is_exact else ""),
        is_cancel_asked=not job.end and is_cancel_asked(store, job.job_id),
        submitted_at=job.submitted_at.isoformat(),
        finished_at=job.finished_at.isoformat() if job.finished_at else None,
        report=report,
        is_reporting=job.state in _REPORTED and report is None and is_driven(store, job.job_id),
    )


def _why_no_driver(store: Store, job: Job) -> str:
    """Ask the cluster why a job of its own has not started, or is lost, which the store does not show."""
    options = read_options(store, job)
    if job.end or not options.is_job_server:
        return ""
    return look_on_ray(options.address or "", job.job_id, options.allow_unauthenticated).explanation


def _count_stored(store: Store, job: Job) -> tuple[int, int]:
    """Count the trials of a job that the store has: finished ones, and those that diverged."""
    statuses = (
        read_parts(store, needed_trials(job, read_requested(store, job)), ["trial_id", "status"])
        .table["status"]
        .to_pylist()
    )
    diverged = statuses.count("diverged")
    return len(statuses) - diverged, diverged


def _counts(total: int, finished: int, diverged: int, failed: int, running: int) -> dict[str, int]:
    """Return how many trials are in each state; each trial is in one."""
    left = max(total - finished - diverged, 0)
    failed = min(failed, left)
    running = min(running, left - failed)
    return {
        "finished": finished,
        "diverged": diverged,
        "failed": failed,
        "running": running,
        "waiting": left - failed - running,
    }


def _failures(failures: Sequence[TrialFailure]) -> tuple[Failure, ...]:
    return tuple(Failure(each.trial_id, each.kind, each.message) for each in failures)
