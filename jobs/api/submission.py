"""Plan, submit and report jobs, and keep their store tidy."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jobs.api.unusable import warn_of_unusable
from jobs.errors import InputError
from jobs.grid import Grid, load_grid
from jobs.run import JobEvent, Plan
from jobs.service import JobOptions, plan_study, submit_detached, train_attached
from jobs.store import Compaction, DamagedJob, Job, clean_up, compact, find_job, open_store, open_store_of, read_jobs

if TYPE_CHECKING:
    from jobs.report import FigureFormat, Report

StorePath = str | Path


def plan_grid(grid: str | Path | Grid, store: StorePath = "results", *, quarantine: bool = False) -> Plan:
    """Compare a grid with a store: find its stored trials, and why the others are missing. Nothing is trained.

    Args:
        grid: The path of a grid file, or a grid that was read.
        store: The store's folder or URL; it need not exist.
        quarantine: Whether to move damaged parts to quarantine/, as `submit_grid` does; by default nothing is written.

    Returns:
        The plan, which `submit_grid` accepts in place of the grid. Where the grid asks for seeds until an answer, its
        `decision` is the one on what is stored, and `missing` are the trials that this may still need.

    Raises:
        InputError: The grid has faults; all of them are listed in `faults`, with line and column.
        StoreError: The store cannot be read.
        DataError: The grid's dataset is damaged.
    """
    read = grid if isinstance(grid, Grid) else load_grid(Path(grid))
    plan = plan_study(read, open_store(store))
    warn_of_unusable(plan.store, plan.unusable, may_move=quarantine)
    return plan


def submit_grid(  # noqa: PLR0913 - the options of a submission
    grid: str | Path | Plan,
    store: StorePath = "results",
    *,
    address: str | None = None,
    workers: int | None = None,
    in_process: bool = False,
    allow_unauthenticated: bool = False,
    within_s: float | None = None,
    detach: bool = False,
    on_done: str | None = None,
    observe: Callable[[JobEvent], None] = lambda event: None,
) -> Job:
    """Train the trials of a grid that the store does not have yet, and return when they are done.

    Args:
        grid: The path of a grid file, or a plan, which brings its own store.
        store: The store's folder or URL; it is made where it does not exist.
        address: Of a Ray cluster, as HOST:PORT; `auto` for the one on this machine, `local` to start one. By default
            the Ray that this program is connected to, which stays connected, else $RAY_ADDRESS, else `local`. With
            `detach` also http://HOST:8265: the job runs on that cluster; the default is $RAY_API_SERVER_ADDRESS then.
        workers: The most tasks at once; by default as many as the CPUs or GPUs allow.
        in_process: Whether to train in the driver's process, one task after the other, without Ray.
        allow_unauthenticated: Whether to accept a cluster that lets anybody on its network run programs.
        within_s: The budget: seconds from this call to its return; of a detached job from the moment at which it may
            start. The seeds are trained one after the other, and nothing is started that is not expected to end in
            time. The job then is `stopped`, its tables contain whole seeds only, and `stop` has the time that
            the rest takes. By default a job takes as long as it takes.
        detach: Whether to return at once and leave the job to a driver of its own, which also writes the report.
        on_done: A command for the shell, which runs once when the job has ended, with MNISTJOBS_JOB, MNISTJOBS_STATE
            and MNISTJOBS_SUMMARY in its environment. The job's record keeps it.
        observe: Called with each event of the job as it happens, unless that is detached.

    Returns:
        The job. Its `state` is `failed` where any trial failed, and `failures` has the reasons; `stopped` where the
        budget was not enough, or where fewer seeds than the grid allows have given the answer (`stop` has the
        reason, and `decision` the number of seeds of each configuration); a detached one is `queued`.

    Raises:
        InputError: The grid has faults, its dataset has changed since it was planned, the device lacks a precision, or
            the budget is not above zero.
        StoreError: The store cannot be read or written.
        DataError: The dataset is damaged or cannot be downloaded.
        KernelsError: The trials are to be trained in this process, whose kernels cannot be pinned.
        ClusterError: Ray cannot be started or reached, was lost, lacks the device that the grid requires, or has no
            node whose versions, kernels and store are those of this process; or this program is connected to another
            Ray, which is left as it is.
    """
    plan = grid if isinstance(grid, Plan) else plan_study(load_grid(Path(grid)), open_store(store))
    warn_of_unusable(plan.store, plan.unusable, may_move=True)
    options = JobOptions(
        address=address or (_default_address() if detach else None),
        workers=workers,
        in_process=in_process,
        allow_unauthenticated=allow_unauthenticated,
        within_s=within_s,
        detach=detach,
        on_done=on_done,
        grid_folder=str(plan.grid.folder),
    )
    if detach:
        return submit_detached(plan, options)
    if options.is_job_server:
        where = f"address {address!r}: the job runs there, not in this program"
        raise InputError(f"{where}; allowed: the same with detach, or HOST:PORT")
    return train_attached(plan, options, observe)


def _default_address() -> str | None:
    """Return the cluster that a detached job uses where none is named, from Ray's own variables."""
    if server := os.environ.get("RAY_API_SERVER_ADDRESS"):
        return server if "://" in server else f"http://{server}"
    return os.environ.get("RAY_ADDRESS")


def compact_store(store: StorePath = "results") -> Compaction:
    """Merge the store's small parts into larger ones, which are faster to read; the rows stay the same.

    This is safe at any time, also while jobs run and others read.

    Args:
        store: The store's folder, or its URL.

    Returns:
        The names of the parts that were merged and written, and of the damaged ones.

    Raises:
        StoreError: The store cannot be read or written; nothing is lost then.
    """
    opened = open_store(store)
    clean_up(opened)
    done = compact(opened)
    warn_of_unusable(opened, done.damaged, may_move=True)
    return done


def list_jobs(store: StorePath = "results") -> list[Job | DamagedJob]:
    """List the jobs of a store.

    Args:
        store: The store's folder, or its URL.

    Returns:
        The jobs, oldest first; before them, as DamagedJob, those whose record cannot be read.

    Raises:
        StoreError: The store cannot be read.
    """
    return read_jobs(open_store(store))


def report_job(store: StorePath, job: str | None = None, figures: Sequence[FigureFormat] = ()) -> Report:
    """Write the tables, figures and page of a job into its folder, from the store alone.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        figures: The formats in which each figure is written besides SVG: pdf, png or both.

    Returns:
        The page's path, the summary, and the names of damaged parts.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read or written, or the job's record is damaged.
    """
    from jobs.report import write_report

    opened, name = open_store_of(store, job)
    report = write_report(opened, find_job(opened, name), figures)
    warn_of_unusable(opened, report.damaged)
    return report
