"""The Python API: the commands of the command line as functions that return values and tables."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from cluster.in_process import map_in_process
from cluster.interface import ClusterError, Device, Place
from jobs.errors import InputError
from jobs.grid import Grid, load_grid
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
from jobs.run import JobEvent, Plan, check_precision, make_plan, open_job, run_job
from jobs.store import (
    Compaction,
    DamagedJob,
    Job,
    JobState,
    Store,
    compact,
    end_job,
    find_job,
    open_store,
    read_jobs,
    read_parts,
    read_requested,
    set_aside,
    sweep,
)
from mnist_core.data import fetch_mnist, find_mnist, load_dataset
from mnist_core.devices import has_cuda

if TYPE_CHECKING:
    from jobs.report import Report

StorePath = str | Path


def plan_grid(grid: str | Path, store: StorePath = "results") -> Plan:
    """Compare a grid with a store: which trials are stored already, which are missing, and why. Nothing is trained.

    Args:
        grid: The path of a grid file.
        store: The store's folder; it need not exist.

    Returns:
        The plan, which `submit_grid` accepts in place of the grid.

    Raises:
        InputError: The grid has faults; all of them are listed in `faults`, with line and column.
        StoreError: The store cannot be read.
        DataError: The grid's dataset is damaged.
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
    plan = grid if isinstance(grid, Plan) else plan_grid(grid, store)
    options = {"address": address, "workers": workers, "in_process": in_process}
    if not plan.new:
        return end_job(plan.store, _open_job(plan, options), JobState.finished)
    source = plan.grid.dataset_source()
    if source == "mnist" and find_mnist() is None:
        fetch_mnist()
    try:
        # The dataset is read while Ray starts, which takes seconds and mostly waits.
        with ThreadPoolExecutor(1) as reader:
            loading = reader.submit(load_dataset, source)
            with _place(plan.grid, address, workers, in_process) as place:
                dataset = loading.result()
                if dataset.fingerprint != plan.grid.dataset_info.fingerprint:
                    raise InputError(
                        f"dataset {dataset.name}: has changed since the grid was read; submit the grid again"
                    )
                check_precision(plan, place.device)
                return run_job(_open_job(plan, options), plan, dataset, place, observe)
    finally:
        sweep(plan.store, plan.new)  # a worker that is interrupted is killed, perhaps while it writes a file


def _open_job(plan: Plan, options: dict[str, str | int | bool | None]) -> Job:
    """Enter a job into the store, after cleaning up after killed processes, which may free a full disk."""
    sweep(plan.store, plan.new)
    return open_job(plan, options)


@contextmanager
def _place(grid: Grid, address: str | None, workers: int | None, in_process: bool) -> Iterator[Place]:
    resources = grid.resources
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if in_process:
        yield Place(map_in_process, device=_local_device(resources.device))
        return
    from cluster.ray_session import TaskNeeds, ray_place  # half a second to import, for jobs on Ray only

    device = _local_device(resources.device) if address == "local" else resources.device
    needs = TaskNeeds(resources.cpus_per_trial, device, resources.gpus_per_task)
    with ray_place(address=address, workers=workers, needs=needs) as place:
        yield place


def _local_device(requested: Literal["auto"] | Device) -> Device:
    """Choose the device of this machine; raises ClusterError where a GPU is required and there is none."""
    if requested == "cpu":
        return "cpu"
    if has_cuda():
        return "cuda"
    if requested == "cuda":
        raise ClusterError("resources.device cuda: torch finds no GPU on this machine; allowed: auto or cpu")
    return "cpu"


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
    sweep(opened)
    done = compact(opened)
    _warn_of(opened, done.damaged)
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


def _read_job(store: StorePath, job: str, columns: Sequence[str]) -> tuple[Job, pa.Table, pa.Table]:
    """Find a job; return it, what it asked for, and these columns of its stored rows. Warns of damaged parts."""
    opened = open_store(Path(store))
    found = find_job(opened, job)
    requested = read_requested(opened, found)
    parts = read_parts(opened, requested["trial_id"].to_pylist(), columns)
    _warn_of(opened, parts.damaged)
    return found, requested, parts.table


def _warn_of(store: Store, unusable: Sequence[str]) -> None:
    """Move damaged parts to the quarantine, and warn of every part that cannot be used."""
    for warning in set_aside(store, unusable):
        warnings.warn(warning, stacklevel=3)
