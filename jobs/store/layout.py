"""The folders of a store, and the names of the files in them."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import StoreError
from mnist_core.paths import describe_missing, existing_path

_TRIAL_ID = re.compile(r"[0-9a-f]{32}")
_PART = re.compile(r"[0-9a-f]{64}\.parquet")
_WEIGHTS = re.compile(r"[0-9a-f]{64}\.safetensors")
JOB_ID = re.compile(r"(?P<second>(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)-\d{8}-\d{6})-[0-9a-f]{4}")


@dataclass(frozen=True)
class Store:
    """Name the folders of a store; the other modules of this package read and write what is in them."""

    root: Path

    @property
    def parts(self) -> Path:
        return self.root / "parts"

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def quarantine(self) -> Path:
        return self.root / "quarantine"

    @property
    def jobs(self) -> Path:
        return self.root / "jobs"


def open_store(path: Path) -> Store:
    """Check that a path can be a store, without writing to it.

    Raises:
        StoreError: the path is a URL, or it or one of its folders is something else than a folder.
    """
    if re.match(r"[a-z][a-z0-9+.-]*:/", str(path)):
        raise StoreError(f"store '{path}': is a URL; allowed: a folder, which every node of the cluster can reach")
    path = existing_path(path)
    store = Store(path.absolute())
    for folder in (path, store.parts, store.weights, store.jobs, store.checkpoints, store.quarantine):
        try:
            is_there = folder.exists()
            is_something_else = is_there and not folder.is_dir()
        except OSError as error:
            raise StoreError(f"store '{folder}': cannot be read: {error.strerror}; allowed: a folder") from error
        if is_something_else:
            raise StoreError(f"store '{folder}': is not a folder; allowed: a folder, or a path where none exists yet")
        if not is_there and (link := describe_missing(folder)):
            raise StoreError(f"store '{folder}': {link}; make that folder, or remove the link")
    return store


def is_part_name(name: str) -> bool:
    """Return whether a file in parts/ is a part; files of any other name are ignored."""
    return _PART.fullmatch(name) is not None


def is_weights_name(name: str) -> bool:
    """Return whether a file in weights/ holds the weights of a part; files of any other name are ignored."""
    return _WEIGHTS.fullmatch(name) is not None


def is_job_id(name: str) -> bool:
    """Return whether a folder in jobs/ may be that of a job; folders of any other name are ignored."""
    return JOB_ID.fullmatch(name) is not None


def job_folder(store: Store, job_id: str) -> Path:
    """Return the folder of a job.

    Args:
        store: The store.
        job_id: An id that was checked before, or made by `create_job`.
    """
    assert JOB_ID.fullmatch(job_id), job_id
    return store.jobs / job_id


def is_trial_id(text: str) -> bool:
    """Return whether a text may be the id of a trial."""
    return _TRIAL_ID.fullmatch(text) is not None


def weights_path(store: Store, sha256: str) -> Path:
    """Return the path of the weights with this hash.

    Raises:
        StoreError: `sha256` is not 64 hexadecimal digits, and might lead out of the store.
    """
    name = f"{sha256}.safetensors"
    if not is_weights_name(name):
        raise StoreError(f"{store.weights}: {sha256[:80]!r} names no weights; allowed: 64 hexadecimal digits")
    return store.weights / name


def trial_path(folder: Path, trial_id: str, suffix: str) -> Path:
    """Return the path of a file that is named after a trial.

    Raises:
        StoreError: `trial_id` is not 32 hexadecimal digits, and might lead out of the folder.
    """
    if not is_trial_id(trial_id):
        raise StoreError(f"{folder}: trial_id {trial_id[:80]!r} names no trial; allowed: 32 hexadecimal digits")
    return folder / f"{trial_id}{suffix}"


def open_store_of(path: Path, job: str | None) -> tuple[Store, str | None]:
    """Open the store of a job that may be named by the path of its folder, or of a file in it.

    Args:
        path: The store that is meant where the job is named by its id or its name.
        job: The job as a user names it; None means the latest one.

    Returns:
        The store, and the job's id or name.

    Raises:
        StoreError: As `open_store` does.
    """
    if job is None:
        return open_store(path), None
    named = job.rstrip("/") or job
    real = Path(os.path.realpath(os.path.expanduser(named)))
    for folder in (real, real.parent):
        if is_job_id(folder.name) and folder.parent.name == "jobs" and folder.is_dir():
            return open_store(folder.parent.parent), folder.name
    return open_store(path), named
