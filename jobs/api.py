"""The Python API: the commands of the command line as functions that return values and tables."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from numpy.typing import NDArray

from jobs.errors import InputError, StoreError
from jobs.grid import load_grid
from jobs.report import (
    CONFUSION_COLUMNS,
    METRICS_COLUMNS,
    SUMMARY_COLUMNS,
    TRIALS_COLUMNS,
    confusion_table,
    metrics_table,
    summarize,
    trials_table,
)
from jobs.run import JobEvent, Plan, check_precision, make_plan, open_job, open_session, run_job
from jobs.store import (
    Compaction,
    DamagedJob,
    Job,
    JobState,
    Store,
    clean_up,
    compact,
    describe_unusable,
    end_job,
    find_job,
    open_store,
    read_jobs,
    read_parts,
    read_requested,
    read_weights_of,
    set_aside,
    write_file,
)
from mnist_core.data import fetch_mnist, find_mnist, load_dataset

if TYPE_CHECKING:
    from jobs.report import Report

StorePath = str | Path


def plan_grid(grid: str | Path, store: StorePath = "results", *, quarantine: bool = False) -> Plan:
    """Compare a grid with a store: which trials are stored already, which are missing, and why. Nothing is trained.

    Args:
        grid: The path of a grid file.
        store: The store's folder; it need not exist.
        quarantine: Whether to move damaged parts to quarantine/, as `submit_grid` does; by default nothing is written.

    Returns:
        The plan, which `submit_grid` accepts in place of the grid.

    Raises:
        InputError: The grid has faults; all of them are listed in `faults`, with line and column.
        StoreError: The store cannot be read.
        DataError: The grid's dataset is damaged.
    """
    plan = make_plan(load_grid(Path(grid)), open_store(Path(store)))
    _warn_of(plan.store, plan.unusable, may_move=quarantine)
    return plan


def submit_grid(
    grid: str | Path | Plan,
    store: StorePath = "results",
    *,
    address: str | None = None,
    workers: int | None = None,
    in_process: bool = False,
    observe: Callable[[JobEvent], None] = lambda event: None,
) -> Job:
    """Train the trials of a grid that the store does not have yet, and return when they are done.

    Args:
        grid: The path of a grid file, or a plan, which brings its own store.
        store: The store's folder; it is made where it does not exist.
        address: Of a Ray cluster, as HOST:PORT; by default $RAY_ADDRESS, or a Ray started on this machine.
        workers: The most tasks at once; by default as many as the CPUs or GPUs allow.
        in_process: Whether to train in this process, one task after the other, without Ray.
        observe: Called with each event of the job as it happens.

    Returns:
        The job. Its `state` is `failed` where any trial failed, and `failures` has the reasons.

    Raises:
        InputError: The grid has faults, its dataset has changed since it was planned, or the device lacks a precision.
        StoreError: The store cannot be read or written.
        DataError: The dataset is damaged or cannot be downloaded.
        ClusterError: Ray cannot be started or reached, was lost, or lacks the device that the grid requires.
    """
    plan = grid if isinstance(grid, Plan) else make_plan(load_grid(Path(grid)), open_store(Path(store)))
    _warn_of(plan.store, plan.unusable, may_move=True)
    options = {"address": address, "workers": workers, "in_process": in_process}
    if not plan.missing:
        return end_job(plan.store, _open_job(plan, options), JobState.finished)
    source = plan.grid.dataset_source()
    if source == "mnist" and find_mnist() is None:
        fetch_mnist()
    try:
        # The dataset is read while Ray starts, which takes seconds and mostly waits.
        with ThreadPoolExecutor(1) as reader:
            loading = reader.submit(load_dataset, source)
            with open_session(plan.grid, address=address, workers=workers, in_process=in_process) as session:
                dataset = loading.result()
                if dataset.fingerprint != plan.grid.dataset_info.fingerprint:
                    raise InputError(
                        f"dataset {dataset.name}: has changed since the grid was read; submit the grid again"
                    )
                check_precision(plan, session.device)
                return run_job(_open_job(plan, options), plan, dataset, session, observe, workers)
    finally:
        clean_up(plan.store, plan.missing)  # a worker that is interrupted is killed, perhaps while it writes a file


def _open_job(plan: Plan, options: dict[str, str | int | bool | None]) -> Job:
    """Enter a job into the store, after cleaning up after killed processes, which may free a full disk."""
    clean_up(plan.store, plan.missing)
    return open_job(plan, options)


def compact_store(store: StorePath = "results") -> Compaction:
    """Merge the store's small parts into larger ones, which are faster to read; the rows stay the same.

    This is safe at any time, also while jobs run and others read.

    Args:
        store: The store's folder.

    Returns:
        The names of the parts that were merged and written, and of the damaged ones.

    Raises:
        StoreError: The store cannot be read or written; nothing is lost then.
    """
    opened = open_store(Path(store))
    clean_up(opened)
    done = compact(opened)
    _warn_of(opened, done.damaged, may_move=True)
    return done


def list_jobs(store: StorePath = "results") -> list[Job | DamagedJob]:
    """List the jobs of a store.

    Args:
        store: The store's folder.

    Returns:
        The jobs, oldest first; before them, as DamagedJob, those whose record cannot be read.

    Raises:
        StoreError: The store cannot be read.
    """
    return read_jobs(open_store(Path(store)))


def report_job(store: StorePath, job: str) -> Report:
    """Write the tables, figures and page of a job into its folder, from the store alone.

    Args:
        store: The store's folder.
        job: The job's id, or a name, which means its latest job.

    Returns:
        The page's path, the summary, and the names of damaged parts.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read or written, or the job's record is damaged.
    """
    from jobs.report import write_report  # imports matplotlib, which takes a second

    opened = open_store(Path(store))
    report = write_report(opened, find_job(opened, job))
    _warn_of(opened, report.damaged)
    return report


def read_summary(store: StorePath, job: str) -> pa.Table:
    """Summarize what the store has of a job now.

    Args:
        store: The store's folder.
        job: The job's id, or a name, which means its latest job.

    Returns:
        One row per configuration, in the schema jobs.report.summary.SUMMARY.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    found, requested, rows = _read_job(store, job, SUMMARY_COLUMNS)
    return summarize(rows, requested, [failure.trial_id for failure in found.failures])


