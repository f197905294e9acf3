"""The command that runs once when a job has ended."""

import os
import signal
import subprocess
import warnings
from collections.abc import Mapping
from contextlib import suppress

from jobs.errors import StoreError
from jobs.report import SUMMARY_COLUMNS, format_count, read_counted, summarize, summary_cells
from jobs.service.options import JobOptions
from jobs.store import Job, Store, read_job, read_parts

TIMEOUT_S = 60.0
_MAX_LINE = 500  # characters of the summary's first line


def run_on_done(store: Store, job_id: str, may_wait: bool = True) -> None:
    """Run the command of a job that has just ended, if it has one; a failure is a warning.

    Args:
        store: The store.
        job_id: The job.
        may_wait: Whether to wait for the command, for a minute at most; otherwise it goes on by itself.
    """
    try:
        job = read_job(store, job_id)
        command = JobOptions.of(job).on_done
        if not command or not job.end:
            return
        variables = environment(job, summary_line(store, job))
    except StoreError as error:
        warnings.warn(f"the command to run at the end was not run: {error}", stacklevel=2)
        return
    _run(command, variables, may_wait)


def _run(command: str, variables: Mapping[str, str], may_wait: bool) -> None:
    process = subprocess.Popen(
        command,
        shell=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **variables},
        start_new_session=True,
    )
    if not may_wait:
        process.returncode = 0  # this process ends before it
        return
    try:
        code = process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        warnings.warn(f"the command to run at the end took over {TIMEOUT_S:.0f} s and was killed", stacklevel=2)
        return
    if code:
        warnings.warn(f"the command to run at the end failed with exit code {code}", stacklevel=2)


def environment(job: Job, summary: str) -> Mapping[str, str]:
    """Return the environment of the command."""
    return {"MNISTJOBS_JOB": job.job_id, "MNISTJOBS_STATE": job.state.value, "MNISTJOBS_SUMMARY": summary}


def summary_line(store: Store, job: Job) -> str:
    """Return the first line of a job's summary: how it ended, and the figures of its first configuration.

    Raises:
        StoreError: The store cannot be read.
    """
    requested = read_counted(store, job)
    rows = read_parts(store, requested["trial_id"].to_pylist(), SUMMARY_COLUMNS).table
    failed = [failure.trial_id for failure in job.failures]
    summary = summarize(rows, requested, failed, test_images=job.dataset.test_size, until=job.record.until)
    header, lines = summary_cells(summary)
    first = ", ".join(f"{name} {cell}" for name, cell in zip(header, lines[0], strict=True) if cell) if lines else ""
    counted = f"{rows.num_rows} of {format_count(requested.num_rows, 'trial')}"
    return f"{job.name} {job.state.value}, {counted}; {first}"[:_MAX_LINE]
