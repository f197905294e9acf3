"""Read what a store holds of a job: tables and weights."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from numpy.typing import NDArray

from jobs.api.unusable import warn_of_unusable
from jobs.errors import InputError, LostWeightsError
from jobs.report import (
    CONFUSION_COLUMNS,
    METRICS_COLUMNS,
    PREDICTION_COLUMNS,
    PREDICTIONS_COLUMNS,
    SUMMARY_COLUMNS,
    TRIALS_COLUMNS,
    FailureGroup,
    add_seeds_needed,
    confusion_table,
    decide_again,
    group_failures,
    identify,
    metrics_table,
    predictions_table,
    read_counted,
    summarize,
    trials_table,
)
from jobs.store import (
    WEIGHTS,
    Job,
    Store,
    counted_failures,
    counted_trials,
    describe_decision,
    find_job,
    needed_trials,
    open_store,
    open_store_of,
    read_parts,
    read_requested,
    read_weights_of,
    write_output,
)

StorePath = str | Path


def read_summary(store: StorePath, job: str | None = None, target: float | None = None) -> pa.Table:
    """Summarize what the store has of a job now.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        target: Half the width that the interval of the mean over seeds is to have, a fraction: adds the seeds that are
            missing for it.

    Returns:
        One row per configuration, in the schema jobs.store.schemas.SUMMARY; with `target`, the columns
        jobs.report.precision.NEEDED besides.

    Raises:
        InputError: There is no such job, or `target` is no width.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    if target is not None and not 0 < target < 1:
        raise InputError(f"target: {target!r} is no width of an interval; allowed: a fraction above 0 and below 1")
    found, requested, rows = read_job(store, job, (*SUMMARY_COLUMNS, *PREDICTION_COLUMNS))
    counted = counted_trials(found, requested)
    failed = [failure.trial_id for failure in counted_failures(found, counted)]
    until = found.record.until
    summary = summarize(rows, requested, failed, test_images=found.dataset.test_size, until=until)
    return summary if target is None else add_seeds_needed(summary, target, is_anytime=until is not None)


def read_failures(store: StorePath, job: str | None = None) -> tuple[tuple[FailureGroup, ...], int]:
    """Read which trials of a job failed for good and are not stored since, grouped by message.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        The groups, the largest first; and how many trials the job has. Where its seeds end by a rule, these are the
        trials that the answer needs.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    opened, name = open_store_of(store, job)
    found = find_job(opened, name)
    if not found.failures:
        return (), found.needed_count
    requested = read_requested(opened, found)
    stored = frozenset(
        read_parts(opened, requested["trial_id"].to_pylist(), ["trial_id"]).table["trial_id"].to_pylist()
    )
    needed = frozenset(needed_trials(found, requested))
    left = [failure for failure in found.failures if failure.trial_id in needed - stored]
    return group_failures(left, requested), found.needed_count


def read_decision(store: StorePath, job: str | None = None) -> str:
    """Read what was decided about the seeds of a job whose grid does not give their number.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        A sentence: after how many seeds what is decided; while the job runs, by what is stored. "" where the grid gives
        the number of seeds.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    opened, name = open_store_of(store, job)
    found = find_job(opened, name)
    decision = found.decision or decide_again(opened, found)
    return describe_decision(decision, found.record.until) if decision and found.record.until else ""


def read_trials(store: StorePath, job: str) -> pa.Table:
    """Read the trials of a job that have ended: those that the store has now, and those that failed for good.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        One row per trial, in the schema jobs.store.schemas.TRIALS.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    found, requested, rows = read_job(store, job, TRIALS_COLUMNS)
    return trials_table(identify(rows, requested), requested, found)


def read_metrics(store: StorePath, job: str) -> pa.Table:
    """Read the losses and accuracies after each epoch of a job's trials.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        One row per stored trial and epoch, in the schema jobs.store.schemas.METRICS.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    _, requested, rows = read_job(store, job, METRICS_COLUMNS)
    return metrics_table(identify(rows, requested))


