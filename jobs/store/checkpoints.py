"""Checkpoints of running trials, from which a later task continues if the first one is killed.

A file holds a sha256, then safetensors with that hash. It is used if the hash is right and the same versions wrote it
for the same trial on the same kind of device with the same kernels. Losing it costs only time: the trial then starts
from the beginning.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from jobs.errors import StoreError
from jobs.store.layout import CHECKPOINTS, Store, is_trial_id, trial_key
from mnist_core.training import EpochRecord, Snapshot
from mnist_core.trial import Trial

_DIGEST_BYTES = hashlib.sha256().digest_size
_SUFFIX = ".checkpoint"
_RECORD = [name for name in EpochRecord.__dataclass_fields__ if name != "trial"]


def write_checkpoint(store: Store, trial_id: str, snapshot: Snapshot, made_by: Mapping[str, str]) -> None:
    """Write a trial's checkpoint, replacing the previous one.

    Args:
        store: where to write it.
        trial_id: the trial.
        snapshot: the trial's state after an epoch.
        made_by: the versions, the device and its kernels; only a task with the same ones uses the checkpoint.

    Raises:
        StoreError: it cannot be written.
    """
    arrays: dict[str, NDArray[Any]] = {"epochs": _record_table(snapshot.epochs)}
    for kind, group in (("weights", snapshot.weights), ("velocities", snapshot.velocities)):
        arrays |= {f"{kind}/{name}": np.ascontiguousarray(value) for name, value in group.items()}
    content = save(arrays, metadata={"made_by": _identity(trial_id, made_by)})
    store.backend.put(checkpoint_key(store, trial_id), hashlib.sha256(content).digest() + content)


def read_checkpoint(store: Store, trial_id: str, trial: Trial, made_by: Mapping[str, str]) -> Snapshot | None:
    """Read a trial's checkpoint, or return None where there is none that can be used.

    Raises:
        StoreError: the file exists and cannot be read.
    """
    found = store.backend.get(checkpoint_key(store, trial_id))
    content = found[0] if found else b""
    digest, content = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(content).digest() != digest:
        return None
    # A file with a right hash may still come from another program.
    try:
        return _snapshot(content, trial, _identity(trial_id, made_by))
    except (ValueError, KeyError, TypeError, RecursionError, SafetensorError):
        return None


def _snapshot(content: bytes, trial: Trial, identity: str) -> Snapshot | None:
    if _metadata(content)["made_by"] != identity:
        return None
    arrays: dict[str, NDArray[Any]] = load(content)
    groups: dict[str, dict[str, NDArray[Any]]] = {"weights": {}, "velocities": {}}
    for key, value in arrays.items():
        kind, _, name = key.partition("/")
        if name:
            groups[kind][name] = value
    return Snapshot(trial, _records(trial, arrays["epochs"]), **groups)


def remove_checkpoints(store: Store, trial_ids: Iterable[str]) -> None:
    """Remove the checkpoints of trials, where there are any; where that fails, a later `clean_up` removes them."""
    with suppress(StoreError):
        store.backend.delete([checkpoint_key(store, trial_id) for trial_id in trial_ids])


def checkpointed(store: Store) -> frozenset[str]:
    """Return the ids of the trials that have a checkpoint, usable or not; raises StoreError."""
    found = (name.removesuffix(_SUFFIX) for name in store.backend.names(CHECKPOINTS) if name.endswith(_SUFFIX))
    return frozenset(filter(is_trial_id, found))  # files of other names are not the store's


def checkpoint_key(store: Store, trial_id: str) -> str:
    """Return the key of a trial's checkpoint; raises StoreError where the id is none."""
    return trial_key(store, CHECKPOINTS, trial_id, _SUFFIX)


def _identity(trial_id: str, made_by: Mapping[str, str]) -> str:
    return json.dumps({"trial_id": trial_id, **made_by}, sort_keys=True)


def _metadata(content: bytes) -> dict[str, str]:
    """Read the metadata of safetensors: they start with a little-endian length and JSON of that length."""
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def _record_table(epochs: Sequence[EpochRecord]) -> NDArray[np.float64]:
    return np.array([[getattr(record, name) for name in _RECORD] for record in epochs], np.float64)


def _records(trial: Trial, table: NDArray[np.float64]) -> tuple[EpochRecord, ...]:
    rows = (dict(zip(_RECORD, row, strict=True)) for row in table.tolist())
    return tuple(EpochRecord(**{**row, "trial": trial, "epoch": int(row["epoch"])}) for row in rows)
