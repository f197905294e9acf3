"""The lease of a job: who drives it, and that the driver lives.

lease.json is a heartbeat: its owner writes it again every few seconds, with a counter. Files that are created
once decide who may write it: the first owner creates lease.json, and a process that takes over from a driver that
has gone creates `lease.<owner>.next`, named after the owner before. Of many that try, one succeeds; an owner that finds
such a file with its own name has lost the lease.
"""

import secrets
from typing import Literal

from pydantic import NonNegativeInt, ValidationError

from jobs.errors import LeaseLostError, LostRecordError, StoreError
from jobs.store.backends import Refused
from jobs.store.job_models import SealedModel, Text
from jobs.store.layout import Store, job_key
from jobs.store.processes import Process, this_process

_LEASE_FILE = "lease.json"
_UNREADABLE = "unreadable"  # the owner of a lease.json that somebody has damaged

Phase = Literal["queued", "running", "released"]


class Lease(SealedModel):
    """Who drives a job: the content of lease.json."""

    owner: Text  # a random name; a process may drive several jobs, or one job twice
    counter: NonNegativeInt = 0  # raised with every renewal
    driver: Process
    thread: NonNegativeInt = 0  # of the driver, which renews the lease; 0 where unknown
    phase: Phase = "running"  # queued: its machine has no room for the job yet; released: its driver has given it up


def new_lease(job_id: str, phase: Phase = "running") -> Lease:
    """Make a lease of this process, which is not written yet."""
    return Lease(job_id=job_id, owner=secrets.token_hex(8), driver=this_process(), phase=phase)


def create_lease(store: Store, lease: Lease) -> bool:
    """Write a job's first lease; return whether this was the first.

    Raises:
        StoreError: The store cannot be written.
    """
    return _create(store, _lease_key(lease.job_id), lease)


def succeed(store: Store, before: Lease, lease: Lease) -> bool:
    """Take the lease over from an owner that has gone; return whether this was the first to do so.

    Args:
        store: The store.
        before: The last lease of `lease_chain`.
        lease: The lease of the new owner.

    Raises:
        StoreError: The store cannot be written.
    """
    if not _create(store, _successor_key(before), lease):
        return False
    store.backend.put(_lease_key(lease.job_id), lease.seal().to_bytes())
    return True


def _create(store: Store, key: str, lease: Lease) -> bool:
    return store.backend.put(key, lease.seal().to_bytes(), create_only=True) is not Refused.exists


def renew_lease(store: Store, lease: Lease) -> None:
    """Write a lease again, with its counter raised by the caller.

    Raises:
        LeaseLostError: Another driver has taken the job over.
        StoreError: The store cannot be written, or the job's folder is gone.
    """
    if not store.backend.has_folder(job_key(lease.job_id)):  # to write would make it again
        raise LostRecordError(f"{store.locate(job_key(lease.job_id))}: is gone, although its job is running")
    _check_owner(store, lease)
    store.backend.put(_lease_key(lease.job_id), lease.seal().to_bytes())
    _check_owner(store, lease)  # a process that was suspended in between may have lost it: the new owner writes again


def _check_owner(store: Store, lease: Lease) -> None:
    if successor := _read_lease(store, _successor_key(lease), lease.job_id):
        who = f"process {successor.driver.pid} on {successor.driver.host}"
        raise LeaseLostError(f"job {lease.job_id}: {who} has taken it over, because this driver seemed to be gone")


def read_lease(store: Store, job_id: str) -> Lease | None:
    """Read the heartbeat of a job, or return None where no driver has started yet.

    Raises:
        StoreError: The store cannot be read.
    """
    return _read_lease(store, _lease_key(job_id), job_id)


def lease_chain(store: Store, lease: Lease) -> list[Lease]:
    """Return a lease and those that were taken over from it; the last may be about to write its first heartbeat.

    Args:
        store: The store.
        lease: The lease that `read_lease` returned.

    Raises:
        StoreError: The store cannot be read.
    """
    chain = [lease]
    while successor := _read_lease(store, _successor_key(chain[-1]), lease.job_id):
        chain.append(successor)
    return chain


def lease_age_s(store: Store, job_id: str) -> float | None:
    """Return how long ago a job's lease was renewed, by the store's clock; None where that cannot be found out."""
    return _age_s(store, _lease_key(job_id))


def claim_age_s(store: Store, before: Lease) -> float | None:
    """Return how long ago the lease was taken over from an owner; None where that cannot be found out."""
    return _age_s(store, _successor_key(before))


def _age_s(store: Store, key: str) -> float | None:
    try:
        entry = store.backend.head(key)
        return store.backend.now_s(key) - entry.changed_s if entry else None
    except StoreError:
        return None  # a store that may only be read


def _lease_key(job_id: str) -> str:
    return job_key(job_id, _LEASE_FILE)


def _successor_key(lease: Lease) -> str:
    return job_key(lease.job_id, f"lease.{lease.owner}.next")


def _read_lease(store: Store, key: str, job_id: str) -> Lease | None:
    found = store.backend.get(key)
    if found is None:
        return None
    try:
        lease = Lease.model_validate_json(found[0])
    except ValidationError:
        lease = None
    if lease is None or lease.job_id != job_id or lease.sha256 != lease.digest() or not lease.owner.isalnum():
        nobody = Process(host="", boot="", space=0, pid=0, started=0)
        return Lease(job_id=job_id, owner=_UNREADABLE, driver=nobody)
    return lease
