"""The lease of a job: who drives it, and that the driver lives.

lease.json is a heartbeat: its owner writes it again every few seconds, with a counter. Who may write it is decided by
files that are created once: the first owner creates lease.json, and whoever takes over from a driver that has gone
creates `lease.<owner>.next`, named after the owner before. Of many that try, one succeeds; an owner that finds such a
file with its own name has lost the lease.
"""

import os
import secrets
from pathlib import Path
from typing import Literal

from pydantic import NonNegativeInt, ValidationError

from jobs.errors import LeaseLostError, LostRecordError
from jobs.store.atomic_files import create_file, read_file, seconds_since_changed, write_file
from jobs.store.job_models import SealedModel, Text
from jobs.store.layout import Store, job_folder
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
    return create_file(_lease_path(store, lease.job_id), lease.seal().to_bytes())


def succeed(store: Store, before: Lease, lease: Lease) -> bool:
    """Take the lease over from an owner that has gone; return whether this was the first to do so.

    Args:
        store: The store.
        before: The last lease of `lease_chain`.
        lease: The lease of the new owner.

    Raises:
        StoreError: The store cannot be written.
    """
    if not create_file(_successor_path(store, before), lease.seal().to_bytes()):
        return False
    write_file(_lease_path(store, lease.job_id), lease.seal().to_bytes())
    return True


def renew_lease(store: Store, lease: Lease) -> None:
    """Write a lease again, with its counter raised by the caller.

    Raises:
        LeaseLostError: Another driver has taken the job over.
        StoreError: The store cannot be written, or the job's folder is gone.
    """
    folder = job_folder(store, lease.job_id)
    if not os.path.isdir(folder):  # to write would make it again
        raise LostRecordError(f"{folder}: is gone, although its job is running")
    _check_owner(store, lease)
    write_file(folder / _LEASE_FILE, lease.seal().to_bytes())
    _check_owner(store, lease)  # a process that was suspended in between may have lost it: the new owner writes again


def _check_owner(store: Store, lease: Lease) -> None:
    if successor := _read_lease(_successor_path(store, lease), lease.job_id):
        who = f"process {successor.driver.pid} on {successor.driver.host}"
        raise LeaseLostError(f"job {lease.job_id}: {who} has taken it over, because this driver seemed to be gone")


def read_lease(store: Store, job_id: str) -> Lease | None:
    """Read the heartbeat of a job, or return None where no driver has started yet.

    Raises:
        StoreError: The store cannot be read.
    """
    return _read_lease(_lease_path(store, job_id), job_id)


def lease_chain(store: Store, lease: Lease) -> list[Lease]:
    """Return a lease and those that were taken over from it; the last may be about to write its first heartbeat.

    Args:
        store: The store.
        lease: The lease that `read_lease` returned.

    Raises:
        StoreError: The store cannot be read.
    """
    chain = [lease]
    while successor := _read_lease(_successor_path(store, chain[-1]), lease.job_id):
        chain.append(successor)
    return chain


def lease_age_s(store: Store, job_id: str) -> float | None:
    """Return how long ago a job's lease was renewed, by the store's clock; None where that cannot be found out."""
    path = _lease_path(store, job_id)
    try:
        return seconds_since_changed(path, path.parent)
    except OSError:
        return None  # a store that may only be read


def claim_age_s(store: Store, before: Lease) -> float | None:
    """Return how long ago the lease was taken over from an owner; None where that cannot be found out."""
    path = _successor_path(store, before)
    try:
        return seconds_since_changed(path, path.parent)
    except OSError:
        return None


def _lease_path(store: Store, job_id: str) -> Path:
    return job_folder(store, job_id) / _LEASE_FILE


def _successor_path(store: Store, lease: Lease) -> Path:
    return job_folder(store, lease.job_id) / f"lease.{lease.owner}.next"


def _read_lease(path: Path, job_id: str) -> Lease | None:
    content = read_file(path)
    if content is None:
        return None
    try:
        lease = Lease.model_validate_json(content)
    except ValidationError:
        lease = None
    if lease is None or lease.job_id != job_id or lease.sha256 != lease.digest() or not lease.owner.isalnum():
        nobody = Process(host="", boot="", space=0, pid=0, started=0)
        return Lease(job_id=job_id, owner=_UNREADABLE, driver=nobody)
    return lease
