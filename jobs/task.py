"""One task, from start to end: train a pack, write its weights, write its part."""

import platform
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
from threadpoolctl import ThreadpoolController

from jobs.schemas import PART
from jobs.store import Store, write_part, write_weights
from mnist_core.datasets import Dataset
from mnist_core.training import EpochRecord, TrialResult, train
from mnist_core.trial import NUMERICS_VERSION, Trial, trial_id

PROGRESS_INTERVAL_S = 0.2


@dataclass(frozen=True)
class Pack:
    """Trials of one shape that one task trains together."""

    trials: tuple[Trial, ...]
    attempt: int = 1  # how often these trials have been started in this job, this time included


@dataclass(frozen=True, eq=False)
class Shared:
    """What all tasks of a job have in common."""

    dataset: Dataset
    store: Path
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
    store = Store(shared.store)
    rows = []
    with _capped_threads(pack.trials[0]):
        epochs_done, reported = 0, time.monotonic()
        for record in train(pack.trials, shared.dataset):
            if isinstance(record, TrialResult):
                rows.append(_commit_weights(record, pack, shared.dataset, store))
                continue
            epochs_done += 1
            if time.monotonic() - reported >= PROGRESS_INTERVAL_S:
                reported = time.monotonic()
                yield epochs_done
    part = write_part(store, pa.Table.from_pylist(rows, schema=PART))
    return Written(part, socket.gethostname(), tuple(row["status"] for row in rows))


@contextmanager
def _capped_threads(trial: Trial) -> Iterator[None]:
    """Hold BLAS and torch to the trial's threads, whatever OMP_NUM_THREADS says; sums then agree wherever it runs."""
    torch_cap: AbstractContextManager[None] = nullcontext()
    if trial.model == "cnn":
        from mnist_core.cnn import torch_threads

        torch_cap = torch_threads(trial.cpus_per_trial)
    with _thread_pools(trial.model).limit(limits=trial.cpus_per_trial), torch_cap:
        yield


@cache
def _thread_pools(model: str) -> ThreadpoolController:
    """Find the process's thread pools, once for each model: that takes milliseconds, and torch brings pools along."""
    return ThreadpoolController()


def _commit_weights(result: TrialResult, pack: Pack, dataset: Dataset, store: Store) -> dict[str, Any]:
    """Write a trial's weights; return its row of the part."""
    identity = trial_id(result.trial, dataset.fingerprint)
    last = result.epochs[-1]
    return {
        "trial_id": identity,
        "status": result.status,
        "settings": asdict(result.trial),
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "test_accuracy": result.test_accuracy,
        "test_loss": result.test_loss,
        "train_accuracy": last.train_accuracy,
        "train_loss": last.train_loss,
        "validation_accuracy": last.validation_accuracy,
        "validation_loss": last.validation_loss,
        "epochs_run": len(result.epochs),
        "seconds": result.seconds,
        "device": "cpu",
        "host": socket.gethostname(),
        "attempt": pack.attempt,
        "finished_at": datetime.now(UTC),
        **versions(),
        "epochs": [_epoch_fields(record) for record in result.epochs],
        "confusion": None if result.confusion is None else result.confusion.ravel().tolist(),
        "weights_sha256": write_weights(store, identity, result.weights),
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
