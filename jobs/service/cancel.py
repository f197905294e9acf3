"""Cancel a job: ask its driver to end it, or end it where there is none."""

import time
from contextlib import suppress

from cluster import ClusterError
from jobs.errors import JobHeldError
from jobs.service.options import read_options
from jobs.service.ray_launch import stop_on_ray
from jobs.store import Job, JobState, Store, ask_to_cancel, end_job, read_job, take_lease

_TIMEOUT_S = 30.0  # for a driver, which looks for a request every few seconds
_POLL_S = 0.25


def cancel_job(store: Store, job: Job) -> Job:
    """End a job: its running trials stop, what has finished stays.

    Args:
        store: The store.
        job: The job.

    Returns:
        The job as it is then: cancelled, or ended in another way just before, or still running where its driver did
        not answer within half a minute.

    Raises:
        StoreError: The store cannot be written.
    """
    if job.end:
        return job
    ask_to_cancel(store, job.job_id)
    deadline = time.monotonic() + _TIMEOUT_S
    has_stopped = not read_options(store, job).is_job_server
    while True:
        job = read_job(store, job.job_id)
        if not job.end and not has_stopped and time.monotonic() >= deadline - _TIMEOUT_S / 2:
            has_stopped = True
            _stop_on_cluster(store, job)
        if job.end or _end_without_driver(store, job) or time.monotonic() >= deadline:
            return read_job(store, job.job_id)
        time.sleep(_POLL_S)


def _stop_on_cluster(store: Store, job: Job) -> None:
    """Let the cluster end a driver that does not look into the store: asked first, it is killed after a while."""
    options = read_options(store, job)
    with suppress(ClusterError):  # the cluster may be gone, and its jobs with it
        stop_on_ray(options.address or "", job.job_id, options.allow_unauthenticated)


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
