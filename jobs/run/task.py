"""One task from start to end: train a pack, write its weights, write its part."""

import socket
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from jobs.errors import StoreError
from jobs.run.packs import Pack
from jobs.run.provenance import versions
from jobs.store import (
    EPOCH,
    PART,
    Store,
    StoreUrl,
    read_checkpoint,
    remove_checkpoints,
    write_checkpoint,
    write_part,
    write_weights,
)
from mnist_core.backends import Device
from mnist_core.data import Dataset
from mnist_core.errors import OutOfDeviceMemory
from mnist_core.kernels import training_kernels
from mnist_core.training import EpochRecord, Snapshot, TrialResult, train
from mnist_core.trial import NUMERICS_VERSION, Trial

PROGRESS_INTERVAL_S = 0.2
COLLAPSED_PERCENT = 95  # of the predictions for the test images, when they are one digit


@dataclass(frozen=True, eq=False)
class TaskContext:
    """The facts that all tasks of a job share."""

    dataset: Dataset
    store: Path | StoreUrl
    device: Device = "cpu"
    checkpoint_seconds: float = 30.0  # between two checkpoints of a trial
    numerics_version: int = NUMERICS_VERSION


@dataclass(frozen=True)
class TaskResult:
    """The part that a task committed."""

    part: str
    host: str
    statuses: tuple[str, ...]  # of the pack's trials, as they ended


def run_pack(pack: Pack, context: TaskContext) -> Generator[int, None, TaskResult]:
    """Train a pack and write its results: its weights first, then the part that names them.

    Args:
        pack: The trials to train.
        context: What all tasks of the job share.

    Yields:
        Now and then, how many epochs the pack's trials have trained in all.

    Returns:
        The part that was written, and how each trial ended.

    Raises:
        StoreError: The store cannot be written.
        KernelsError: The kernels cannot be pinned in this process.
        RuntimeError: The numerics of this machine's mnistjobs differ from the driver's.
    """
    if context.numerics_version != NUMERICS_VERSION:
        raise RuntimeError(
            f"mnistjobs on {socket.gethostname()} has numerics {NUMERICS_VERSION}, "
            f"the driver {context.numerics_version}; install one version everywhere"
        )
    ids = {trial: trial_id for trial_id, trial in pack.trials.items()}
    results: list[tuple[TrialResult, datetime]] = []
    with _limited_threads(pack.first_trial):
        epochs_done, reported_s = dict.fromkeys(ids, 0), time.monotonic()
        for record in _train_within_memory(ids, context):
            if isinstance(record, TrialResult):
                results.append((record, datetime.now(UTC)))
                continue
            epochs_done[record.trial] = record.epoch
            if time.monotonic() - reported_s >= PROGRESS_INTERVAL_S:
                reported_s = time.monotonic()
                yield sum(epochs_done.values())
    part = _commit(results, ids, pack.attempt, context)
    remove_checkpoints(Store(context.store), pack.trials)
    return TaskResult(part, socket.gethostname(), tuple(result.status for result, _ in results))