def read_trials(store: StorePath, job: str) -> pa.Table:
    """Read the trials of a job that the store has now.

    Args:
        store: The store's folder.
        job: The job's id, or a name, which means its latest job.

    Returns:
        One row per trial, in the schema jobs.store.schemas.TRIALS.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    return trials_table(_read_job(store, job, TRIALS_COLUMNS)[2])


def read_metrics(store: StorePath, job: str) -> pa.Table:
    """Read the losses and accuracies after each epoch of a job's trials.

    Args:
        store: The store's folder.
        job: The job's id, or a name, which means its latest job.

    Returns:
        One row per stored trial and epoch, in the schema jobs.store.schemas.METRICS.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    return metrics_table(_read_job(store, job, METRICS_COLUMNS)[2])


def read_confusion(store: StorePath, job: str) -> pa.Table:
    """Read the confusion matrices of a job's finished trials.

    Args:
        store: The store's folder.
        job: The job's id, or a name, which means its latest job.

    Returns:
        One row per trial, actual digit and predicted digit, in the schema jobs.store.schemas.CONFUSION.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    return confusion_table(_read_job(store, job, CONFUSION_COLUMNS)[2])


def read_weights(store: StorePath, trial_id: str) -> dict[str, NDArray[Any]]:
    """Read the trained weights of one trial.

    Args:
        store: The store's folder.
        trial_id: The trial, as in the column of that name.

    Returns:
        The arrays by parameter, such as W1, (hidden units, 784), of an MLP.

    Raises:
        InputError: No part holds the trial.
        StoreError: The weights are missing or damaged, or the store cannot be read.
    """
    opened = open_store(Path(store))
    hashes = _weights_of(opened, [trial_id])
    if not hashes:
        raise InputError(f"trial {trial_id!r}: is in no part of the store {str(store)!r}; allowed: a stored trial's id")
    ((_, weights),) = read_weights_of(opened, hashes)
    if weights is None:
        raise StoreError(f"trial {trial_id}: its weights in {opened.weights} are missing or damaged; train it again")
    return weights


def export_weights(store: StorePath, job: str, folder: str | Path) -> list[Path]:
    """Write the weights of a job's stored trials, one file per trial.

    Args:
        store: The store's folder.
        job: A job's id, or a name for its latest job.
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

    opened = open_store(Path(store))
    hashes = _weights_of(opened, read_requested(opened, find_job(opened, job))["trial_id"].to_pylist())
    files = {trial_id: Path(folder) / f"{trial_id}.safetensors" for trial_id in hashes}
    lost = []
    for trial_id, weights in read_weights_of(opened, hashes):
        if weights is None:
            lost.append(trial_id)
        else:
            write_file(files[trial_id], save(weights))
    if lost:
        trials = f"trial {lost[0]}" if len(lost) == 1 else f"{len(lost)} trials, such as {lost[0]},"
        raise StoreError(f"{opened.weights}: the weights of {trials} are missing or damaged; the others are exported")
    return list(files.values())


def _weights_of(store: Store, trial_ids: Sequence[str]) -> dict[str, str]:
    """Return, by trial_id, which file holds the weights of each stored trial; warn of parts that cannot be used."""
    parts = read_parts(store, trial_ids, ["trial_id", "weights_sha256"])
    _warn_of(store, parts.damaged)
    return dict(zip(parts.table["trial_id"].to_pylist(), parts.table["weights_sha256"].to_pylist(), strict=True))


def _read_job(store: StorePath, job: str, columns: Sequence[str]) -> tuple[Job, pa.Table, pa.Table]:
    """Find a job; return it, what it asked for, and these columns of its stored rows. Warns of damaged parts."""
    opened = open_store(Path(store))
    found = find_job(opened, job)
    requested = read_requested(opened, found)
    parts = read_parts(opened, requested["trial_id"].to_pylist(), columns)
    _warn_of(opened, parts.damaged)
    return found, requested, parts.table


def _warn_of(store: Store, unusable: Sequence[str], may_move: bool = False) -> None:
    """Warn of parts that cannot be used, after moving the damaged ones to the quarantine if that is allowed."""
    for warning in set_aside(store, unusable) if may_move else describe_unusable(store, unusable):
        warnings.warn(warning, stacklevel=3)
