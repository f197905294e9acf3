"""The commands that train: `submit`, and the driver of detached jobs."""

import os
import signal
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.arguments import STORE, GridArgument, JobOption, JsonOption, StoreOption, WithinOption
from jobs.cli.exit_codes import SOME_FAILED, exit_code
from jobs.cli.output import echo
from jobs.cli.signals import end_now, interruptible, unread_output_dropped
from jobs.cli.step_summary import append_step_summary
from jobs.errors import InputError

if TYPE_CHECKING:
    from jobs.report import Report
    from jobs.run import Plan
    from jobs.store import Job

_DRIVER_SHUTDOWN_S = 15.0  # nobody waits at a terminal, and Ray may need some time

AddressOption = Annotated[
    str | None,
    typer.Option(envvar="RAY_ADDRESS", metavar="HOST:PORT", help="A Ray cluster; auto: this machine's; local: none."),
]
WorkersOption = Annotated[
    int | None, typer.Option(min=1, metavar="N", help="Tasks at once; default: as the CPUs and GPUs allow.")
]
InProcessOption = Annotated[bool, typer.Option("--in-process", help="Train in this process, without Ray.")]
UnauthenticatedOption = Annotated[
    bool, typer.Option("--allow-unauthenticated", help="Use a cluster that lets anybody run programs on it.")
]
DetachOption = Annotated[
    bool, typer.Option("--detach", "-d", help="Return at once; the job goes on without this terminal.")
]
OnDoneOption = Annotated[
    str | None, typer.Option("--on-done", metavar="COMMAND", help="Run this in a shell once the job has ended.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")]


def submit(  # noqa: PLR0913 - the options of a command
    grid: GridArgument,
    store: StoreOption = STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    in_process: InProcessOption = False,
    allow_unauthenticated: UnauthenticatedOption = False,
    within: WithinOption = None,
    detach: DetachOption = False,
    on_done: OnDoneOption = None,
    quiet: QuietOption = False,
    json_: JsonOption = False,
) -> None:
    """Train a grid's missing trials; write tables and figures.

    Example: mnistjobs submit grid.yaml --workers 4
    """
    from jobs.api import plan_grid, submit_grid
    from jobs.cli.budget import forecast_line, stop_line
    from jobs.cli.plan import decision_line, given_grid, plan_line, trials_at_once

    if in_process and workers:
        raise InputError(f"--workers {workers}: --in-process trains one task after the other; remove one of the two")
    check_address(address, detach, in_process)
    if detach and address == os.environ.get("RAY_ADDRESS"):
        address = None  # RAY_API_SERVER_ADDRESS comes first, as for Ray's own jobs
    try:
        with interruptible(), unread_output_dropped():
            plan = plan_grid(given_grid(grid), store, quarantine=True)
            if not quiet and not json_:
                at_once = None if address not in (None, "local") else workers or trials_at_once(plan)
                echo(plan_line(plan, store, at_once), err=detach)
                if line := decision_line(plan):
                    echo(line, err=detach)
                if within and (line := forecast_line(plan, within, at_once)):
                    echo(line, err=detach)
            options = {
                "address": address,
                "workers": workers,
                "in_process": in_process,
                "allow_unauthenticated": allow_unauthenticated,
                "within_s": within,
                "on_done": on_done,
            }
            if detach:
                _tell_submitted(submit_grid(plan, **options, detach=True), store, quiet, json_)  # type: ignore[arg-type]
                return
            job = _train(plan, options, quiet or json_)
            _finish(plan, job, quiet, json_)
            if job.stop and job.stop.reason == "budget" and within:
                echo(stop_line(job.stop, within), err=json_)
    except KeyboardInterrupt:
        end_now()  # a Ray that is interrupted while it starts does not shut down cleanly
    sys.exit(SOME_FAILED if job.stop and not job.stop.seeds else exit_code(job.state))


def check_address(address: str | None, detach: bool, in_process: bool) -> None:
    """Raise InputError where a job is to run on a cluster by itself, and another option contradicts that.

    Such a job goes on without this terminal. Shown here, it would seem to end with Ctrl-C, which it does not.
    """
    from cluster import is_url

    if is_url(address) and not detach:
        where = f"--address {address}: the job runs there, not in this terminal"
        raise InputError(f"{where}; add --detach, and `mnistjobs watch` shows it")
    if is_url(address) and in_process:
        raise InputError(f"--address {address}: --in-process trains without a cluster; remove one of the two")


