"""The figures of a job's report as charts of Altair, for a notebook: `mnistjobs.figures`."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from jobs.api.answers import read_contrasts
from jobs.api.reading import StorePath, read_confusion, read_job, read_metrics, read_summary, read_trials
from jobs.errors import InputError, LostWeightsError
from jobs.store import WEIGHTS, open_store_of
from jobs.store import read_weights as read_stored_weights

if TYPE_CHECKING:
    from altair.typing import ChartType


def learning_curve(store: StorePath, job: str) -> "ChartType":
    """Chart the test accuracy against the subset size: a dot per seed, the mean, and its interval.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Raises:
        InputError: There is no such job, or no trial has finished.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    from jobs.report.notebook import learning

    summary = read_summary(store, job)
    if not any(summary["n"].to_pylist()):
        raise InputError(f"job {job}: no trial has finished; allowed: a job with a finished trial")
    return learning(summary, read_trials(store, job))


def training_curves(store: StorePath, job: str) -> "dict[str, ChartType]":
    """Chart accuracy against the epoch: one chart for each model and subset size, by name, with every seed.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    from jobs.report.notebook import training

    return training(read_summary(store, job), read_trials(store, job), read_metrics(store, job))


def differences(store: StorePath, job: str, margin: float | None = None) -> "ChartType":
    """Chart the differences between configurations, paired by seed, with their intervals.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        margin: The difference in test accuracy, a fraction, below which two configurations count as equally good; by
            default that of the job's grid.

    Raises:
        InputError: There is no such job, or nothing to compare in it.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    from jobs.report.notebook import differences as chart

    contrasts = read_contrasts(store, job, margin)
    if not contrasts["mean"].drop_null():
        raise InputError(f"job {job}: has nothing to compare; allowed: a job with two configurations and a common seed")
    return chart(contrasts)


def confusion_matrices(store: StorePath, job: str) -> "dict[str, ChartType]":
    """Chart the confusion matrix of each configuration over its seeds, by the configuration's name.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    from jobs.report.notebook import confusion

    return confusion(read_summary(store, job), read_trials(store, job), read_confusion(store, job))


def weight_sheets(store: StorePath, job: str) -> "dict[str, ChartType]":
    """Chart the first layer's weights of each MLP, W1 of its first seed, by the configuration's name.

    Each small image of a sheet is one hidden unit: its weights from the 28 x 28 pixels.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, the job's record is damaged, or the weights of all trials of a
            configuration are missing or damaged.
    """
    from jobs.report.notebook import weights

    opened, _ = open_store_of(store, job)
    _, _, rows = read_job(store, job, ("trial_id", "weights_sha256"))
    hashes = dict(zip(*(rows[name].to_pylist() for name in ("trial_id", "weights_sha256")), strict=True))

    def first_layer(trial_id: str) -> NDArray[np.float32] | None:
        found = read_stored_weights(opened, trial_id, hashes[trial_id])
        return None if found is None else found["W1"]

    charts, unreadable = weights(read_summary(store, job), read_trials(store, job), first_layer)
    if unreadable:
        where = f"configuration {unreadable[0]}: the weights of all its trials in {opened.locate(WEIGHTS)}"
        raise LostWeightsError(f"{where} are missing or damaged")
    return charts
