"""Start the driver of a job on a Ray cluster, through the cluster's job server, and find and stop it there.

The driver runs on the head, and belongs to the cluster from then on: the machine that submits may go. The
job is in the store, which the head and all nodes have to reach by the name that it has here.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import ClusterError
from jobs.service.shipped_code import shipped_code

if TYPE_CHECKING:
    from cluster.ray_jobs import RayJobs, RayJobState

PYTHON_VARIABLE = "MNISTJOBS_PYTHON"  # the Python of the head, where that is not found by itself
_SCRIPT = "jobs/service/on_head.sh"
_MAX_STARTS = 100  # of one job on one cluster


def launch_on_ray(
    address: str, job_id: str, store: str | Path, allow_unauthenticated: bool = False, *, again: bool = False
) -> str:
    """Start the driver of a job on a cluster, with the code that runs here, and return at once.

    A job that the cluster has under way is not started a second time, so that a repeated submission is safe.

    Args:
        address: http://HOST:8265 of the cluster's dashboard.
        job_id: The job, whose record is in the store.
        store: A folder or an address that means the same store on the head and on all nodes.
        allow_unauthenticated: Whether to accept a cluster that lets anybody on its network run programs.
        again: Whether to start another driver even where Ray takes one for running: the job is known to have none.

    Returns:
        The name that Ray knows the driver by, which begins with the job's id.

    Raises:
        ClusterError: The cluster cannot be reached, refuses this user, or does not start the driver.
    """
    from cluster.ray_jobs import ENDED, connect_to_jobs  # half a second to import

    cluster = connect_to_jobs(address, allow_unauthenticated=allow_unauthenticated)
    words = ["sh", _SCRIPT, job_id, _absolute(store)]
    python = os.environ.get(PYTHON_VARIABLE)
    with shipped_code() as code:
        for submission_id in _submission_ids(job_id):
            if cluster.submit(submission_id, shlex.join(words), code, {PYTHON_VARIABLE: python} if python else {}):
                break
            state = cluster.state(submission_id)
            if state and state.status not in ENDED and not again:
                break  # the same submission, repeated
    return submission_id


def reach_ray(address: str, allow_unauthenticated: bool = False) -> None:
    """Find out whether a driver could be started on a cluster, as far as that shows without starting one.

    Raises:
        ClusterError: The cluster cannot be reached, or refuses this user.
    """
    from cluster.ray_jobs import connect_to_jobs

    connect_to_jobs(address, allow_unauthenticated=allow_unauthenticated)


def stop_on_ray(address: str, job_id: str, allow_unauthenticated: bool = False) -> bool:
    """Ask the cluster to end the drivers of a job; those that have not ended after 20 seconds are killed.

    Returns:
        Whether there was one.

    Raises:
        ClusterError: The cluster cannot be reached, or refuses this user.
    """
    from cluster.ray_jobs import ENDED, connect_to_jobs

    cluster = connect_to_jobs(address, allow_unauthenticated=allow_unauthenticated)
    running = [name for name, state in _drivers(cluster, job_id) if state.status not in ENDED]
    stopped = [cluster.stop(name) for name in running]
    return any(stopped)


@dataclass(frozen=True)
class DriverOnRay:
    """The latest driver of a job as its cluster knows it. The job's own state is in the store."""

    has_ended: bool
    explanation: str  # one line: why the job has no driver, as far as the cluster knows


def look_on_ray(address: str, job_id: str, allow_unauthenticated: bool = False) -> DriverOnRay:
    """Ask a cluster about a job of its own that has not started, or is lost."""
    from cluster.ray_jobs import ENDED, connect_to_jobs

    try:
        cluster = connect_to_jobs(address, allow_unauthenticated=allow_unauthenticated)
        drivers = list(_drivers(cluster, job_id))
        if not drivers:
            return DriverOnRay(True, f"the cluster at {address} knows no driver of this job")
        name, state = drivers[-1]
        if state.status not in ENDED:
            return DriverOnRay(False, state.message)
        lines = [line.strip() for line in cluster.logs(name).splitlines() if line.strip()]
    except ClusterError as error:
        return DriverOnRay(False, str(error))
    # Where the driver has begun to run, its log is in the store.
    detail = f": {lines[-1]}" if lines and not lines[-1].startswith("Running entrypoint") else ""
    return DriverOnRay(True, f"its driver on the cluster has ended ({state.message}){detail}")


def _submission_ids(job_id: str) -> Iterator[str]:
    """Yield the names by which Ray knows the drivers of a job, in their order: Ray takes each name once."""
    yield job_id
    yield from (f"{job_id}-{number}" for number in range(2, _MAX_STARTS))


def _drivers(cluster: RayJobs, job_id: str) -> Iterator[tuple[str, RayJobState]]:
    for submission_id in _submission_ids(job_id):
        if (state := cluster.state(submission_id)) is None:
            return
        yield submission_id, state


def _absolute(store: str | Path) -> str:
    text = os.fspath(store)
    return text if "://" in text else os.path.abspath(text)
