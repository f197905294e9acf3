"""Small tables of trials, metrics and confusion matrices, as the store would give them."""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.pictures import Pictures
from jobs.report.summary import summarize
from jobs.store.schemas import CONFUSION, METRICS, REQUESTED, TRIALS
from mnist_core.trial import Trial

Setting = str | int | float | bool | None
TEST_IMAGES = 1000
COLLAPSED = 0.12  # trials with at most this test accuracy count as collapsed


def settings(seed: int, **changed: Setting) -> dict[str, Any]:
    """Give the settings of an MLP trial with a fixed learning rate, but for what is changed."""
    mlp = Trial(model="mlp", subset_size=2000, adaptive_lr=False, seed=seed, epochs=3)
    return {**asdict(mlp), **changed}


def trial_row(trial_id: str, test_accuracy: float | None, of: dict[str, Any]) -> dict[str, Any]:
    """Give the row of a finished trial, or of a diverged one where there is no test accuracy."""
    diverged = test_accuracy is None
    of_dataset = {"dataset": "mnist", "dataset_fingerprint": "ab"}
    losses = dict.fromkeys(("test_loss", "train_loss", "validation_loss"), 0.1)
    accuracies = {"train_accuracy": 0.99, "validation_accuracy": 0.93}
    of_run = {"epochs_run": 3, "seconds": 1.0, "device": "cpu", "kernels": "any", "host": "here", "attempt": 1}
    versions = dict.fromkeys(("mnistjobs_version", "python_version", "numpy_version", "torch_version"), "1")
    return {
        **of,
        **of_dataset,
        **losses,
        **(dict.fromkeys(accuracies, math.nan) if diverged else accuracies),
        **of_run,
        **versions,
        "trial_id": trial_id,
        "status": "diverged" if diverged else "finished",
        "collapsed": None if test_accuracy is None else test_accuracy <= COLLAPSED,
        "test_accuracy": test_accuracy,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
    }


def study(*accuracies: float | None, name: str = "trial", **changed: Setting) -> tuple[pa.Table, pa.Table]:
    """Give the trials and what was asked for, one seed for each accuracy; None is a diverged trial."""
    asked = [settings(seed, **changed) for seed in range(len(accuracies))]
    ids = [f"{name}-{seed}" for seed in range(len(accuracies))]
    named = [{"configuration_id": configuration_of(one), **one} for one in asked]
    rows = [trial_row(*three) for three in zip(ids, accuracies, named, strict=True)]
    return pa.Table.from_pylist(rows, TRIALS), requested_of(*asked, ids=ids)


def together(*studies: tuple[pa.Table, pa.Table]) -> tuple[pa.Table, pa.Table]:
    """Give the trials of several studies, and what was asked for."""
    trials, requested = (pa.concat_tables(part) for part in zip(*studies, strict=True))
    return trials, requested


def summary_of(trials: pa.Table, requested: pa.Table, failed_ids: Collection[str] = ()) -> pa.Table:
    """Summarize trials on a test set of TEST_IMAGES."""
    return summarize(trials, requested, failed_ids, test_images=TEST_IMAGES)


def configuration_of(one: dict[str, Any]) -> str:
    """Give the configuration_id of these settings."""
    configuration = repr(sorted((name, value) for name, value in one.items() if name != "seed"))
    return sha256(configuration.encode()).hexdigest()[:8]


def requested_of(*asked: dict[str, Any], ids: Sequence[str] | None = None) -> pa.Table:
    """Give the table of requested trials with these settings; ids are 0, 1, ... by default."""
    rows = []
    for index, one in enumerate(asked):
        trial_id = ids[index] if ids else f"{index}"
        rows.append({"trial_id": trial_id, "configuration_id": configuration_of(one), **one})
    return pa.Table.from_pylist(rows, REQUESTED)


def metrics_of(trials: pa.Table, accuracies: Sequence[float]) -> pa.Table:
    """Give each trial one epoch for each accuracy; a diverged trial's last loss is not a number."""
    rows = []
    for trial in trials.to_pylist():
        epochs = accuracies[:-1] if trial["status"] == "diverged" else accuracies
        for epoch, accuracy in enumerate(epochs, start=1):
            lost = trial["status"] == "diverged" and epoch == len(epochs)
            train = {"train_loss": math.nan if lost else 0.1, "train_accuracy": accuracy}
            validation = {"validation_loss": 0.1, "validation_accuracy": accuracy - 0.02}
            of_epoch = {"epoch": epoch, "epoch_learning_rate": 0.001, "epoch_seconds": 1.0}
            rows.append({**_identity(trial), **of_epoch, **train, **validation})
    return pa.Table.from_pylist(rows, METRICS)


def confusion_of(trials: pa.Table, right: int = 97, wrong: int = 3) -> pa.Table:
    """Give each finished trial a confusion matrix in which every digit is sometimes taken for the next."""
    finished = [_identity(trial) for trial in trials.to_pylist() if trial["status"] == "finished"]
    counts = {(digit, digit): right for digit in range(10)} | {(digit, (digit + 1) % 10): wrong for digit in range(10)}
    cells = [(actual, predicted) for actual in range(10) for predicted in range(10)]
    rows = [
        {**trial, "actual": cell[0], "predicted": cell[1], "count": counts.get(cell, 0)}
        for trial in finished
        for cell in cells
    ]
    return pa.Table.from_pylist(rows, CONFUSION)


def _identity(trial: dict[str, Any]) -> dict[str, Any]:
    return {name: trial[name] for name in REQUESTED.names}


@dataclass(frozen=True)
class StoredTables:
    """The epochs, confusion matrices and weights of trials, as figures read them."""

    all_metrics: pa.Table
    all_confusion: pa.Table
    weights: Mapping[str, NDArray[np.float32]]

    def metrics(self, trial_ids: Sequence[str]) -> pa.Table:
        """Select the rows of these trials."""
        return self.all_metrics.filter(pc.field("trial_id").isin(list(trial_ids)))

    def confusion(self, trial_ids: Sequence[str]) -> pa.Table:
        """Select the rows of these trials."""
        return self.all_confusion.filter(pc.field("trial_id").isin(list(trial_ids)))

    def first_layer(self, trial_id: str) -> NDArray[np.float32] | None:
        """Return W1."""
        return self.weights.get(trial_id)

    def initial_layer(self, trial_id: str) -> NDArray[np.float32]:
        """Return W1 before training: zeros."""
        return np.zeros_like(self.weights[trial_id])

    def digits(self, trial_id: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]] | None:
        """Return ten test images, one of each digit; a network takes the digit of its name's last figure for a nine."""
        actual = np.arange(10, dtype=np.uint8)
        wrong = int(trial_id[-1]) if trial_id[-1].isdigit() else 0
        return actual, np.where(actual == wrong, 9, actual).astype(np.uint8)

    def pictures(self, images: Sequence[int]) -> Pictures:
        """Return no pictures: the ten images are not stored."""
        return Pictures(reason="these tables have none")
