"""Go on with a job: a lost one under a new driver, one that has ended as a new job of the same grid."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from jobs.errors import JobHeldError
from jobs.service.deciding import plan_study
from jobs.service.drive import drive_job, grid_of, plan_again
from jobs.service.launch import launch, submit_detached
from jobs.service.options import JobOptions, read_options, write_options
from jobs.service.ray_launch import look_on_ray, reach_ray
from jobs.service.training import Observer, train_attached
from jobs.service.turn import queue_up
from jobs.store import Job, JobState, Process, Store, is_running, read_job, read_lease

_START_S = 30.0  # for a driver to take the lease
_CLUSTER_START_S = 120.0  # the same on a cluster, which unpacks the code first
_POLL_S = 0.1
_LOOKS = 30  # into the store, before the cluster is asked


@dataclass(frozen=True)
class Resumed:
    """The job that goes on, and whether it is a new one."""

    job: Job
    is_new: bool


def resume_job(
    store: Store, job: Job, options: JobOptions, observe: Observer, finish: Callable[[], object] = lambda: None
) -> Resumed:
    """Train what is missing of a job.

    Args:
        store: The store.
        job: The job as it was just read.
        options: How to train from now on.
        observe: Called with each event as it happens, unless the job is detached.
        finish: Called once a job that was lost, and is not detached, has ended, as `drive_job` does.

    Returns:
        The same job where its driver was lost, a new one where it had ended.

    Raises:
        JobHeldError: The job has a driver.
        InputError: Its dataset has changed or is not on this machine, or its trials have other ids now.
        StoreError: The store cannot be read or written.
        OSError, ClusterError: The driver cannot be started.
    """
    if job.end:
        plan, options = plan_study(grid_of(store, job), store), replace(options, within_s=None)  # a budget is used up
        again = submit_detached(plan, options) if options.detach else train_attached(plan, options, observe)
        return Resumed(again, True)
    if job.state is JobState.running or (job.state is JobState.queued and job.driver):
        where = f" on {job.driver.host}" if job.driver else ""
        raise JobHeldError(f"job {job.job_id}: is {job.state.value}{where}; a job has one driver at a time")
    if options.is_job_server:
        reach_ray(options.address or "", options.allow_unauthenticated)  # before anything is written
    write_options(store, job.job_id, options)
    if not options.detach:
        return Resumed(drive_job(store, job.job_id, observe, finish=finish), False)
    if options.is_job_server:
        before = read_lease(store, job.job_id)
        launch(store, job.job_id, options, again=True)
        _await_owner(store, job, before.owner if before else "", options)
        return Resumed(read_job(store, job.job_id), False)
    ticket = queue_up(plan_again(store, job), options, job.job_id)
    driver = launch(store, job.job_id, options, ticket, again=True)
    if driver:
        _await_lease(store, job, driver)
    return Resumed(read_job(store, job.job_id), False)


def _await_lease(store: Store, job: Job, driver: Process) -> None:
    """Wait, at most for a while, until a driver that was just started has the job; raise JobHeldError if it ended."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        lease = read_lease(store, job.job_id)
        if lease and lease.driver.pid == driver.pid and lease.driver.started == driver.started:
            return
        if not is_running(driver):
            raise JobHeldError(f"job {job.job_id}: its new driver has ended at once; the job's log has the reason")
        time.sleep(_POLL_S)


def _await_owner(store: Store, job: Job, before: str, options: JobOptions) -> None:
    """Wait until a driver that a cluster starts has the job; until then the job still seems to be lost.

    Args:
        store: The store.
        job: The job.
        before: The owner of its lease so far; "" for none.
        options: Where the driver starts.

    Raises:
        JobHeldError: The driver has ended, or takes too long.
    """
    deadline = time.monotonic() + _CLUSTER_START_S
    while time.monotonic() < deadline:
        for _ in range(_LOOKS):
            lease = read_lease(store, job.job_id)
            if lease and lease.owner != before:
                return
            time.sleep(_POLL_S)
        driver = look_on_ray(options.address or "", job.job_id, options.allow_unauthenticated)
        if driver.has_ended:
            break
    raise JobHeldError(f"job {job.job_id}: its new driver has not started: {driver.explanation}")


def options_to_resume(store: Store, job: Job, **given: object) -> JobOptions:
    """Return the options that a job was last driven with, changed by those that are given.

    Args:
        store: The store.
        job: The job.
        given: Options by name; None leaves one unchanged.
    """
    changed = {name: value for name, value in given.items() if value is not None}
    options = replace(read_options(store, job), **changed)  # type: ignore[arg-type]
    return replace(options, detach=True) if options.is_job_server else options
