"""Look at jobs while they run, and end them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs import service
from jobs.service import JobStatus
from jobs.store import Job, find_job, open_store_of

StorePath = str | Path
_LAST_LOOK_S = 20.0  # for an open page to fetch what the job has ended with


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


@contextmanager
def serve_page(store: StorePath, job_id: str) -> Iterator[str]:
    """Serve the page of a running job, to browsers on this machine, until the end of the block and a little longer.

    Args:
        store: The store's folder, or its URL.
        job_id: The job's id.

    Returns:
        The address of the page, with the token that opens it.

    Raises:
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    page = service.LivePage(open_store_of(store, job_id)[0], job_id)
    with service.serve(page) as server:
        yield server.url
        until_s = time.monotonic() + _LAST_LOOK_S
        while page.is_open and not page.has_shown_end and time.monotonic() < until_s:
            time.sleep(0.1)
