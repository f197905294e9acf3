"""What a person sees in a terminal: tables, and a job while it runs."""

import time
from collections import Counter
from collections.abc import Collection, Sequence
from types import TracebackType
from typing import Self

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from cluster.interface import Done, Failed, Waiting
from cluster.interface import Progress as Advance
from jobs.escape import escape
from jobs.report import CONFIGURATION, summary_cells
from jobs.run import JobEvent, Pack, Plan, Retried, Written
from jobs.store import Job
from mnist_core.data import MIRRORS, fetch_mnist
from mnist_core.trial import Trial

_MOST_LINES = 8  # running trials shown at once
_MOST_SUMMARIZED = 1000  # configurations that a summary lists; laying out 10,000 takes rich ten seconds
_SILENCE_S = 30.0  # without a terminal, a line at least this often
_PIPE_WIDTH = 400  # columns
_NOTED = ("diverged", "failed")  # what the note says as well
_PERCENT = ("test accuracy [95 % interval]", "train", "validation")
_LEFT = ("model", "note", "job", "status", "submitted (UTC)", "state", "why")


class LiveView:
    """Show trials done of all, the epochs of the running ones and the time left; give it every event of a job."""

    def __init__(self, plan: Plan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._started = self._said = time.monotonic()
        self._done = 0
        self._done_s = 0.0  # expected seconds of what is done
        self._all_s = sum(plan.timings.expected_seconds(plan.trials[identity]) for identity in plan.new)
        self._running: dict[Pack, int] = {}  # epochs done
        self._varying = varying_settings(plan.trials.values())
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=console,
        )
        self._task = self._bar.add_task("trials", total=len(plan.new), left="")
        # A log gets plain lines, also where FORCE_COLOR makes rich take it for a terminal.
        is_shown = console.is_interactive and console.file.isatty() and plan.new
        self._live = Live(self._bar, console=console, refresh_per_second=4) if is_shown else None

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def observe(self, event: JobEvent) -> None:
        """Take in what happened and show it."""
        if isinstance(event, Waiting):
            self._say(event.message)
        elif isinstance(event, Advance):
            self._running[event.item] = event.value
        else:
            self._running.pop(event.item, None)
            if not isinstance(event, Retried):
                self._done += len(event.item.trials)
                self._done_s += self._expected_seconds(event.item)
            if not self._live or not isinstance(event, Done) or "diverged" in event.result.statuses:
                self._say(self._line(event))
        if self._live:
            self._bar.update(self._task, completed=self._done, left=self._time_left())
            self._live.update(Group(self._bar, *(Text(f"  {line}", "dim") for line in self._epochs_of())))
        elif time.monotonic() - self._said >= _SILENCE_S:
            self._say(
                f"[{self._done}/{len(self._plan.new)}] running: {', '.join(self._epochs_of())}  {self._time_left()}"
            )

    def _say(self, line: str) -> None:
        self._said = time.monotonic()
        self._console.print(Text(line), soft_wrap=True, highlight=False)

    def _line(self, event: Done[Pack, Written] | Failed[Pack] | Retried) -> str:
        left = "" if self._live else self._time_left()
        line = f"[{self._done}/{len(self._plan.new)}] {self._pack_name(event.item)}: {_outcome(event)}"
        return f"{line}  {left}" if left else line

    def _pack_name(self, pack: Pack) -> str:
        """Name a pack by its first trial."""
        more = len(pack.trials) - 1
        return self._name(pack.trials[0]) + (f" and {more} more" if more else "")

    def _name(self, trial: Trial) -> str:
        """Name a trial by what the study varies."""
        rate = "adaptive" if trial.adaptive_lr else "fixed"
        others = [f" {name} {vars(trial)[name]}" for name in self._varying if vars(trial)[name] is not None]
        return f"{trial.model} {trial.subset_size} {rate}{''.join(others)} seed {trial.seed}"

    def _epochs_of(self) -> list[str]:
        """Say how far each running pack is."""
        lines = [
            f"{self._pack_name(pack)}: epoch {epochs // len(pack.trials)} of {pack.trials[0].epochs}"
            for pack, epochs in self._running.items()
        ]
        return lines[:_MOST_LINES]

    def _expected_seconds(self, pack: Pack) -> float:
        return sum(map(self._plan.timings.expected_seconds, pack.trials))

    def _time_left(self) -> str:
        """Extrapolate from what was expected of the trials done so far."""
        under_way = sum(
            self._expected_seconds(pack) * epochs / (pack.trials[0].epochs * len(pack.trials))
            for pack, epochs in self._running.items()
        )
        done = self._done_s + under_way
        if not done or self._done == len(self._plan.new):
            return ""
        seconds = (time.monotonic() - self._started) * (self._all_s - done) / done
        return f"about {duration_text(seconds)} left"


