"""A job in a notebook: an object that shows what the job is doing, waits for it, and ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape as escape_html
from pathlib import Path

import pyarrow as pa

from jobs.api.life import cancel_job, job_status, read_log
from jobs.api.reading import read_summary
from jobs.api.submission import submit_grid
from jobs.escape import escape
from jobs.run import Plan
from jobs.service import JobStatus
from jobs.store import find_job, open_store_of

StorePath = str | Path
_POLL_S = 1.0
_MAX_ROWS = 8  # of running trials and of failures


class JobHandle:
    """A job of a store, which goes on whether or not this object lives.

    Args:
        store: The store's folder, or its URL.
        job_id: The job's id.
    """

    def __init__(self, store: StorePath, job_id: str) -> None:
        self.store = str(store)
        self.job_id = job_id

    def status(self) -> JobStatus:
        """Return what the job is doing, or how it ended."""
        return job_status(self.store, self.job_id)

    def wait(self, timeout_s: float | None = None) -> JobStatus:
        """Wait until the job has ended, or its driver is lost; an interrupt ends the waiting, not the job.

        Args:
            timeout_s: Return after this many seconds in any case; None: wait for the end.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            status = job_status(self.store, self.job_id, is_exact=False)
            left_s = _POLL_S if deadline is None else deadline - time.monotonic()
            if status.state not in ("queued", "running") or left_s <= 0:
                return self.status()
            time.sleep(min(_POLL_S, left_s))

    def cancel(self) -> JobStatus:
        """End the job: its running trials stop, what has finished stays."""
        cancel_job(self.store, self.job_id)
        return self.status()

    def log(self) -> Iterator[str]:
        """Return the lines of the log that the job's driver has written so far."""
        return read_log(self.store, self.job_id)

    def summary(self) -> pa.Table:
        """Summarize what the store has of the job now, one row per configuration."""
        return read_summary(self.store, self.job_id)

    def __repr__(self) -> str:
        return f"JobHandle({self.store!r}, {self.job_id!r})"

    def _repr_html_(self) -> str:
        """Show the job in a notebook, as it is when the cell runs."""
        return status_html(self.status())


def status_html(status: JobStatus) -> str:
    """Return a status as a fragment of HTML."""
    rows = [("state", f"{status.state}{f' behind {status.waits_for}' if status.waits_for else ''}")]
    rows += [(f"failed: {'; '.join(each.trials)}", each.message) for each in status.failure_groups[:_MAX_ROWS]]
    most = f"at most {status.trial_count}: " if status.may_end_earlier else ""
    rows += [("trials", most + ", ".join(f"{count} {name}" for name, count in status.counts.items() if count))]
    rows += [
        (f"running: {each.trial_id}", f"epoch {each.epoch} of {each.epochs}") for each in status.running[:_MAX_ROWS]
    ]
    if status.seconds_left is not None:
        rows.append(("time left", f"{'at most' if status.may_end_earlier else 'about'} {status.seconds_left:.0f} s"))
    if status.note:
        rows.append(("note", status.note))
    cells = "".join(
        f"<tr><th style='text-align:left'>{_html(name)}</th><td style='text-align:left'>{_html(text)}</td></tr>"
        for name, text in rows
    )
    return f"<table><caption>{_html(status.job_id)}</caption>{cells}</table>"


def _html(text: str) -> str:
    return escape_html(escape(text))


def submit(
    grid: str | Path | Plan,
    store: StorePath = "results",
    *,
    detach: bool = True,
    address: str | None = None,
    workers: int | None = None,
    in_process: bool = False,
    on_done: str | None = None,
) -> JobHandle:
    """Submit a grid as a job that goes on without this program, and return an object to look at it with.

    Args:
        grid: The path of a grid file, or a plan, which brings its own store.
        store: The store's folder or URL; it is made where it does not exist.
        detach: Whether to return at once; otherwise the job is trained before this returns.
        address: Of a Ray cluster, as HOST:PORT, or of its job server, as http://HOST:8265; default: $RAY_ADDRESS, else
            this machine.
        workers: The most tasks at once; by default as many as the CPUs or GPUs allow.
        in_process: Whether to train in the driver's process, one task after the other, without Ray.
        on_done: A command for the shell, which runs once when the job has ended.

    Returns:
        The job, with `status()`, `wait()`, `cancel()`, `log()` and `summary()`.

    Raises:
        InputError: The grid has faults.
        StoreError: The store cannot be read or written.
        DataError: The dataset is damaged.
        ClusterError: The cluster cannot be reached, or refuses the job.
    """
    job = submit_grid(
        grid, store, address=address, workers=workers, in_process=in_process, detach=detach, on_done=on_done
    )
    return JobHandle(grid.store.locate() if isinstance(grid, Plan) else store, job.job_id)


def get_job(store: StorePath = "results", job: str | None = None) -> JobHandle:
    """Find a job, to look at it, to wait for it or to end it.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store;
            None means the latest job of the store.

    Returns:
        The job, with `status()`, `wait()`, `cancel()`, `log()` and `summary()`.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    opened, name = open_store_of(store, job)
    return JobHandle(opened.locate(), find_job(opened, name).job_id)