def read_confusion(store: StorePath, job: str) -> pa.Table:
    """Read the confusion matrices of a job's finished trials.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        One row per trial, actual digit and predicted digit, in the schema jobs.store.schemas.CONFUSION.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    _, requested, rows = read_job(store, job, CONFUSION_COLUMNS)
    return confusion_table(identify(rows, requested))


def read_predictions(store: StorePath, job: str) -> pa.Table:
    """Read what each finished trial of a job predicted for each test image.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        One row per trial and test image, in the schema jobs.store.schemas.PREDICTIONS.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    _, requested, rows = read_job(store, job, PREDICTIONS_COLUMNS)
    return predictions_table(identify(rows, requested))


def read_weights(store: StorePath, trial_id: str) -> dict[str, NDArray[Any]]:
    """Read the trained weights of one trial.

    Args:
        store: The store's folder, or its URL.
        trial_id: The trial, as in the column of that name.

    Returns:
        The arrays by parameter, such as W1, (hidden units, 784), of an MLP.

    Raises:
        InputError: No part holds the trial.
        StoreError: The weights are missing or damaged, or the store cannot be read.
    """
    opened = open_store(store)
    hashes = _weights_of(opened, [trial_id])
    if not hashes:
        raise InputError(f"trial {trial_id!r}: is in no part of the store {str(store)!r}; allowed: a stored trial's id")
    ((_, weights),) = read_weights_of(opened, hashes)
    if weights is None:
        raise LostWeightsError(f"trial {trial_id}: its weights in {opened.locate(WEIGHTS)} are missing or damaged")
    return weights


def export_weights(store: StorePath, job: str, folder: str | Path) -> list[Path]:
    """Write the weights of a job's stored trials, one file per trial.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        folder: Where to write `<trial_id>.safetensors` for each trial; made if it does not exist. Its tensors are
            named by parameter.

    Returns:
        The files, in the order of the job's trials that are stored.

    Raises:
        InputError: There is no such job.
        StoreError: Weights are missing or damaged (those of the other trials are written), or a file cannot be
            written.
    """
    from safetensors.numpy import save

    opened, name = open_store_of(store, job)
    found = find_job(opened, name)
    hashes = _weights_of(opened, counted_trials(found, read_counted(opened, found)))
    files = {trial_id: Path(folder) / f"{trial_id}.safetensors" for trial_id in hashes}
    lost = []
    for trial_id, weights in read_weights_of(opened, hashes):
        if weights is None:
            lost.append(trial_id)
        else:
            write_output(files[trial_id], save(weights))
    if lost:
        trials = f"trial {lost[0]}" if len(lost) == 1 else f"{len(lost)} trials, such as {lost[0]},"
        raise LostWeightsError(
            f"{opened.locate(WEIGHTS)}: the weights of {trials} are missing or damaged; the others are exported"
        )
    return list(files.values())


def _weights_of(store: Store, trial_ids: Sequence[str]) -> dict[str, str]:
    """Return, by trial_id, which file holds the weights of each stored trial; warn of parts that cannot be used."""
    parts = read_parts(store, trial_ids, ["trial_id", "weights_sha256"])
    warn_of_unusable(store, parts.damaged)
    return dict(zip(parts.table["trial_id"].to_pylist(), parts.table["weights_sha256"].to_pylist(), strict=True))


def read_job(store: StorePath, job: str | None, columns: Sequence[str]) -> tuple[Job, pa.Table, pa.Table]:
    """Find a job; return it, what it asked for, and these columns of its stored rows. Warns of damaged parts."""
    opened, name = open_store_of(store, job)
    found = find_job(opened, name)
    requested = read_counted(opened, found)
    parts = read_parts(opened, counted_trials(found, requested), columns)
    warn_of_unusable(opened, parts.damaged)
    return found, requested, parts.table
