"""Look at jobs while they run, and end them."""

from collections.abc import Iterator
from pathlib import Path

from jobs import service
from jobs.service import JobStatus
from jobs.store import Job, find_job, open_store_of

StorePath = str | Path


def job_status(store: StorePath = "results", job: str | None = None, *, is_exact: bool = True) -> JobStatus:
    """Find out what a job is doing, or how it ended.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store;
            None means the latest job of the store.
        is_exact: Whether to count finished trials in the store; otherwise those of a running job are counted as its
            driver last told, which is faster.

    Returns:
        Its state, counts of trials, running trials, failures and time left.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    opened, name = open_store_of(store, job)
    return service.job_status(opened, find_job(opened, name), is_exact=is_exact)


def cancel_job(store: StorePath = "results", job: str | None = None) -> Job:
    """End a job: its running trials stop, what has finished stays.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store;
            None means the latest job of the store.

    Returns:
        The job as it is then: cancelled, ended in another way just before, or still running where its driver did not
        answer within half a minute.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read or written, or the job's record is damaged.
    """
    opened, name = open_store_of(store, job)
    return service.cancel_job(opened, find_job(opened, name))


def read_log(
    store: StorePath = "results", job: str | None = None, trial_id: str | None = None, follow: bool = False
) -> Iterator[str]:
    """Read the lines of a detached job's log, and the tracebacks of its failures.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store;
            None means the latest job of the store.
        trial_id: The trial that the lines have to concern, or the beginning of its id.
        follow: Whether to go on until the job has ended.

    Returns:
        An iterator over the lines.

    Raises:
        InputError: There is no such job or trial.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    opened, name = open_store_of(store, job)
    return service.read_log(opened, find_job(opened, name), trial_id, follow)
