"""Train a plan in the process that submits it; `jobs.service.drive` does so for jobs that outlive it."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from cluster import Session, Waiting
from jobs.errors import InputError, LeaseLostError
from jobs.run import (
    CancelAsked,
    JobEvent,
    Plan,
    check_kernels,
    check_precision,
    end_at_once,
    node_admission,
    open_job,
    open_session,
    run_job,
    stop_before_start,
)
from jobs.service.heartbeat import Heartbeat
from jobs.service.on_done import run_on_done
from jobs.service.options import JobOptions
from jobs.service.queue import Ticket
from jobs.service.tracker import Tracker
from jobs.service.turn import await_turn, queue_up
from jobs.store import Job, Lease, Process, clean_up, create_lease, new_lease, this_process
from mnist_core.data import Dataset, fetch_mnist, find_mnist, load_dataset

Observer = Callable[[JobEvent], None]
_CLOSING_S = 2.0  # in which a Ray that was started for a job ends


def train_attached(plan: Plan, options: JobOptions, observe: Observer) -> Job:
    """Enter a new job into the store and train what its plan lacks, in this process or on a Ray.

    Args:
        plan: The plan.
        options: How to train.
        observe: Called with each event as it happens.

    Returns:
        The job as it ended.

    Raises:
        InputError: The dataset has changed since the grid was read, or the device lacks a precision.
        StoreError: The store cannot be read or written.
        JobHeldError, LeaseLostError: Another driver has the job.
        DataError, KernelsError, ClusterError: As `open_session` and `load_dataset` raise them.
    """
    until_s = deadline_s(options.within_s)
    if not plan.missing:
        return _end_at_once(plan, options, lambda job: end_at_once(job, plan))
    with _turn(queue_up(plan, options), observe, until_s) as has_turn:
        if not has_turn:
            return _end_at_once(plan, options, lambda job: stop_before_start(job, plan))
        return _train_in_turn(plan, options, observe, until_s)


def _train_in_turn(plan: Plan, options: JobOptions, observe: Observer, until_s: float | None) -> Job:
    with session_for(plan, options) as (session, dataset):
        job, lease = _enter(plan, options)
        try:
            ended = _train(job, lease, plan, dataset, session, options, observe, seconds_left(until_s, options))
        except LeaseLostError:
            raise
        except BaseException:
            run_on_done(plan.store, job.job_id, may_wait=False)
            raise
        run_on_done(plan.store, job.job_id)
        return ended


def deadline_s(within_s: float | None) -> float | None:
    """Return when, on the monotonic clock, a budget that begins now is used up; None: never.

    Raises:
        InputError: It is not above zero.
    """
    if within_s is not None and not 0 < within_s < math.inf:
        raise InputError(f"within_s {within_s}: allowed: seconds above 0")
    return None if within_s is None else time.monotonic() + within_s


def seconds_left(until_s: float | None, options: JobOptions) -> float | None:
    """Return how long trials may run until then, before a Ray that was started for them is ended."""
    closing_s = 0.0 if options.in_process else _CLOSING_S
    return None if until_s is None else until_s - time.monotonic() - closing_s


def _end_at_once(plan: Plan, options: JobOptions, end: Callable[[Job], Job]) -> Job:
    job, lease = _enter(plan, options)
    with Heartbeat(plan.store, lease):
        ended = end(job)
    run_on_done(plan.store, job.job_id)
    return ended


@contextmanager
def _turn(ticket: Ticket | None, observe: Observer, until_s: float | None) -> Iterator[bool]:
    """Hold this machine's cores, after waiting for them; yield whether they were free in time."""
    if ticket is None:
        yield True
        return

    def is_late() -> CancelAsked | None:
        return None if until_s is None or time.monotonic() < until_s else CancelAsked()

    try:
        yield await_turn(ticket, lambda title: observe(Waiting(f"waiting for the cores of {title}")), is_late)
    finally:
        ticket.close()


def _enter(plan: Plan, options: JobOptions) -> tuple[Job, Lease]:
    """Enter a job into the store whose driver is this process."""
    leases: list[Lease] = []

    def start(job_id: str) -> Process:
        leases.append(new_lease(job_id))
        create_lease(plan.store, leases[0])  # before job.json: the job never seems to have no driver
        return this_process()

    clean_up(plan.store, plan.missing)  # after killed processes, which may free a full disk
    return open_job(plan, options.record(), start), leases[0]


def _train(
    job: Job,
    lease: Lease,
    plan: Plan,
    dataset: Dataset,
    session: Session,
    options: JobOptions,
    observe: Observer,
    within_s: float | None,
) -> Job:
    tracker = Tracker(job, plan)
    with Heartbeat(plan.store, lease, tracker.snapshot) as heart:
        observe_both = both(tracker.observe, observe)
        return run_job(job, plan, dataset, session, observe_both, options.workers, within_s=within_s, asked=heart.asked)


def both(first: Observer, second: Observer) -> Observer:
    """Return an observer that passes each event to two others."""

    def observe(event: JobEvent) -> None:
        first(event)
        second(event)

    return observe


@contextmanager
def session_for(plan: Plan, options: JobOptions) -> Iterator[tuple[Session, Dataset]]:
    """Open the session for a plan's tasks, and read its dataset meanwhile: Ray takes seconds, mostly waiting."""
    source = plan.grid.dataset_source()
    if source == "mnist" and find_mnist() is None:
        fetch_mnist()
    try:
        with ThreadPoolExecutor(1) as reader:
            loading = reader.submit(load_dataset, source)
            with open_session(
                plan.grid,
                address=options.driver_address,
                workers=options.workers,
                in_process=options.in_process,
                allow_unauthenticated=options.allow_unauthenticated,
                admission=partial(node_admission, plan),
            ) as session:
                dataset = loading.result()
                if dataset.fingerprint != plan.grid.dataset_info.fingerprint:
                    raise InputError(
                        f"dataset {dataset.name}: has changed since the grid was read; submit the grid again"
                    )
                check_precision(plan, session.device)
                if options.in_process and session.device == "cpu":
                    check_kernels(plan)
                yield session, dataset
    finally:
        clean_up(plan.store, plan.missing)  # a worker that is interrupted is killed, perhaps while it writes a file
