"""The Python API: the verbs of the command line, with tables for answers."""

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
    summarize_job,
    trials_table,
)
from jobs.run import JobEvent, Plan, check_precision, close_job, make_plan, open_job, open_session, run_job
from jobs.store import (
    Compaction,
    Job,
    Parts,
    Store,
    clean_up,
    compact,
    describe_unusable,
    find_job,
    open_store,
    read_jobs,
    read_parts,
    read_weights_of,
    set_aside,
    write_file,
)
from mnist_core.data import fetch_mnist, find_mnist, load_dataset

if TYPE_CHECKING:
    from jobs.report import Report

StorePath = str | Path


def plan_grid(grid: str | Path, store: StorePath = "results", *, quarantine: bool = False) -> Plan:
    """Compare what a grid file asks for with what is stored; nothing runs.

    Args:
        grid: the grid file.
        store: the store's folder, which may not exist yet.
        quarantine: move damaged parts to quarantine/, as `submit_grid` does; by default nothing is written.

    Raises:
        InputError: the grid is at fault.
        StoreError: the store cannot be read.
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
    """Train what a grid file (or a plan, which brings its store) asks for and the store lacks; return the job's record.

    Runs on the Ray cluster at `address` or RAY_ADDRESS, else on a Ray started here; at most `workers` tasks at once.
    Raises InputError, StoreError, mnist_core's DataError and cluster's ClusterError, before anything is written.
    """
    plan = grid if isinstance(grid, Plan) else make_plan(load_grid(Path(grid)), open_store(Path(store)))
    _warn_of(plan.store, plan.unusable, may_move=True)
    if not plan.missing:
        return close_job(_open_job(plan), plan.store, "finished")
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
                return run_job(_open_job(plan), plan, dataset, session, observe, workers)
    finally:
        clean_up(plan.store, plan.missing)  # an interrupted worker is killed, perhaps while it writes


def _open_job(plan: Plan) -> Job:
    """Enter a job, after clearing away what killed ones left: on a full disk, that may make the room."""
    clean_up(plan.store, plan.missing)
    return open_job(plan)


def compact_store(store: StorePath = "results") -> Compaction:
    """Merge the store's small parts into larger ones, which are read faster; what they hold stays the same.

    Safe at any moment, also while jobs run and readers read. Raises StoreError; nothing is lost then.
    """
    opened = open_store(Path(store))
    clean_up(opened)
    done = compact(opened)
    _warn_of(opened, done.damaged, may_move=True)
    return done


def list_jobs(store: StorePath = "results") -> list[Job]:
    """Return the job.json of every job, oldest first."""
    return read_jobs(open_store(Path(store)))


def report_job(store: StorePath, job: str) -> Report:
    """Write the tables, pictures and page of a job (its id, or a name's latest job) from the store alone."""
    from jobs.report import write_report  # draws, and matplotlib takes a second to import

    opened = open_store(Path(store))
    report = write_report(opened, find_job(opened, job))
    _warn_of(opened, report.damaged)
    return report


def read_summary(store: StorePath, job: str) -> pa.Table:
    """Return one row per configuration over what the store holds now (columns: jobs.report.summary.SUMMARY)."""
    return summarize_job(*_job_and_parts(store, job, SUMMARY_COLUMNS))


def read_trials(store: StorePath, job: str) -> pa.Table:
    """Return one row per stored trial (columns: jobs.store.schemas.TRIALS)."""
    return trials_table(_job_and_parts(store, job, TRIALS_COLUMNS)[1].table)


def read_metrics(store: StorePath, job: str) -> pa.Table:
    """Return one row per stored trial and epoch (columns: jobs.store.schemas.METRICS)."""
    return metrics_table(_job_and_parts(store, job, METRICS_COLUMNS)[1].table)


def read_confusion(store: StorePath, job: str) -> pa.Table:
    """Return one row per finished trial, actual and predicted digit (columns: jobs.store.schemas.CONFUSION)."""
    return confusion_table(_job_and_parts(store, job, CONFUSION_COLUMNS)[1].table)


def read_weights(store: StorePath, trial_id: str) -> dict[str, NDArray[Any]]:
    """Read the trained weights of one trial.

    Args:
        store: the store's folder.
        trial_id: the trial, as in the column of that name.

    Returns:
        The arrays by parameter, such as W1, (hidden units, 784), of an MLP.

    Raises:
        InputError: no part holds the trial.
        StoreError: the weights are missing or damaged, or the store cannot be read.
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
        store: the store's folder.
        job: a job's id, or a name for its latest job.
        folder: where to write `<trial_id>.safetensors` for each trial; made if it does not exist. Its tensors are
            named by parameter.

    Returns:
        The files, in the order of the job's trials that are stored.

    Raises:
        InputError: there is no such job.
        StoreError: weights are missing or damaged (those of the other trials are written), or a file cannot be
            written.
    """
    from safetensors.numpy import save

    opened = open_store(Path(store))
    hashes = _weights_of(opened, find_job(opened, job)["trial_ids"])
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


def _job_and_parts(store: StorePath, job: str, columns: Sequence[str]) -> tuple[Job, Parts]:
    """Find a job and read these columns of its rows; warn of parts that cannot be used."""
    opened = open_store(Path(store))
    found = find_job(opened, job)
    parts = read_parts(opened, found["trial_ids"], columns)
    _warn_of(opened, parts.damaged)
    return found, parts


def _warn_of(store: Store, unusable: Sequence[str], may_move: bool = False) -> None:
    """Warn of parts that cannot be used, after moving the damaged ones to the quarantine if that is allowed."""
    for warning in set_aside(store, unusable) if may_move else describe_unusable(store, unusable):
        warnings.warn(warning, stacklevel=3)
