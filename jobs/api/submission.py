"""Plan, submit and report jobs, and keep their store tidy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.api.unusable import warn_of_unusable
from jobs.errors import InputError
from jobs.grid import Grid, load_grid
from jobs.run import (
    JobEvent,
    Plan,
    check_kernels,
    check_precision,
    make_plan,
    node_admission,
    open_job,
    open_session,
    run_job,
)
from jobs.store import (
    Compaction,
    DamagedJob,
    Job,
    JobState,
    clean_up,
    compact,
    end_job,
    find_job,
    open_store,
    open_store_of,
    read_jobs,
    with_last_signs,
)
from mnist_core.data import fetch_mnist, find_mnist, load_dataset

if TYPE_CHECKING:
    from jobs.report import FigureFormat, Report

StorePath = str | Path


def plan_grid(grid: str | Path | Grid, store: StorePath = "results", *, quarantine: bool = False) -> Plan:
    """Compare a grid with a store: which trials are stored already, which are missing, and why. Nothing is trained.

    Args:
        grid: The path of a grid file, or a grid that was read.
        store: The store's folder; it need not exist.
        quarantine: Whether to move damaged parts to quarantine/, as `submit_grid` does; by default nothing is written.

    Returns:
        The plan, which `submit_grid` accepts in place of the grid.

    Raises:
        InputError: The grid has faults; all of them are listed in `faults`, with line and column.
        StoreError: The store cannot be read.
        DataError: The grid's dataset is damaged.
    """
    read = grid if isinstance(grid, Grid) else load_grid(Path(grid))
    plan = make_plan(read, open_store(Path(store)))
    warn_of_unusable(plan.store, plan.unusable, may_move=quarantine)
    return plan


def submit_grid(
    grid: str | Path | Plan,
    store: StorePath = "results",
    *,
    address: str | None = None,
    workers: int | None = None,
    in_process: bool = False,
    allow_unauthenticated: bool = False,
    observe: Callable[[JobEvent], None] = lambda event: None,
) -> Job:
    """Train the trials of a grid that the store does not have yet, and return when they are done.

    Args:
        grid: The path of a grid file, or a plan, which brings its own store.
        store: The store's folder; it is made where it does not exist.
        address: Of a Ray cluster, as HOST:PORT; `auto` for the one on this machine, `local` to start one. By default
            the Ray that this program is connected to, which stays connected, else $RAY_ADDRESS, else `local`.
        workers: The most tasks at once; by default as many as the CPUs or GPUs allow.
        in_process: Whether to train in this process, one task after the other, without Ray.
        allow_unauthenticated: Whether to use a cluster on a network that lets anybody run programs on it.
        observe: Called with each event of the job as it happens.

    Returns:
        The job. Its `state` is `failed` where any trial failed, and `failures` has the reasons.

    Raises:
        InputError: The grid has faults, its dataset has changed since it was planned, or the device lacks a precision.
        StoreError: The store cannot be read or written.
        DataError: The dataset is damaged or cannot be downloaded.
        KernelsError: The trials are to be trained in this process, whose kernels cannot be pinned.
        ClusterError: Ray cannot be started or reached, was lost, lacks the device that the grid requires, or has no
            node whose versions, kernels and store are those of this process; or this program is connected to another
            Ray, which is left as it is.
    """
    plan = grid if isinstance(grid, Plan) else make_plan(load_grid(Path(grid)), open_store(Path(store)))
    warn_of_unusable(plan.store, plan.unusable, may_move=True)
    options = {"address": address, "workers": workers, "in_process": in_process}
    if allow_unauthenticated:
        options["allow_unauthenticated"] = True
    if not plan.missing:
        return end_job(plan.store, _open_job(plan, options), JobState.finished)
    source = plan.grid.dataset_source()
    if source == "mnist" and find_mnist() is None:
        fetch_mnist()
    try:
        # The dataset is read while Ray starts, which takes seconds and mostly waits.
        with ThreadPoolExecutor(1) as reader:
            loading = reader.submit(load_dataset, source)
            with open_session(
                plan.grid,
                address=address,
                workers=workers,
                in_process=in_process,
                allow_unauthenticated=allow_unauthenticated,
                admission=partial(node_admission, plan),
            ) as session:
                dataset = loading.result()
                if dataset.fingerprint != plan.grid.dataset_info.fingerprint:
                    raise InputError(
                        f"dataset {dataset.name}: has changed since the grid was read; submit the grid again"
                    )
                check_precision(plan, session.device)
                if in_process and session.device == "cpu":
                    check_kernels(plan)
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
    warn_of_unusable(opened, done.damaged, may_move=True)
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
    opened = open_store(Path(store))
    jobs = read_jobs(opened)
    damaged = [job for job in jobs if isinstance(job, DamagedJob)]
    return [*damaged, *with_last_signs(opened, [job for job in jobs if isinstance(job, Job)])]


def report_job(store: StorePath, job: str, figures: Sequence[FigureFormat] = ()) -> Report:
    """Write the tables, figures and page of a job into its folder, from the store alone.

    Args:
        store: The store's folder.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        figures: The formats in which each figure is written besides SVG: pdf, png or both.

    Returns:
        The page's path, the summary, and the names of damaged parts.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read or written, or the job's record is damaged.
    """
    from jobs.report import write_report

    opened, name = open_store_of(Path(store), job)
    report = write_report(opened, find_job(opened, name), figures)
    warn_of_unusable(opened, report.damaged)
    return report