def _outcome(event: Done[Pack, Written] | Failed[Pack] | Retried) -> str:
    """Say in a few words how a pack ended."""
    if isinstance(event, Done):
        counts = Counter(event.result.statuses)
        if len(event.item.trials) == 1:
            return event.result.statuses[0]
        return ", ".join(f"{counts[status]} {status}" for status in sorted(counts, reverse=True))
    why = escape(event.failure.message)
    if isinstance(event, Failed):
        return f"failed: {why}"
    each = "each by itself" if len(event.packs) > 1 else "alone, at the end" if event.packs[0].is_alone else ""
    return f"{event.failure.kind.replace('_', ' ')}: {why}; tried again{' ' if each else ''}{each}"


def varying_settings(trials: Collection[Trial]) -> list[str]:
    """Name the settings, besides those that every study varies, of which the trials have more than one value."""
    names = [field.name for field in CONFIGURATION[3:]]
    return [name for name in names if len({vars(trial)[name] for trial in trials} - {None}) > 1]


def duration_text(seconds: float) -> str:
    """Write a duration for a person."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def fetch_mnist_with_bar(mirrors: Sequence[str] | None = None) -> None:
    """Download MNIST unless it is there, with a bar for each file on a terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_interactive) as bars:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done)

        fetch_mnist(mirrors=mirrors or MIRRORS, progress=show)


def print_table(table: Table) -> None:
    """Print a table on stdout without cutting any cell: closer set or wider than the terminal where it must be."""
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH  # a pipe has no width of its own: let every row have its line
    if _least_width(table, console) > console.width:
        table.padding = 0
    console.width = max(console.width, _least_width(table, console))
    console.print(table)


def _least_width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update_width(_PIPE_WIDTH), table).minimum


def summary_table(summary: pa.Table) -> Table:
    """Lay out a summary so that a usual one fits 80 columns, percent in the header."""
    header, rows = summary_cells(summary)
    percent = {
        name: name.replace(" [", " (%) [") if "[" in name else f"{name} (%)" for name in header if name in _PERCENT
    }
    shown = [place for place, name in enumerate(header) if name not in _NOTED]
    # Of a note, the reasons: how many there are of how many stands under n.
    cells = [[row[place].replace(" %", "").rpartition(": ")[2] for place in shown] for row in rows[:_MOST_SUMMARIZED]]
    table = lay_out([percent.get(header[place], header[place]) for place in shown], cells)
    if len(rows) > _MOST_SUMMARIZED:
        table.caption = f"and {len(rows) - _MOST_SUMMARIZED} more configurations; --format csv gives all"
    return table


def failures_line(job: Job) -> str:
    """Say how many trials of a job failed, why, and what to do."""
    count = f"{len(job['failures'])} of {len(job['trial_ids'])} trials failed"
    how = "the report has the tracebacks; submit the same grid again to retry"
    return f"{count}, the first with {job['failures'][0]['message']}; {how}"


def job_table(jobs: Sequence[Job]) -> Table:
    """List jobs: id, status, how many trials they asked for, and when."""
    rows = [[job["job_id"], job["status"], str(len(job["trial_ids"])), job["submitted_at"][:19]] for job in jobs]
    return lay_out(["job", "status", "trials", "submitted (UTC)"], rows)


def lay_out(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Lay out a table whose cells are not cut, made inert."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    rows = [list(map(escape, row)) for row in rows]  # before it is measured: escapes are longer
    for place, name in enumerate(header):
        # Numbers stay whole; headers break where that makes the column narrow.
        lines = name.replace(" [", "\n[") if "[" in name else name.replace(" ", "\n", 1)
        longest = max(len(text) for text in [*lines.split("\n"), *(row[place] for row in rows)])
        table.add_column(
            Text(lines),
            justify="left" if name in _LEFT else "right",
            no_wrap=name != "note",
            # Told, a width need not be measured, cell by cell and five times over.
            width=None if name == "note" else longest,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table
