"""The folders of a store, and the names of the files in them."""

import re
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import StoreError

_TRIAL_ID = re.compile(r"[0-9a-f]{32}")
_PART = re.compile(r"[0-9a-f]{64}\.parquet")
_WEIGHTS = re.compile(r"[0-9a-f]{64}\.safetensors")


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
    store = Store(path.absolute())
    for folder in (path, store.parts, store.weights, store.jobs):
        try:
            is_something_else = folder.exists() and not folder.is_dir()
        except OSError as error:
            raise StoreError(f"store '{folder}': cannot be read: {error.strerror}; allowed: a folder") from error
        if is_something_else:
            raise StoreError(f"store '{folder}': is not a folder; allowed: a folder, or a path where none exists yet")
    return store


def is_part_name(name: str) -> bool:
    """Return whether a file in parts/ is a part; files of any other name are ignored."""
    return _PART.fullmatch(name) is not None


def is_weights_name(name: str) -> bool:
    """Return whether a file in weights/ holds the weights of a part; files of any other name are ignored."""
    return _WEIGHTS.fullmatch(name) is not None


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
    if not _TRIAL_ID.fullmatch(trial_id):
        raise StoreError(f"{folder}: trial_id {trial_id[:80]!r} names no trial; allowed: 32 hexadecimal digits")
    return folder / f"{trial_id}{suffix}"
