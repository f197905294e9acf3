"""Cancel a job: ask its driver to end it, or end it where there is none."""

import time

from jobs.errors import JobHeldError
from jobs.store import Job, JobState, Store, ask_to_cancel, end_job, read_job, take_lease

TIMEOUT_S = 30.0
_POLL_S = 0.25


def cancel_job(store: Store, job: Job, timeout_s: float = TIMEOUT_S) -> Job:
    """End a job: its running trials stop, what has finished stays.

    Args:
        store: The store.
        job: The job.
        timeout_s: How long to wait for its driver, which looks for such a request every few seconds.

    Returns:
        The job as it is then: cancelled, or ended in another way just before, or still running where its driver did
        not answer in time.

    Raises:
        StoreError: The store cannot be written.
    """
    if job.end:
        return job
    ask_to_cancel(store, job.job_id)
    deadline = time.monotonic() + timeout_s
    while True:
        job = read_job(store, job.job_id)
        if job.end or _end_without_driver(store, job) or time.monotonic() >= deadline:
            return read_job(store, job.job_id)
        time.sleep(_POLL_S)


def _end_without_driver(store: Store, job: Job) -> bool:
    """End a job that has no driver, in place of one; return whether that was possible."""
    is_starting = job.state is JobState.queued and job.driver is not None  # a driver here, which is about to look
    if job.state is JobState.running or is_starting:
        return False
    try:
        take_lease(store, job.job_id)
    except JobHeldError:
        return False  # it has just got one
    end_job(store, job, JobState.cancelled)
    return True
