"""Trained weights: one safetensors file for the trials of a part, named by the sha256 of its bytes.

The tensors are named <trial_id>/<parameter>. The file is written before its part, whose rows name it.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from jobs.errors import StoreError
from jobs.store.atomic_files import NOT_THERE
from jobs.store.layout import WEIGHTS, Store, is_weights_name, weights_key

Weights = Mapping[str, NDArray[Any]]  # by parameter
_MAX_BYTES = 1 << 34  # of a file; a larger one is neither written nor read


def write_weights(store: Store, weights: Mapping[str, Weights]) -> str:
    """Write the weights of a part's trials as one file; the part that names it has to be written afterwards.

    Args:
        store: where to write them.
        weights: by trial_id, each trial's arrays by parameter.

    Returns:
        The sha256 of the file, which names it.

    Raises:
        StoreError: the file cannot be written.
    """
    content = save(
        {
            f"{trial_id}/{parameter}": np.ascontiguousarray(array)
            for trial_id, arrays in weights.items()
            for parameter, array in arrays.items()
        }
    )
    if len(content) > _MAX_BYTES:
        where = store.locate(WEIGHTS)
        raise StoreError(f"{where}: a part with {len(content)} bytes of weights; allowed: {_MAX_BYTES}")
    sha256 = hashlib.sha256(content).hexdigest()
    # Also where the file exists: its new modification time keeps a cleanup from removing it before the part is written.
    store.backend.put(weights_key(store, sha256), content)
    return sha256


def read_weights(store: Store, trial_id: str, sha256: str) -> dict[str, NDArray[Any]] | None:
    """Read one trial's weights.

    Args:
        store: where to read them.
        trial_id: the trial.
        sha256: of the file, as the trial's row names it.

    Returns:
        The arrays by parameter, or None where the file is missing or damaged, or does not hold the trial.

    Raises:
        StoreError: the file exists and cannot be read.
    """
    ((_, weights),) = read_weights_of(store, {trial_id: sha256})
    return weights


def read_weights_of(store: Store, hashes: Mapping[str, str]) -> Iterator[tuple[str, dict[str, NDArray[Any]] | None]]:
    """Yield some trials with their weights, or with None as `read_weights` does; each file is verified once.

    Args:
        store: where to read them.
        hashes: by trial_id, the sha256 of the file that holds the trial's weights.
    """
    trials: dict[str, list[str]] = {}
    for trial_id, sha256 in hashes.items():
        trials.setdefault(sha256, []).append(trial_id)
    for sha256, of_file in trials.items():
        with store.backend.local_file(weights_key(store, sha256)) as path:
            is_whole = path and _check_file(path, sha256) == "whole"
            for trial_id in of_file:
                yield trial_id, _read_tensors(path, trial_id) if path and is_whole else None


def stored_weights(store: Store) -> frozenset[str]:
    """Return the hashes of the files of weights that a store has, whatever is in them; raises StoreError."""
    names = store.backend.names(WEIGHTS, objects_only=True)
    return frozenset(name.removesuffix(".safetensors") for name in names if is_weights_name(name))


def check_weights(store: Store, sha256: str) -> Literal["whole", "missing", "damaged"]:
    """Compare a file of weights with its name; raises StoreError where it exists and cannot be read."""
    with store.backend.local_file(weights_key(store, sha256)) as path:
        return _check_file(path, sha256) if path else "missing"


def _check_file(path: Path, sha256: str) -> Literal["whole", "missing", "damaged"]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > _MAX_BYTES:
                return "damaged"
            return "whole" if hashlib.file_digest(file, "sha256").hexdigest() == sha256 else "damaged"
    except OSError as error:
        if error.errno in NOT_THERE:
            return "missing"
        raise StoreError(f"{path}: cannot be read: {error.strerror}; allowed: a file that you may read") from error


def _read_tensors(path: Path, trial_id: str) -> dict[str, NDArray[Any]] | None:
    """Read one trial's tensors of a verified file, or return None where there are none."""
    prefix = f"{trial_id}/"
    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118 - it is not a mapping
            found = {name.removeprefix(prefix): file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):  # its hash is right; it may still be foreign
        return None
    return found or None
