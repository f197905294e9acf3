"""The Python API: the verbs of the command line, with tables for answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from jobs.errors import InputError
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
    compact,
    find_job,
    open_store,
    read_jobs,
    read_parts,
    set_aside,
    sweep,
)
from mnist_core.data import fetch_mnist, find_mnist, load_dataset

if TYPE_CHECKING:
    from jobs.report import Report

StorePath = str | Path


def plan_grid(grid: str | Path, store: StorePath = "results") -> Plan:
    """Say what a grid file asks for and what of it is stored; nothing runs, and only damaged parts are moved.

    Raises InputError where the grid is at fault, StoreError where the store cannot be read.
    """
    plan = make_plan(load_grid(Path(grid)), open_store(Path(store)))
    _warn_of(plan.store, plan.unusable)
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
    plan = grid if isinstance(grid, Plan) else plan_grid(grid, store)
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
        sweep(plan.store, plan.missing)  # an interrupted worker is killed, perhaps while it writes


def _open_job(plan: Plan) -> Job:
    """Enter a job, after clearing away what killed ones left: on a full disk, that may make the room."""
    sweep(plan.store, plan.missing)
    return open_job(plan)


def compact_store(store: StorePath = "results") -> Compaction:
    """Merge the store's small parts into larger ones, which are read faster; what they hold stays the same.

    Safe at any moment, also while jobs run and readers read. Raises StoreError; nothing is lost then.
    """
    opened = open_store(Path(store))
    sweep(opened)
    done = compact(opened)
    _warn_of(opened, done.damaged)
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


def _job_and_parts(store: StorePath, job: str, columns: Sequence[str]) -> tuple[Job, Parts]:
    """Find a job and read these columns of its rows; damaged parts are moved and warned of."""
    opened = open_store(Path(store))
    found = find_job(opened, job)
    parts = read_parts(opened, found["trial_ids"], columns)
    _warn_of(opened, parts.damaged)
    return found, parts


def _warn_of(store: Store, unusable: Sequence[str]) -> None:
    """Move damaged parts out of the way and warn of every part that cannot be used."""
    for warning in set_aside(store, unusable):
        warnings.warn(warning, stacklevel=3)