def _train_within_memory(ids: Mapping[Trial, str], context: TaskContext) -> Iterator[EpochRecord | TrialResult]:
    """Train as `train` does; where the trials do not fit on their device, train their halves one after the other."""
    ended: set[Trial] = set()
    try:
        for record in _train_with_checkpoints(ids, context):
            yield record
            if isinstance(record, TrialResult):
                ended.add(record.trial)
        return
    except OutOfDeviceMemory:
        if len(ids) == 1:
            raise
    # Outside the handler: the exception's traceback keeps the memory allocated that has to be free by now.
    left = [(trial, trial_id) for trial, trial_id in ids.items() if trial not in ended]
    for half in (left[: len(left) // 2], left[len(left) // 2 :]):
        if half:
            yield from _train_within_memory(dict(half), context)


def _train_with_checkpoints(ids: Mapping[Trial, str], context: TaskContext) -> Iterator[EpochRecord | TrialResult]:
    """Train as `train` does: resume from the trials' checkpoints where there are any, and write new ones regularly."""
    store, kernels = Store(context.store), training_kernels(next(iter(ids)).numerics, context.device)
    made_by = {**versions(), "device": context.device, "kernels": kernels}
    training = train(list(ids), context.dataset, context.device, _read_snapshots(store, ids, made_by))
    saved_s = time.monotonic()
    for record in training:
        yield record
        if isinstance(record, EpochRecord) and time.monotonic() - saved_s >= context.checkpoint_seconds:
            # A checkpoint only saves time: training continues without one, as on a full disk.
            with suppress(StoreError):
                for snapshot in training.snapshots():
                    write_checkpoint(store, ids[snapshot.trial], snapshot, made_by)
            saved_s = time.monotonic()


def _read_snapshots(store: Store, ids: Mapping[Trial, str], made_by: Mapping[str, str]) -> list[Snapshot]:
    """Read the trials' checkpoints; return nothing where the trials cannot resume from one epoch together."""
    read = [read_checkpoint(store, trial_id, trial, made_by) for trial, trial_id in ids.items()]
    snapshots = [snapshot for snapshot in read if snapshot]
    epochs = {len(snapshot.epochs) for snapshot in snapshots if not snapshot.has_diverged()}
    return snapshots if len(snapshots) == len(ids) and len(epochs) <= 1 else []


@contextmanager
def _limited_threads(trial: Trial) -> Iterator[None]:
    """Limit BLAS and torch to the trial's threads, whatever OMP_NUM_THREADS is: sums are then the same everywhere."""
    torch_limit: AbstractContextManager[None] = nullcontext()
    if trial.model == "cnn":
        from mnist_core.devices import torch_threads

        torch_limit = torch_threads(trial.cpus_per_trial)
    with _thread_pools(trial.model).limit(limits=trial.cpus_per_trial), torch_limit:
        yield


@cache
def _thread_pools(model: str) -> ThreadpoolController:
    """Find the process's thread pools: once per model, because it takes milliseconds and torch adds pools."""
    return ThreadpoolController()


def _commit(
    results: Sequence[tuple[TrialResult, datetime]], ids: Mapping[Trial, str], attempt: int, context: TaskContext
) -> str:
    """Write the trials' weights, then their part; return the part's name."""
    store = Store(context.store)
    sha256 = write_weights(store, {ids[result.trial]: result.weights for result, _ in results})
    rows = [
        {
            "trial_id": ids[result.trial],
            **_row(result, context),
            "attempt": attempt,
            "finished_at": finished_at,
            "weights_sha256": sha256,
        }
        for result, finished_at in results
    ]
    return write_part(store, pa.Table.from_pylist(rows, schema=PART))


def _row(result: TrialResult, context: TaskContext) -> dict[str, Any]:
    last = result.epochs[-1]
    return {
        "status": result.status,
        "settings": vars(result.trial),
        "dataset": context.dataset.name,
        "dataset_fingerprint": context.dataset.fingerprint,
        "test_accuracy": result.test_accuracy,
        "test_loss": result.test_loss,
        "train_accuracy": last.train_accuracy,
        "train_loss": last.train_loss,
        "validation_accuracy": last.validation_accuracy,
        "validation_loss": last.validation_loss,
        "epochs_run": len(result.epochs),
        "collapsed": None if result.predicted is None else has_collapsed(result.predicted),
        "seconds": result.seconds,
        "device": context.device,
        "kernels": result.kernels,
        "host": socket.gethostname(),
        **versions(),
        "epochs": [_epoch_fields(record) for record in result.epochs],
        "confusion": None if result.confusion is None else result.confusion.ravel().tolist(),
        "actual": None if result.predicted is None else context.dataset.test.labels.astype(np.uint8).tobytes(),
        "predicted": None if result.predicted is None else result.predicted.tobytes(),
    }


def has_collapsed(predicted: NDArray[np.uint8]) -> bool:
    """Return whether almost all predictions, (N,), are one digit: the trained network ignores its input."""
    return bool(100 * np.bincount(predicted).max() >= COLLAPSED_PERCENT * len(predicted))


def _epoch_fields(record: EpochRecord) -> dict[str, Any]:
    values = vars(record)
    # Named for the epoch: a trial has a learning rate and seconds of its own.
    return {field.name: values[field.name.removeprefix("epoch_")] for field in EPOCH}