def _train(plan: "Plan", options: Mapping[str, object], quiet: bool) -> "Job":
    from rich.console import Console

    from jobs.api import submit_grid
    from jobs.cli.budget import training_seconds
    from jobs.cli.progress import LiveView
    from jobs.cli.tables import fetch_mnist_with_bar
    from mnist_core.data import find_mnist

    if plan.missing and plan.grid.dataset_source() == "mnist" and find_mnist() is None and not quiet:
        fetch_mnist_with_bar()
    within = options["within_s"]
    within_s = training_seconds(plan, within) if isinstance(within, float) else None
    with LiveView(plan, Console(stderr=True, quiet=quiet), within_s) as view:
        return submit_grid(plan, **{**options, "within_s": within_s}, observe=view.observe)  # type: ignore[arg-type]


def _finish(plan: "Plan", job: "Job", quiet: bool, json_: bool) -> None:
    if plan.missing and not quiet:
        # Where drawing takes all memory, the system kills the process: this is its last line then.
        echo("What has finished is stored; writing tables and figures", err=True)
    _report_end("submit", plan.store.locate(), job, json_)
    if job.state in ("cancelled", "stopped") and not job.stop:
        echo(f"{job.job_id} was {job.state}; submit the same grid again to train the rest", err=True)


def _report_end(command: str, store: str, job: "Job", json_: bool) -> None:
    """Write the report of a job that has ended; tell the user, and the page of a CI step, what came out."""
    from jobs.api import report_job
    from jobs.cli.life import print_status_json
    from jobs.cli.plan import decided_line
    from jobs.report import summary_markdown

    report = report_job(store, job.job_id)
    if json_:
        print_status_json(store, job.job_id)
    else:
        print_report(report)
    if decided := decided_line(job):
        echo(decided, err=json_)
    failures = failures_of(store, job.job_id)
    for line in failures:
        echo(line, err=True)
    lines = [*([decided] if decided else []), *failures]
    append_step_summary(f"mnistjobs {command}: {job.job_id} {job.state_text}", lines, summary_markdown(report.summary))


def remarks_on(store: str, job: str | None) -> list[str]:
    """Say after how many seeds the question of a job was answered, where it has one, and which trials failed."""
    from jobs.api import read_decision

    return [*filter(None, [read_decision(store, job)]), *failures_of(store, job)]


def failures_of(store: str, job: str | None) -> list[str]:
    """Say how many trials of a job failed and why; nothing where none did."""
    from jobs.api import read_failures
    from jobs.cli.failures import failure_summary

    return failure_summary(*read_failures(store, job))


def print_report(written: "Report") -> None:
    """Print a report's summary, and the path of its page."""
    from jobs.cli.tables import print_summary

    print_summary(written.summary)
    echo(f"Report: {written.where}")


def _tell_submitted(job: "Job", store: str, quiet: bool, json_: bool) -> None:
    """Print a detached job's id, the only line on stdout, so that scripts can read it."""
    import json

    echo(json.dumps({"job_id": job.job_id, "state": job.state.value, "store": store}) if json_ else job.job_id)
    if not quiet and not json_:
        echo("It goes on without this terminal: `mnistjobs watch`, `mnistjobs status`, `mnistjobs cancel`", err=True)


def resume(
    job: JobOption = None,
    store: StoreOption = STORE,
    address: AddressOption = None,
    workers: WorkersOption = None,
    allow_unauthenticated: UnauthenticatedOption = False,
    detach: Annotated[
        bool | None, typer.Option("--detach/--attach", help="Return at once, or stay; default: as the job was before.")
    ] = None,
    json_: JsonOption = False,
) -> None:
    """Train what is missing of a job, which is lost or has ended.

    A lost job goes on under its id; of one that has ended, a new job of the same grid is made.

    Example: mnistjobs resume --detach
    """
    from jobs.api import resume_job
    from jobs.cli.log import LogView

    try:
        with interruptible(), unread_output_dropped():
            view = LogView(err=True)
            done = resume_job(
                store,
                job,
                address=address,
                workers=workers,
                allow_unauthenticated=allow_unauthenticated or None,
                detach=detach,
                observe=view.observe,
            )
            if done.is_new:
                echo(f"The job had ended: {done.job.job_id} is a new one of the same grid", err=True)
            if not done.job.end:
                _tell_submitted(done.job, store, False, json_)
                return
            _report_end("resume", store, done.job, json_)
    except KeyboardInterrupt:
        end_now()
    sys.exit(exit_code(done.job.state))


def drive(job: Annotated[str, typer.Argument(metavar="JOB")], store: StoreOption = STORE) -> None:
    """Drive a detached job; `submit --detach` starts this.

    Example: mnistjobs drive JOB
    """
    from jobs.api import drive as drive_job
    from jobs.cli.log import LogView
    from jobs.service import TICKET_VARIABLE

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible(_DRIVER_SHUTDOWN_S), unread_output_dropped():
            view = LogView()
            ticket = os.environ.pop(TICKET_VARIABLE, "")
            ended = drive_job(store, job, view.observe, lambda: view.begin(job), ticket)
            view.end(ended)
    except KeyboardInterrupt:
        end_now()
    sys.exit(exit_code(ended.state))
