"""The Python API: the verbs of the command line, with tables for answers."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from cluster.in_process import map_in_process
from cluster.port import Map
from jobs.errors import DamagedPartWarning, InputError
from jobs.grid import Grid, load_grid
from jobs.jobfile import Job, find_job, read_jobs
from jobs.results import summarize_job
from jobs.store import Parts, open_store, read_parts
from jobs.submit import PackEvent, Plan, close_job, make_plan, open_job, run_job
from jobs.tables import confusion_table, metrics_table, trials_table
from mnist_core.datasets import load_dataset

if TYPE_CHECKING:
    from jobs.report import Report

StorePath = str | Path


def plan_grid(grid: str | Path, store: StorePath = "results") -> Plan:
    """Say what a grid file asks for and what of it is stored; nothing runs and nothing is written.

    Raises InputError where the grid is at fault, StoreError where the store cannot be read.
    """
    return make_plan(load_grid(Path(grid)), open_store(Path(store)))


def submit_grid(
    grid: str | Path | Plan,
    store: StorePath = "results",
    *,
    address: str | None = None,
    workers: int | None = None,
    in_process: bool = False,
    observe: Callable[[PackEvent], None] = lambda event: None,
) -> Job:
    """Train what a grid file (or a plan, which brings its store) asks for and the store lacks; return the job's record.

    Runs on the Ray cluster at `address` or RAY_ADDRESS, else on a Ray started here; at most `workers` trials at once.
    Raises InputError, StoreError, mnist_core's DataError and cluster's ClusterError, before anything is written.
    """
    plan = grid if isinstance(grid, Plan) else plan_grid(grid, store)
    if not plan.new:
        return close_job(open_job(plan), plan.store, "finished")
    dataset = load_dataset(plan.grid.dataset_source())
    if dataset.fingerprint != plan.grid.dataset_info.fingerprint:
        raise InputError(f"dataset {dataset.name}: has changed since the grid was read; submit the grid again")
    with _place(plan.grid, address, workers, in_process) as run_map:
        return run_job(open_job(plan), plan, dataset, run_map, observe)


@contextmanager
def _place(grid: Grid, address: str | None, workers: int | None, in_process: bool) -> Iterator[Map]:
    if in_process:
        yield map_in_process
        return
    from cluster.on_ray import ray_map  # half a second to import: only where trials run on Ray

    with ray_map(address=address, workers=workers, cpus_per_task=grid.resources.cpus_per_trial) as run_map:
        yield run_map


def list_jobs(store: StorePath = "results") -> list[Job]:
    """Return the job.json of every job, oldest first."""
    return read_jobs(open_store(Path(store)))


def report_job(store: StorePath, job: str) -> Report:
    """Write the tables, pictures and page of a job (its id, or a name's latest job) from the store alone."""
    from jobs.report import write_report  # draws, and matplotlib takes a second to import

    opened = open_store(Path(store))
    report = write_report(opened, find_job(opened, job))
    _warn_of(report.damaged)
    return report


def read_summary(store: StorePath, job: str) -> pa.Table:
    """Return one row per configuration over what the store holds now (columns: jobs.summary.SUMMARY)."""
    return summarize_job(*_job_and_parts(store, job))


def read_trials(store: StorePath, job: str) -> pa.Table:
    """Return one row per stored trial (columns: jobs.schemas.TRIALS)."""
    return trials_table(_job_and_parts(store, job)[1].table)


def read_metrics(store: StorePath, job: str) -> pa.Table:
    """Return one row per stored trial and epoch (columns: jobs.schemas.METRICS)."""
    return metrics_table(_job_and_parts(store, job)[1].table)


def read_confusion(store: StorePath, job: str) -> pa.Table:
    """Return one row per finished trial, actual and predicted digit (columns: jobs.schemas.CONFUSION)."""
    return confusion_table(_job_and_parts(store, job)[1].table)


def _job_and_parts(store: StorePath, job: str) -> tuple[Job, Parts]:
    """Find a job and read its rows; every damaged part is a DamagedPartWarning."""
    opened = open_store(Path(store))
    found = find_job(opened, job)
    parts = read_parts(opened, found["trial_ids"])
    _warn_of(parts.damaged)
    return found, parts


def _warn_of(damaged: tuple[str, ...]) -> None:
    for name in damaged:
        warnings.warn(
            f"part {name} is damaged and ignored; trials that no other part holds count as missing",
            DamagedPartWarning,
            stacklevel=3,
        )
