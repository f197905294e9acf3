"""The folders of a store, and the names of the objects in them."""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jobs.errors import StoreError
from jobs.store.backends import Backend, FolderBackend, ObjectBackend, StoreUrl, is_url, parse_url
from mnist_core.paths import describe_missing, existing_path

PARTS, WEIGHTS, CHECKPOINTS, QUARANTINE, JOBS = "parts/", "weights/", "checkpoints/", "quarantine/", "jobs/"
COMPACTION_LOCK = "compaction.lock"
_TRIAL_ID = re.compile(r"[0-9a-f]{32}")
_PART = re.compile(r"[0-9a-f]{64}\.parquet")
_WEIGHTS = re.compile(r"[0-9a-f]{64}\.safetensors")
JOB_ID = re.compile(r"(?P<second>(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)-\d{8}-\d{6})-[0-9a-f]{4}")
_JOB_IN_URL = re.compile(rf"(?P<store>.+)/jobs/(?P<job>{JOB_ID.pattern})(/[^/]*)?/?")
# The beginnings of the names of the variables that a client depends on.
_SETTINGS = ("AWS_", "AZURE_", "GOOGLE_", "MNISTJOBS_")


@dataclass(frozen=True)
class Store:
    """Where a store is; the other modules of this package read and write what is in it."""

    location: Path | StoreUrl

    @property
    def backend(self) -> Backend:
        """The folder or bucket of the store, found anew in each process, with the credentials of its machine."""
        return FolderBackend(self.location) if isinstance(self.location, Path) else _bucket(self.location, _settings())

    @property
    def is_remote(self) -> bool:
        """Whether reading takes a request over a network."""
        return not isinstance(self.location, Path)

    def locate(self, key: str = "") -> str:
        """Write where an object of the store is for a person: a path, or a URL."""
        return self.backend.locate(key.rstrip("/"))

    # Paths, of a store that is a folder.

    @property
    def root(self) -> Path:
        if not isinstance(self.location, Path):
            raise StoreError(f"store '{self.location}': is not a folder; allowed here: a folder")
        return self.location

    @property
    def parts(self) -> Path:
        return self.root / PARTS

    @property
    def weights(self) -> Path:
        return self.root / WEIGHTS

    @property
    def checkpoints(self) -> Path:
        return self.root / CHECKPOINTS

    @property
    def quarantine(self) -> Path:
        return self.root / QUARANTINE

    @property
    def jobs(self) -> Path:
        return self.root / JOBS


def _settings() -> frozenset[tuple[str, str]]:
    return frozenset(item for item in os.environ.items() if item[0].startswith(_SETTINGS))


@cache
def _bucket(url: StoreUrl, settings: frozenset[tuple[str, str]]) -> ObjectBackend:
    """Keep one backend per bucket, and with it its connections, until the settings of the environment change."""
    return ObjectBackend(url)


def open_store(place: str | Path) -> Store:
    """Check that a place can be a store, without writing to it.

    Args:
        place: The path of a folder, or the URL of a bucket and a prefix in it.

    Raises:
        StoreError: It, or one of its folders, is something else than a folder; or the bucket cannot be used.
    """
    if is_url(str(place)):
        url = parse_url(str(place))
        ObjectBackend(url).check()
        return Store(url)
    return _open_folder(Path(place))


def read_url(url: str) -> bytes | None:
    """Read one object, named by its URL; None where there is none. Where nothing answers, it gives up soon.

    Raises:
        StoreError: There are no credentials, they are not accepted, or nothing answers.
    """
    found = parse_url(url)
    folder, _, name = found.prefix.rpartition("/")
    backend = ObjectBackend(StoreUrl(found.scheme, found.bucket, folder))
    backend.check()
    read = backend.get(name)
    return read and read[0]


def _open_folder(path: Path) -> Store:
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
    """Return whether an object in parts/ is a part; those of any other name are ignored."""
    return _PART.fullmatch(name) is not None


def is_weights_name(name: str) -> bool:
    """Return whether an object in weights/ holds the weights of a part; those of any other name are ignored."""
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


def weights_key(store: Store, sha256: str) -> str:
    """Return the key of the weights with this hash.

    Raises:
        StoreError: `sha256` is not 64 hexadecimal digits, and might lead out of the store.
    """
    name = f"{sha256}.safetensors"
    if not is_weights_name(name):
        where = store.locate(WEIGHTS)
        raise StoreError(f"{where}: {sha256[:80]!r} names no weights; allowed: 64 hexadecimal digits")
    return f"{WEIGHTS}{name}"


def trial_key(store: Store, prefix: str, trial_id: str, suffix: str) -> str:
    """Return the key of an object that is named after a trial.

    Raises:
        StoreError: `trial_id` is not 32 hexadecimal digits, and might lead out of the folder.
    """
    if not is_trial_id(trial_id):
        where = store.locate(prefix)
        raise StoreError(f"{where}: trial_id {trial_id[:80]!r} names no trial; allowed: 32 hexadecimal digits")
    return f"{prefix}{trial_id}{suffix}"


def job_key(job_id: str, name: str = "") -> str:
    """Return the key of an object of a job, or of the job's folder.

    Args:
        job_id: An id that was checked before, or made by `create_job`.
        name: The name of the object in the job's folder.
    """
    assert JOB_ID.fullmatch(job_id), job_id
    return f"{JOBS}{job_id}/{name}"


def open_store_of(place: str | Path, job: str | None) -> tuple[Store, str | None]:
    """Open the store of a job that may be named by the path or URL of its folder, or of a file in it.

    Args:
        place: The store that is meant where the job is named by its id or its name.
        job: The job as a user names it; None means the latest one.

    Returns:
        The store, and the job's id or name.

    Raises:
        StoreError: As `open_store` does.
    """
    if job is None:
        return open_store(place), None
    if is_url(job) and (match := _JOB_IN_URL.fullmatch(job)):
        return open_store(match["store"]), match["job"]
    named = job.rstrip("/") or job
    real = Path(os.path.realpath(os.path.expanduser(named)))
    for folder in (real, real.parent):
        if is_job_id(folder.name) and folder.parent.name == "jobs" and folder.is_dir():
            return open_store(folder.parent.parent), folder.name
    return open_store(place), named
