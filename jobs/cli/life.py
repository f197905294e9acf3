"""The commands about a job while it runs, and after: status, watch, logs, cancel and list."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.arguments import STORE, JobOption, JsonOption, StoreOption
from jobs.cli.exit_codes import exit_code
from jobs.cli.output import echo, echo_first
from jobs.cli.start import Interrupted

if TYPE_CHECKING:
    from jobs.service import JobStatus
    from jobs.store import Job

_POLL_S = 1.0
_REPORT_S = 60.0  # for which `watch` waits for the report of a job that has ended


def status(job: JobOption = None, store: StoreOption = STORE, json_: JsonOption = False) -> None:
    """Show what a job is doing, or how it ended.

    Example: mnistjobs status
    """
    from jobs.api import job_status
    from jobs.cli.status_view import status_lines

    found = job_status(store, job)
    if json_:
        echo(json.dumps(found.to_dict(), indent=1))
    else:
        echo("\n".join(status_lines(found)))


def print_status_json(store: str, job: str) -> None:
    """Print the status of a job as an object."""
    status(job, store, json_=True)


def watch(
    job: JobOption = None,
    store: StoreOption = STORE,
    json_: JsonOption = False,
    web: Annotated[
        bool, typer.Option("--web", help="Serve the report's page of the seeds so far to a browser on this machine.")
    ] = False,
) -> None:
    """Show a job live, until it has ended and its report is written.

    Exit code: 0 finished or stopped, 1 failed, cancelled or lost, 130 interrupted.

    Example: mnistjobs watch --web
    """
    from jobs.api import job_status
    from jobs.cli.status_view import StatusView, status_lines

    found = job_status(store, job)
    try:
        with _served(store, found, json_) if web else nullcontext(), StatusView(json_) as view:
            while found.state in ("queued", "running"):
                view.show(found)
                time.sleep(_POLL_S)
                found = job_status(store, found.job_id, is_exact=False)
            until_s = time.monotonic() + _REPORT_S
            while found.is_reporting and time.monotonic() < until_s:
                time.sleep(_POLL_S)
                found = job_status(store, found.job_id, is_exact=False)
    except (KeyboardInterrupt, Interrupted):
        echo(f"{found.job_id} goes on; `mnistjobs cancel {found.job_id}` ends it", err=True)
        raise
    found = job_status(store, found.job_id)
    echo(json.dumps(found.to_dict()) if json_ else "\n".join(status_lines(found)))
    sys.exit(exit_code(found.state))


@contextmanager
def _served(store: str, found: "JobStatus", as_json: bool) -> Iterator[None]:
    """Serve the page of a job that has not ended, and print where it is."""
    from jobs.api import serve_page

    if found.state not in ("queued", "running"):
        yield
        return
    with serve_page(store, found.job_id) as url:
        echo(
            json.dumps({"url": url})
            if as_json
            else f"{url}\nopen this in a browser on this machine, until the job ends"
        )
        yield


def logs(
    job: JobOption = None,
    store: StoreOption = STORE,
    trial: Annotated[
        str | None, typer.Option("--trial", metavar="ID", help="What concerns this trial; the id's beginning will do.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    json_: JsonOption = False,
) -> None:
    """Print the log of a detached job.

    Example: mnistjobs logs --follow
    """
    from jobs.api import read_log

    is_empty = True
    for line in read_log(store, job, trial, follow):
        is_empty = False
        echo(json.dumps({"line": line}) if json_ else line)
    if is_empty and not json_:
        echo("No log: the job was not submitted with --detach, or has not started", err=True)


def cancel(job: JobOption = None, store: StoreOption = STORE, json_: JsonOption = False) -> None:
    """End a job; what has finished stays.

    Example: mnistjobs cancel
    """
    from jobs.api import cancel_job

    found = cancel_job(store, job)
    has_ended = found.end is not None
    if json_:
        echo(json.dumps({"job_id": found.job_id, "state": found.state.value, "has_ended": has_ended}))
    elif has_ended:
        echo(f"{found.job_id}: {found.state.value}")
    else:
        echo(f"{found.job_id}: asked to end; its driver has not answered yet, it is {found.state_text}", err=True)
    if not has_ended:
        sys.exit(1)


def list_(store: StoreOption = STORE, json_: JsonOption = False) -> None:
    """List the jobs of a store, oldest first.

    Example: mnistjobs list
    """
    from jobs.api import list_jobs
    from jobs.cli.tables import job_table, print_table
    from jobs.store import DamagedJob

    jobs = list_jobs(store)
    if json_:
        echo(json.dumps([_listed(job) for job in jobs], indent=1))
    elif jobs:
        print_table(job_table(jobs))
    else:
        echo(f"No jobs in {store} yet; `mnistjobs submit GRID` makes one")
    echo_first([job.reason for job in jobs if isinstance(job, DamagedJob)], "damaged job")


def _listed(job: "Job | object") -> dict[str, object]:
    from jobs.store import Job

    if not isinstance(job, Job):
        return {name: str(value) for name, value in vars(job).items()}
    return {
        "job_id": job.job_id,
        "state": job.state.value,
        "trial_count": job.trial_count,
        "needed_count": job.needed_count,
        "may_end_earlier": job.may_end_earlier,
        "submitted_at": job.submitted_at.isoformat(),
        "finished_at": job.finished_at.isoformat() if job.finished_at else None,
    }
