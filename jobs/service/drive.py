"""Drive a detached job: what its driver does from the moment it starts, on this machine or as a job of a cluster."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cluster import Waiting
from jobs.errors import InputError, JobHeldError, LeaseLostError, StoreError
from jobs.grid import Grid, parse_grid
from jobs.run import Plan, end_at_once, run_job
from jobs.service.deciding import plan_study
from jobs.service.heartbeat import Heartbeat
from jobs.service.options import JobOptions, read_options
from jobs.service.queue import Ticket
from jobs.service.tracker import Tracker
from jobs.service.training import Observer, both, deadline_s, seconds_left, session_for
from jobs.service.turn import await_turn, queue_up
from jobs.store import Job, JobState, Lease, Store, end_job, find_job, job_key, read_job, read_requested, take_lease

_RECORD_TIMEOUT_S = 20.0


def drive_job(
    store: Store,
    job_id: str,
    observe: Observer,
    ticket: Ticket | None = None,
    begin: Callable[[], Callable[[], None]] = lambda: lambda: None,
    finish: Callable[[], object] = lambda: None,
) -> Job:
    """Become the driver of a job of the store, and train what is missing of it.

    Args:
        store: The store.
        job_id: The job.
        observe: Called with each event as it happens.
        ticket: The job's place in the queue of this machine, where it was taken already.
        begin: Called once this process is the job's driver, to open its log; returns a function that puts the log into
            the store, for each renewal of the lease.
        finish: Called once the job has ended, while this process still is its driver, to write its report.

    Returns:
        The job as it ended.

    Raises:
        JobHeldError: The job has another driver, or has ended.
        LeaseLostError: Another driver has taken the job over.
        InputError: The job's dataset has changed or is not on this machine, or its trials have other ids now.
        StoreError: The store cannot be read or written.
        DataError, KernelsError, ClusterError: The trials cannot be trained here.
    """
    _check_open(_await_record(store, job_id))
    lease = take_lease(store, job_id, "queued")
    with Heartbeat(store, lease) as heart:
        job = read_job(store, job_id)
        _check_open(job)  # it may have ended before the lease was taken
        heart.publish = begin()
        try:
            ended = _drive(store, job, lease, heart, observe, ticket)
        except LeaseLostError:
            raise
        except BaseException as error:
            with suppress(StoreError):  # which may be the reason; readers see that the driver is gone
                end_job(store, job, JobState.interrupted, reason=str(error))
            raise
        finish()
    return ended


def _await_record(store: Store, job_id: str) -> Job:
    """Read a job whose record may be written only after its driver was started."""
    deadline = time.monotonic() + _RECORD_TIMEOUT_S
    while True:
        try:
            return find_job(store, job_id)
        except InputError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def _check_open(job: Job) -> None:
    if job.end:
        raise JobHeldError(f"job {job.job_id}: has ended: {job.state}")


def _drive(store: Store, job: Job, lease: Lease, heart: Heartbeat, observe: Observer, ticket: Ticket | None) -> Job:
    if heart.asked():
        return end_job(store, job, JobState.cancelled)
    options = read_options(store, job)
    plan = plan_again(store, job)
    tracker = Tracker(job, plan)
    heart.progress = tracker.snapshot
    observe_both = both(tracker.observe, observe)
    ticket = ticket or queue_up(plan, options, job.job_id)

    def tell(title: str) -> None:
        tracker.wait_for(title)
        observe(Waiting(f"waiting for the cores of {title}"))

    try:
        if ticket and not await_turn(ticket, tell, heart.asked):
            return end_job(store, job, JobState.cancelled)
        until_s = deadline_s(options.within_s)  # waiting for the cores of other jobs does not count
        tracker.wait_for("")
        heart.enter("running")
        if not plan.missing:
            return end_at_once(job, plan)
        with session_for(plan, options) as (session, dataset):
            left_s = seconds_left(until_s, options)
            return run_job(
                job, plan, dataset, session, observe_both, options.workers, within_s=left_s, asked=heart.asked
            )
    finally:
        if ticket:
            ticket.close()


def plan_again(store: Store, job: Job) -> Plan:
    """Plan a job of the store anew from its record: the trials that are missing now.

    Raises:
        InputError: Its dataset has changed or is not on this machine, or its trials have other ids now.
        StoreError: The store cannot be read.
    """
    plan = plan_study(grid_of(store, job), store)
    if plan.grid.dataset_info.fingerprint != job.dataset.fingerprint:
        raise InputError(f"dataset {job.dataset.name}: has changed since job {job.job_id} was submitted; restore it")
    if plan.trials.keys() != set(read_requested(store, job)["trial_id"].to_pylist()):
        raise InputError(
            f"job {job.job_id}: its trials have other ids in this version of mnistjobs; "
            "allowed: the version that submitted it, or a new job of the same grid"
        )
    return plan


def grid_of(store: Store, job: Job) -> Grid:
    """Read the grid of a job from its record; raises InputError where its dataset is not on this machine."""
    folder = Path(JobOptions.of(job).grid_folder or "/")
    return parse_grid(job.grid, file=store.locate(job_key(job.job_id, "job.json")), folder=folder)
