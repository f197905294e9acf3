"""Whether a job's driver lives: a process of this host is looked up, any other is judged by its lease.

The clocks of two machines are never compared: the age of a lease is measured by the store's clock alone, and where that
cannot be read, two looks at its counter decide.
"""

import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jobs.errors import JobHeldError
from jobs.store.layout import Store
from jobs.store.lease import (
    Lease,
    Phase,
    claim_age_s,
    create_lease,
    lease_age_s,
    lease_chain,
    new_lease,
    read_lease,
    succeed,
)
from jobs.store.processes import is_here, is_running

RENEW_S = 5.0  # between two renewals of a lease
LEASE_S = 30.0  # an older lease is over
LOOK_AGAIN_S = 2.5 * RENEW_S  # a counter that stands still for so long is not raised any longer
_POLL_S = 0.5


@dataclass(frozen=True)
class Look:
    """One look at a lease."""

    lease: Lease
    age_s: float | None  # since the last renewal, by the store's clock; None where that cannot be read
    is_alive: bool | None  # None: only another look can tell


def look(store: Store, job_id: str) -> Look | None:
    """Look at the lease of a job once; return None where no driver has started yet.

    Raises:
        StoreError: The store cannot be read.
    """
    lease = read_lease(store, job_id)
    if lease is None:
        return None
    if lease.phase == "released":
        return Look(lease, lease_age_s(store, job_id), False)
    if is_here(lease.driver):
        return Look(lease, None, is_running(lease.driver, lease.thread))
    age_s = lease_age_s(store, job_id)
    return Look(lease, age_s, _is_young(age_s))


def _is_young(age_s: float | None) -> bool | None:
    """Return whether a file was written within the time of a lease; None where its age decides nothing."""
    return None if age_s is None or age_s < -LEASE_S else age_s < LEASE_S


def is_driven(store: Store, job_id: str) -> bool:
    """Return whether the driver of a job is still at work, as far as one look shows.

    Of a driver on another machine that has ended in peace this is known only once its lease is over.

    Raises:
        StoreError: The store cannot be read.
    """
    seen = look(store, job_id)
    return seen is not None and seen.is_alive is not False


def look_at_all(store: Store, job_ids: Collection[str]) -> dict[str, Look | None]:
    """Look at the leases of several jobs, a second time after a while at those that the first look leaves open.

    Returns:
        By job_id what was seen, None where no driver has started yet; `is_alive` is never None.

    Raises:
        StoreError: The store cannot be read.
    """
    found = {job_id: look(store, job_id) for job_id in job_ids}
    still_open = {job_id: seen.lease for job_id, seen in found.items() if seen and seen.is_alive is None}
    moving = _moving(store, still_open)
    for job_id, lease in still_open.items():
        found[job_id] = Look(lease, None, job_id in moving)
    return found


def _moving(store: Store, leases: Mapping[str, Lease]) -> set[str]:
    """Wait until the counters of these leases have moved, or until they are known to stand still."""
    moved: set[str] = set()
    deadline = time.monotonic() + LOOK_AGAIN_S
    while len(moved) < len(leases) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
        moved |= {job_id for job_id in leases.keys() - moved if read_lease(store, job_id) != leases[job_id]}
    return moved


def take_lease(store: Store, job_id: str, phase: Phase = "running") -> Lease:
    """Become the driver of a job that has none, or whose driver has gone.

    Args:
        store: The store.
        job_id: The job.
        phase: `queued` where the job may have to wait for room on this machine.

    Returns:
        The lease, which has to be renewed every RENEW_S seconds.

    Raises:
        JobHeldError: The job has a driver.
        StoreError: The store cannot be read or written.
    """
    lease = new_lease(job_id, phase)
    if read_lease(store, job_id) is None and create_lease(store, lease):
        return lease
    seen = look_at_all(store, [job_id])[job_id]
    if seen is None or seen.is_alive:
        raise _held(job_id, seen.lease if seen else None)
    chain = lease_chain(store, seen.lease)
    if len(chain) > 1 and _is_starting(store, *chain[-2:]):
        raise _held(job_id, chain[-1])
    if not succeed(store, chain[-1], lease):
        raise _held(job_id, None)
    return lease


def _is_starting(store: Store, before: Lease, last: Lease) -> bool:
    """Return whether the last owner lives, who has taken the lease over and not yet renewed it."""
    if is_here(last.driver):
        return is_running(last.driver, last.thread)
    return _is_young(claim_age_s(store, before)) is not False


def _held(job_id: str, lease: Lease | None) -> JobHeldError:
    who = f" of process {lease.driver.pid} on {lease.driver.host}" if lease else ""
    return JobHeldError(f"job {job_id}: runs under the driver{who}; a job has one driver at a time")
