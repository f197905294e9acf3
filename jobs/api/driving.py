"""Drive jobs that are in their store already: detached ones, and those that are resumed."""

import atexit
from collections.abc import Callable
from pathlib import Path

from jobs import service
from jobs.api.submission import report_job
from jobs.errors import JobHeldError, LeaseLostError
from jobs.run import JobEvent
from jobs.service import DriverLog, Resumed, options_to_resume, receive_ticket, run_on_done
from jobs.store import Job, Store, find_job, open_store, open_store_of

StorePath = str | Path
Observer = Callable[[JobEvent], None]


def drive(store: StorePath, job: str, observe: Observer, begin: Callable[[], None], ticket: str = "") -> Job:
    """Drive a detached job to its end, then write its report and run its command; for the driver's own process.

    Args:
        store: The store's folder, or its URL.
        job: The job's id.
        observe: Called with each event of the job as it happens.
        begin: Called once the output of this process goes to the job's log.
        ticket: The job's place in the queue of this machine, as `launch_here` handed it over; "" for none.

    Returns:
        The job as it ended.

    Raises:
        InputError: There is no such job, or its dataset has changed.
        StoreError: The store cannot be read or written, or the job has another driver.
        DataError: The dataset is damaged or cannot be downloaded.
        ClusterError: Ray cannot be started or reached, or was lost.
    """
    opened = open_store(store)
    place = receive_ticket(ticket) if ticket else None

    def open_log() -> Callable[[], None]:
        log = DriverLog(opened, job)
        atexit.register(log.publish_now)  # with the message of an error, which is printed last
        begin()
        return log.publish

    def report() -> None:
        report_job(opened.locate(), job)

    return _with_end(opened, job, lambda: service.drive_job(opened, job, observe, place, open_log, report))


def _with_end(store: Store, job_id: str, run: Callable[[], Job]) -> Job:
    """Run a job's driver, then the command of the end, however the job ends."""
    try:
        ended = run()
    except (JobHeldError, LeaseLostError):
        raise
    except BaseException:
        run_on_done(store, job_id, may_wait=False)
        raise
    run_on_done(store, job_id)
    return ended


def resume_job(
    store: StorePath = "results",
    job: str | None = None,
    *,
    address: str | None = None,
    workers: int | None = None,
    in_process: bool | None = None,
    allow_unauthenticated: bool | None = None,
    detach: bool | None = None,
    observe: Observer = lambda event: None,
) -> Resumed:
    """Train what is missing of a job: of a lost one under a new driver, of one that has ended as a new job.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store;
            None means the latest job of the store.
        address: Of a cluster, as `submit_grid` takes it; None: as before, which goes for the others, too.
        workers: The most tasks at once.
        in_process: Whether to train in the driver's process.
        allow_unauthenticated: Whether to use a cluster on a network that lets anybody run programs on it.
        detach: Whether to leave the job to a driver of its own.
        observe: Called with each event of the job as it happens, unless that is detached.

    Returns:
        The job, and whether it is a new one.

    Raises:
        InputError: There is no such job, its dataset has changed, or its trials have other ids now.
        StoreError: The store cannot be read or written, or the job has a driver.
        DataError: The dataset is damaged or cannot be downloaded.
        ClusterError: Ray cannot be started or reached, or was lost.
    """
    opened, name = open_store_of(store, job)
    found = find_job(opened, name)
    given = {"address": address, "workers": workers, "in_process": in_process, "detach": detach}
    options = options_to_resume(opened, found, **given, allow_unauthenticated=allow_unauthenticated)
    if found.end or options.detach:
        return service.resume_job(opened, found, options, observe)

    def report() -> None:
        report_job(opened.locate(), found.job_id)

    ended = _with_end(opened, found.job_id, lambda: service.resume_job(opened, found, options, observe, report).job)
    return Resumed(ended, False)
