"""Whole studies in a store without training: rows and weights as tasks would write them, made of random numbers."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.grid.grid import load_grid
from jobs.run import Plan, make_plan, open_job
from jobs.store.job_models import Job, JobState, TrialFailure
from jobs.store.job_record import end_job
from jobs.store.layout import Store
from jobs.store.parts import write_part
from jobs.store.schemas import EPOCH, PART, SETTINGS
from jobs.store.weights import write_weights
from mnist_core.models.mlp import MLP
from mnist_core.seeds import generator
from mnist_core.trial import Trial

Ending = Literal["finished", "collapsed", "diverged", "failed", "missing"]
Floats = NDArray[np.float64]
TEST_IMAGES = 5000
TRACEBACK = 'Traceback (most recent call last):\n  File "task.py", line 1, in <module>\nValueError: no\n'


@dataclass(frozen=True)
class Result:
    """How a trial is to end."""

    accuracy: float = 0.95
    ending: Ending = "finished"


def plausible(trial: Trial) -> Result:
    """Let every setting matter a little, and every seed less."""
    gain = 0.02 * np.log2(trial.subset_size / 2000) + 0.02 * (trial.model == "cnn") - 0.01 * trial.adaptive_lr
    noise = np.random.default_rng(trial.seed).normal(0, 0.002) + np.random.default_rng(
        [trial.seed, trial.subset_size, trial.adaptive_lr]
    ).normal(0, 0.001)
    return Result(float(min(0.8 + gain + 0.02 * np.log2(trial.learning_rate * 1000 + 0.5) + noise, 0.995)))


def store_study(
    folder: Path, grid_text: str, result: Callable[[Trial], Result] = plausible, *, with_weights: bool = True
) -> tuple[Store, Job]:
    """Write what a study that has ended leaves in a store.

    Args:
        folder: Where the grid's file and the store are made.
        grid_text: The grid, of the dataset mnist, whose files are not read.
        result: How each trial ends.
        with_weights: Whether the trials' weights are written; those of CNNs never are.

    Returns:
        The store and the job.
    """
    plan, job = begin_study(folder, grid_text)
    results = {trial_id: result(plan.trials[trial_id]) for trial_id in plan.missing}
    write_results(plan, results, with_weights=with_weights)
    failures = [failure_of(each) for each, one in results.items() if one.ending == "failed"]
    state = JobState.interrupted if any(one.ending == "missing" for one in results.values()) else JobState.finished
    return plan.store, end_job(plan.store, job, JobState.failed if failures else state, failures)


def begin_study(folder: Path, grid_text: str) -> tuple[Plan, Job]:
    """Enter a job into a store, whose driver is this process."""
    path = folder / "grid.yaml"
    path.write_text(grid_text, encoding="utf-8")
    plan = make_plan(load_grid(path), Store(folder / "results"))
    return plan, open_job(plan)


def write_results(plan: Plan, results: Mapping[str, Result], *, with_weights: bool = True) -> None:
    """Write one part with the trials of a plan that finished, collapsed or diverged."""
    rows, weights = [], {}
    for trial_id, result in results.items():
        if result.ending in ("failed", "missing"):
            continue
        trial = plan.trials[trial_id]
        rows.append(_row(trial_id, trial, result, plan.grid.dataset_info.fingerprint))
        if with_weights and trial.model == "mlp":
            weights[trial_id] = {"W1": _trained(trial)}
    sha256 = write_weights(plan.store, weights) if weights else hashlib.sha256(b"").hexdigest()
    write_part(plan.store, pa.Table.from_pylist([{**row, "weights_sha256": sha256} for row in rows], PART))


def failure_of(trial_id: str) -> TrialFailure:
    """Make the record of a trial that raised an exception at its third attempt."""
    return TrialFailure(trial_id=trial_id, kind="raised", message="ValueError: no", traceback=TRACEBACK, attempt=3)


def _trained(trial: Trial) -> NDArray[np.float32]:
    """Return weights that look trained: what they were at first, and some change."""
    layer: NDArray[np.float32] = MLP.from_trial(trial, generator(trial.seed, "weights")).parameters["W1"]
    change = np.random.default_rng(trial.seed).normal(0, 0.05, layer.shape)
    return (layer + change).astype(np.float32)


def _row(trial_id: str, trial: Trial, result: Result, fingerprint: str) -> dict[str, Any]:
    """Make a row in the schema PART."""
    rng = np.random.default_rng(int(trial_id[:12], 16))
    diverged, collapsed = result.ending == "diverged", result.ending == "collapsed"
    epochs = min(trial.epochs, 3) if diverged else trial.epochs
    curves = _curves(rng, epochs, 0.1 if collapsed else result.accuracy, diverged)
    last = {name: float(values[-1]) for name, values in curves.items()}
    measured = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss")
    return {
        **({} if diverged else _predictions(rng, 0.0 if collapsed else result.accuracy)),
        **{name: last[name] for name in measured},
        "trial_id": trial_id,
        "settings": {field.name: asdict(trial)[field.name] for field in SETTINGS},
        "status": "diverged" if diverged else "finished",
        "collapsed": None if diverged else collapsed,
        "epochs_run": epochs,
        "epochs": [{field.name: curves[field.name][k].item() for field in EPOCH} for k in range(epochs)],
        "seconds": float(curves["epoch_seconds"].sum()),
        "dataset": "mnist",
        "dataset_fingerprint": fingerprint,
        "device": "cpu",
        "kernels": "any",
        "host": "here",
        "attempt": 1,
        "finished_at": datetime(2026, 1, 1, tzinfo=UTC),
        **dict.fromkeys(("mnistjobs_version", "python_version", "numpy_version", "torch_version"), "1"),
    }


def _curves(rng: np.random.Generator, epochs: int, accuracy: float, diverged: bool) -> Mapping[str, NDArray[Any]]:
    """Make the columns of schema EPOCH: accuracies that rise to one, or losses that end as no numbers."""
    share = 1 - np.exp(-np.arange(1, epochs + 1) / 12)
    validation: Floats = np.clip(0.1 + (accuracy - 0.1) * share + rng.normal(0, 0.004, epochs), 0, 1)
    train: Floats = np.clip(validation + 0.02, 0, 1)
    loss = {"train_loss": 2.3 * (1 - 0.95 * train), "validation_loss": 2.3 * (1 - 0.95 * validation)}
    if diverged:
        loss = {name: np.where(np.arange(epochs) == epochs - 1, np.nan, values) for name, values in loss.items()}
    return {
        "epoch": np.arange(1, epochs + 1),
        "epoch_learning_rate": np.full(epochs, 0.001),
        "train_accuracy": train,
        "validation_accuracy": validation,
        "epoch_seconds": np.full(epochs, 0.1),
        **loss,
    }


def _predictions(rng: np.random.Generator, accuracy: float) -> dict[str, Any]:
    """Make the columns about the test set: the right digit in about this share of the images, else the next."""
    actual = np.random.default_rng(1).integers(0, 10, TEST_IMAGES).astype(np.uint8)
    hard = np.random.default_rng(2).random(TEST_IMAGES)  # some images are hard for every network
    wrong = 0.7 * hard + 0.3 * rng.random(TEST_IMAGES)
    is_right = wrong <= np.quantile(wrong, accuracy) if accuracy else np.zeros(TEST_IMAGES, bool)
    predicted = np.where(is_right, actual, (actual + rng.integers(1, 4, TEST_IMAGES)) % 10) if accuracy else 0 * actual
    confusion = np.zeros((10, 10), np.int64)
    np.add.at(confusion, (actual, predicted), 1)
    return {
        "actual": actual.tobytes(),
        "predicted": predicted.astype(np.uint8).tobytes(),
        "confusion": confusion.ravel().tolist(),
        "test_accuracy": float((predicted == actual).mean()),
        "test_loss": 0.2,
    }
