"""Tables and progress bars for a terminal."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table
from rich.text import Text

from jobs.escape import escape
from jobs.report import (
    ACCURACY_HEADER,
    COUNT_HEADERS,
    INTACT_HEADER,
    N_HEADER,
    NEW_IMAGES_HEADER,
    format_count,
    summary_cells,
    summary_notes,
)
from jobs.store import DamagedJob, Job
from mnist_core.data import MIRRORS, fetch_mnist

_MAX_SUMMARIZED = 1000  # configurations in a summary; rich takes ten seconds to lay out 10,000
_PIPE_WIDTH = 400  # columns
_PERCENT = (ACCURACY_HEADER, INTACT_HEADER, "train", "validation")
_LEFT = ("model", "numerics", "note", "job", "state", "submitted (UTC)", "why")  # columns aligned to the left


def fetch_mnist_with_bar(mirrors: Sequence[str] | None = None) -> Path:
    """Download MNIST unless this machine has it, on a terminal with a bar for each file; return its folder."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_interactive) as bars:
        tasks: dict[str, TaskID] = {}

        def show(file: str, done: int, total: int | None) -> None:
            if file not in tasks:
                tasks[file] = bars.add_task(file, total=total)
            bars.update(tasks[file], completed=done)

        return fetch_mnist(mirrors=mirrors or MIRRORS, progress=show)


def print_table(table: Table) -> None:
    """Print a table to stdout without cutting any cell; where it must be, it is wider than the terminal."""
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH  # a pipe has no width of its own: each row gets one line
    if _min_width(table, console) > console.width:
        table.padding = 0
    console.width = max(console.width, _min_width(table, console))
    console.print(table)


def _min_width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update_width(_PIPE_WIDTH), table).minimum


def print_summary(summary: pa.Table) -> None:
    """Print a summary to stdout, and below it what its figures cover."""
    print_table(summary_table(summary))
    for note in summary_notes(summary, new_images=False):
        Console().print(Text(note), highlight=False, soft_wrap=not Console().is_terminal)


def summary_table(summary: pa.Table) -> Table:
    """Lay out a summary so that a typical one fits 80 columns: the headers have the percent signs, not the cells."""
    header, rows = summary_cells(summary)
    percent = {
        name: name.replace(" [", " (%) [") if "[" in name else f"{name} (%)" for name in header if name in _PERCENT
    }
    columns = [index for index, name in enumerate(header) if name not in (*COUNT_HEADERS, NEW_IMAGES_HEADER)]
    cells = [[_shorten(header[index], row[index]) for index in columns] for row in rows[:_MAX_SUMMARIZED]]
    table = lay_out([percent.get(header[index], header[index]) for index in columns], cells)
    if (rest := len(rows) - _MAX_SUMMARIZED) > 0:
        table.caption = f"and {format_count(rest, 'more configuration')}; --format csv prints all"
    return table


def _shorten(name: str, cell: str) -> str:
    """Leave out of a cell of the summary what its header or another column says."""
    if name == "note":
        return cell.rpartition(": ")[2]
    return cell.partition(",")[0] if name == N_HEADER else cell.replace(" %", "")


def failures_line(job: Job) -> str:
    """Describe how many trials of a job failed, why, and what to do."""
    count = f"{len(job.failures)} of {format_count(job.trial_count, 'trial')} failed"
    advice = "the report has the tracebacks; submit the same grid again to retry"
    return f"{count}, the first with {job.failures[0].message}; {advice}"


def job_table(jobs: Sequence[Job | DamagedJob]) -> Table:
    """Tabulate jobs: id, state, number of requested trials, and time of submission."""
    rows = [
        [job.job_id, job.state, "", ""]
        if isinstance(job, DamagedJob)
        else [job.job_id, job.state_text, str(job.trial_count), f"{job.submitted_at:%Y-%m-%d %H:%M:%S}"]
        for job in jobs
    ]
    return lay_out(["job", "state", "trials", "submitted (UTC)"], rows)


def lay_out(header: Sequence[str], rows: Sequence[Sequence[str]], left: Sequence[str] = _LEFT) -> Table:
    """Make a table of escaped cells, none of which will be cut.

    Args:
        header: The names of the columns.
        rows: The cells.
        left: The columns that are aligned to the left.
    """
    table = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), pad_edge=False)
    rows = [list(map(escape, row)) for row in rows]  # before measuring: escapes are longer
    for index, name in enumerate(header):
        # Numbers stay on one line; headers break where that makes the column narrower.
        lines = name.replace(" [", "\n[") if "[" in name else name.replace(" ", "\n", 1)
        longest = max(len(text) for text in [*lines.split("\n"), *(row[index] for row in rows)])
        table.add_column(
            Text(lines),
            justify="left" if name in left else "right",
            no_wrap=name != "note",
            # rich need not measure a given width, which it would do cell by cell, five times.
            width=None if name == "note" else longest,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table
