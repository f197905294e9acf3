"""One task, from start to end: train a pack, write its weights, write its part."""

import platform
import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from threadpoolctl import ThreadpoolController

from jobs.errors import StoreError
from jobs.store import PART, Store, read_checkpoint, remove_checkpoint, write_checkpoint, write_part, write_weights
from mnist_core.backends import Device
from mnist_core.data import Dataset
from mnist_core.errors import OutOfDeviceMemory
from mnist_core.training import EpochRecord, Snapshot, TrialResult, train
from mnist_core.trial import NUMERICS_VERSION, Trial, trial_id

PROGRESS_INTERVAL_S = 0.2


@dataclass(frozen=True)
class Pack:
    """Trials of one shape that one task trains together."""

    trials: tuple[Trial, ...]
    attempt: int = 1  # how often these trials have been started in this job, this time included
    is_alone: bool = False  # nothing else runs meanwhile


@dataclass(frozen=True, eq=False)
class Shared:
    """What all tasks of a job have in common."""

    dataset: Dataset
    store: Path
    device: Device = "cpu"
    checkpoint_seconds: float = 30.0  # between the checkpoints of a pack that takes longer
    numerics_version: int = NUMERICS_VERSION


@dataclass(frozen=True)
class Written:
    """What a task committed."""

    part: str
    host: str
    statuses: tuple[str, ...]  # of the pack's trials, as they ended


def run_pack(pack: Pack, shared: Shared) -> Generator[int, None, Written]:
    """Train a pack and commit it; yield now and then how many epochs its trials have done in all.

    Raises StoreError where the store cannot be written, and RuntimeError where this machine's mnistjobs would give
    other numbers than the submitter's.
    """
    if shared.numerics_version != NUMERICS_VERSION:
        raise RuntimeError(
            f"mnistjobs on {socket.gethostname()} has numerics {NUMERICS_VERSION}, "
            f"the submitter {shared.numerics_version}; install one version everywhere"
        )
    results: list[tuple[TrialResult, datetime]] = []
    with _capped_threads(pack.trials[0]):
        epochs_done, reported = dict.fromkeys(pack.trials, 0), time.monotonic()
        for record in _train_within_memory(pack.trials, shared):
            if isinstance(record, TrialResult):
                results.append((record, datetime.now(UTC)))
                continue
            epochs_done[record.trial] = record.epoch
            if time.monotonic() - reported >= PROGRESS_INTERVAL_S:
                reported = time.monotonic()
                yield sum(epochs_done.values())
    part = _commit(results, pack, shared)
    for trial in pack.trials:
        remove_checkpoint(Store(shared.store), trial_id(trial, shared.dataset.fingerprint))
    return Written(part, socket.gethostname(), tuple(result.status for result, _ in results))


def _train_within_memory(trials: Sequence[Trial], shared: Shared) -> Iterator[EpochRecord | TrialResult]:
    """Train as `train` does; where the pack does not fit its device, train its halves one after the other."""
    ended: set[Trial] = set()
    try:
        for record in _train_with_checkpoints(trials, shared):
            yield record
            if isinstance(record, TrialResult):
                ended.add(record.trial)
        return
    except OutOfDeviceMemory:
        if len(trials) == 1:
            raise
    # Not where the exception is handled: its traceback holds what has to be free by now.
    left = [trial for trial in trials if trial not in ended]
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        if half:
            yield from _train_within_memory(half, shared)


def _train_with_checkpoints(trials: Sequence[Trial], shared: Shared) -> Iterator[EpochRecord | TrialResult]:
    """Train as `train` does, from the trials' checkpoints where they have them, and leave new ones now and then."""
    store, made_by = Store(shared.store), {**versions(), "device": shared.device}
    identities = {trial: trial_id(trial, shared.dataset.fingerprint) for trial in trials}
    training = train(trials, shared.dataset, shared.device, _snapshots(store, identities, made_by))
    saved = time.monotonic()
    for record in training:
        yield record
        if isinstance(record, EpochRecord) and time.monotonic() - saved >= shared.checkpoint_seconds:
            # A checkpoint saves time and nothing else: a full disk is no reason to stop what goes on without one.
            with suppress(StoreError):
                for snapshot in training.snapshots():
                    write_checkpoint(store, identities[snapshot.trial], snapshot, made_by)
            saved = time.monotonic()


def _snapshots(store: Store, identities: Mapping[Trial, str], made_by: Mapping[str, str]) -> list[Snapshot]:
    """Read where the trials of a pack stood, or nothing where they do not go on from one epoch together."""
    read = [read_checkpoint(store, identity, trial, made_by) for trial, identity in identities.items()]
    snapshots = [snapshot for snapshot in read if snapshot]
    going_on = {len(snapshot.epochs) for snapshot in snapshots if not snapshot.has_diverged()}
    return snapshots if len(snapshots) == len(identities) and len(going_on) <= 1 else []


@contextmanager
def _capped_threads(trial: Trial) -> Iterator[None]:
    """Hold BLAS and torch to the trial's threads, whatever OMP_NUM_THREADS says; sums then agree wherever it runs."""
    torch_cap: AbstractContextManager[None] = nullcontext()
    if trial.model == "cnn":
        from mnist_core.devices import torch_threads

        torch_cap = torch_threads(trial.cpus_per_trial)
    with _thread_pools(trial.model).limit(limits=trial.cpus_per_trial), torch_cap:
        yield


@cache
def _thread_pools(model: str) -> ThreadpoolController:
    """Find the process's thread pools, once for each model: that takes milliseconds, and torch brings pools along."""
    return ThreadpoolController()


def _commit(results: Sequence[tuple[TrialResult, datetime]], pack: Pack, shared: Shared) -> str:
    """Write the trials' weights, then their part; return its name."""
    store = Store(shared.store)
    identities = [trial_id(result.trial, shared.dataset.fingerprint) for result, _ in results]
    weights = write_weights(store, {key: result.weights for key, (result, _) in zip(identities, results, strict=True)})
    rows = [
        {
            "trial_id": identity,
            **_row(result, shared),
            "attempt": pack.attempt,
            "finished_at": finished_at,
            "weights_sha256": weights[identity],
        }
        for identity, (result, finished_at) in zip(identities, results, strict=True)
    ]
    return write_part(store, pa.Table.from_pylist(rows, schema=PART))


def _row(result: TrialResult, shared: Shared) -> dict[str, Any]:
    last = result.epochs[-1]
    return {
        "status": result.status,
        "settings": vars(result.trial),
        "dataset": shared.dataset.name,
        "dataset_fingerprint": shared.dataset.fingerprint,
        "test_accuracy": result.test_accuracy,
        "test_loss": result.test_loss,
        "train_accuracy": last.train_accuracy,
        "train_loss": last.train_loss,
        "validation_accuracy": last.validation_accuracy,
        "validation_loss": last.validation_loss,
        "epochs_run": len(result.epochs),
        "seconds": result.seconds,
        "device": shared.device,
        "host": socket.gethostname(),
        **versions(),
        "epochs": [_epoch_fields(record) for record in result.epochs],
        "confusion": None if result.confusion is None else result.confusion.ravel().tolist(),
    }


def _epoch_fields(record: EpochRecord) -> dict[str, Any]:
    fields = vars(record).copy()
    del fields["trial"]
    return fields


@cache
def versions() -> dict[str, str]:
    """Return the versions that a trial's row records, by column."""
    packages = {f"{name}_version": version(name) for name in ("mnistjobs", "numpy", "torch")}
    return {**packages, "python_version": platform.python_version()}
