"""How a job's status is shown."""

import json
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from jobs.cli.failures import failure_lines
from jobs.cli.output import echo
from jobs.cli.plan import format_duration
from jobs.escape import escape
from jobs.service import JobStatus
from jobs.store import format_seconds

_MAX_LINES = 8  # running trials
_MAX_SILENCE_S = 30.0  # without a terminal, a line at least this often


def status_lines(status: JobStatus) -> list[str]:
    """Describe what a job is doing, failures first."""
    lines = [f"{status.job_id}: {_state(status)}"]
    lines += failure_lines(status.failure_groups)
    if status.note:
        lines.append(status.note)
    lines.append(_counted(status))
    running = [
        f"running: trial {each.trial_id}: epoch {each.epoch} of {each.epochs}{f' on {each.node}' if each.node else ''}"
        for each in status.running
    ]
    return lines + _some(running, "running trials") + _report(status) + _what_to_do(status)


def _state(status: JobStatus) -> str:
    state = status.state
    if state == "running":
        state += f" on {status.host}"
    if state == "queued" and status.waits_for:
        state += f" behind {status.waits_for}"
    if status.is_cancel_asked:
        state += ", asked to end"
    if status.last_sign_s is not None:
        state += f", last sign of life {format_seconds(status.last_sign_s)} ago"
    return state


def _counted(status: JobStatus) -> str:
    counts = [f"{count} {name}" for name, count in status.counts.items() if count or name == "finished"]
    most = "at most " if status.may_end_earlier else ""
    seconds = status.seconds_left
    left = "" if seconds is None else f"; {most or 'about '}{format_duration(seconds)} left"
    return f"{most}{status.trial_count} trials: {', '.join(counts)}{left}"


def _some(lines: list[str], noun: str) -> list[str]:
    more = len(lines) - _MAX_LINES
    return [*lines[:_MAX_LINES], f"and {more} more {noun}"] if more > 0 else lines


def _report(status: JobStatus) -> list[str]:
    """Say where the report of a job that has ended is, or who writes it."""
    if status.report:
        return [f"Report: {status.report}"]
    if status.is_reporting:
        return ["its driver writes tables and figures"]
    if status.finished_at and status.counts["finished"]:
        return [f"no report: `mnistjobs report {status.job_id}` writes it"]
    return []


def _what_to_do(status: JobStatus) -> list[str]:
    """Name the command that helps where a job has stopped before its end."""
    if status.state == "lost":
        return [f"its driver is gone: `mnistjobs resume {status.job_id}` goes on"]
    if status.state in ("interrupted", "cancelled", "stopped", "failed") and status.counts["waiting"]:
        return [f"`mnistjobs resume {status.job_id}` trains the rest, as a new job"]
    return []


class StatusView:
    """Show the status of a job again and again: in place on a terminal, else a line for each change.

    Args:
        as_json: Whether to print each change as an object on a line of its own.
    """

    def __init__(self, as_json: bool) -> None:
        console = Console(stderr=True)
        is_live = console.is_interactive and console.file.isatty() and not as_json
        self._as_json = as_json
        self._live = Live(console=console, refresh_per_second=4, transient=True) if is_live else None
        self._shown = ""
        self._shown_s = 0.0

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def show(self, status: JobStatus) -> None:
        """Show a status, in place of the one before."""
        if self._live:
            self._live.update(Text(escape("\n".join(status_lines(status)), keep="\n")))
            return
        lines = [f"{status.state} {status.waits_for}".rstrip(), _counted(status).partition(";")[0]]
        key = "; ".join(lines)
        if key != self._shown or time.monotonic() - self._shown_s >= _MAX_SILENCE_S:
            self._shown, self._shown_s = key, time.monotonic()
            echo(json.dumps(status.to_dict()) if self._as_json else f"{status.job_id}: {key}")
