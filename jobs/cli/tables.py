"""What a person sees in a terminal: tables, and a job while it runs."""

from collections.abc import Collection, Sequence

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from jobs.escape import escape
from jobs.report import CONFIGURATION, summary_cells
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
