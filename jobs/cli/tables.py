"""Tables and progress bars for a terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
from rich.box import SIMPLE_HEAD
from rich.console import Console, ConsoleDimensions
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
    SEED_NOISE_HEADER,
    format_count,
    summary_cells,
    summary_notes,
)
from jobs.store import DamagedJob, Job
from mnist_core.data import MIRRORS, fetch_mnist

_MAX_SUMMARIZED = 1000  # configurations in a summary; rich takes ten seconds to lay out 10,000
_MAX_NOTES = 12  # below a summary
_PIPE_WIDTH = 400  # columns, where no table is wider
_MAX_WIDTH = 1_000_000  # columns of any table
_PERCENT = (ACCURACY_HEADER, INTACT_HEADER, SEED_NOISE_HEADER, "train", "validation")
# Columns of the summary that a narrow terminal does not show, the first to go first; others tell as much,
# and notes go below the table.
_DISPENSABLE = ("gap (pp)", "std (pp)", "validation", "train", SEED_NOISE_HEADER, "note", NEW_IMAGES_HEADER)
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
    width = console.width if console.is_terminal else _PIPE_WIDTH  # a pipe has none of its own: each row gets one line
    if _min_width(table, console) > width:
        table.padding = 0
    # A dumb terminal ignores a width that is set without a height.
    console.size = ConsoleDimensions(max(width, _min_width(table, console)), console.height)
    console.print(table)


def _min_width(table: Table, console: Console) -> int:
    return Measurement.get(console, console.options.update_width(_MAX_WIDTH), table).minimum


def print_summary(summary: pa.Table) -> None:
    """Print a summary to stdout, and below it what its figures cover and which columns the terminal has no room for."""
    console = Console()
    table, notes = summary_table(summary, console.width if console.is_terminal else _PIPE_WIDTH)
    print_table(table)
    for note in (*notes, *summary_notes(summary)):
        console.print(Text(note), highlight=False, soft_wrap=not console.is_terminal)


def summary_table(summary: pa.Table, width: int = _PIPE_WIDTH) -> tuple[Table, list[str]]:
    """Lay out a summary: the headers have the percent signs, not the cells.

    Args:
        summary: A table with the schema SUMMARY.
        width: Columns of the terminal.

    Returns:
        The table, and lines that say what was left out of it to make it fit.
    """
    names, rows = summary_cells(summary)
    columns = {
        name: [_shorten(name, row[index]) for row in rows[:_MAX_SUMMARIZED]]
        for index, name in enumerate(names)
        if name not in COUNT_HEADERS
    }
    left_out = {}
    for name in _DISPENSABLE:
        if sum(_width(_terminal_header(each), cells) + 1 for each, cells in columns.items()) - 1 <= width:
            break
        if name in columns:
            left_out[name] = columns.pop(name)
    notes = _notes_below(columns, left_out.pop("note", []))
    if left_out:
        names = ["interval for new images" if "[" in name else name.removesuffix(" (pp)") for name in left_out]
        notes.append(f"Not shown, for want of room: {', '.join(names)}; --format markdown has all columns.")
    table = lay_out([_terminal_header(name) for name in columns], list(zip(*columns.values(), strict=True)))
    if (rest := len(rows) - _MAX_SUMMARIZED) > 0:
        table.caption = f"and {format_count(rest, 'more configuration')}; --format csv prints all"
    return table, notes


def _notes_below(columns: Mapping[str, Sequence[str]], notes: Sequence[str]) -> list[str]:
    """Write the notes of a summary as lines that begin with the settings of their configurations."""
    names = list(columns)
    shown = {name: "" if name in _LEFT else f"{name} " for name in names[: names.index(N_HEADER)]}
    lines = [
        f"{', '.join(f'{word}{columns[name][index]}' for name, word in shown.items())}: {note}"
        for index, note in enumerate(notes)
        if note
    ]
    more = len(lines) - _MAX_NOTES
    return [*lines[:_MAX_NOTES], f"and {format_count(more, 'more note')}"] if more > 0 else lines


def _terminal_header(name: str) -> str:
    if name == NEW_IMAGES_HEADER:
        return "new images [95 % interval]"
    if name not in _PERCENT:
        return name
    return name.replace(" [", " (%) [") if "[" in name else f"{name} (%)"


def _width(header: str, cells: Sequence[str]) -> int:
    """Return the columns that a column of a table takes; a note is wrapped at its words."""
    if header == "note":
        return max(len(word) for cell in [header, *cells] for word in [*cell.split(), ""])
    return max(len(text) for text in [*_header_lines(header), *cells])


def _header_lines(header: str) -> list[str]:
    """Break a header where that makes its column narrower."""
    return header.replace(" [", "\n[").split("\n") if "[" in header else header.split()


def _shorten(name: str, cell: str) -> str:
    """Leave out of a cell of the summary what its header or another column says."""
    if name == "note":
        return cell.rpartition(": ")[2]
    return cell.partition(",")[0] if name == N_HEADER else cell.replace(" %", "")


def job_table(jobs: Sequence[Job | DamagedJob]) -> Table:
    """Tabulate jobs: id, state, number of trials, and time of submission."""
    rows = [
        [job.job_id, job.state, "", ""]
        if isinstance(job, DamagedJob)
        else [job.job_id, job.state_text, _trial_count(job), f"{job.submitted_at:%Y-%m-%d %H:%M:%S}"]
        for job in jobs
    ]
    return lay_out(["job", "state", "trials", "submitted (UTC)"], rows)


def _trial_count(job: Job) -> str:
    """Count the trials of a job; where an answer ends its seeds, also those that the grid allows."""
    if job.may_end_earlier:
        return f"at most {job.needed_count}"
    return str(job.trial_count) if job.record.until is None else f"{job.needed_count} of at most {job.trial_count}"


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
        table.add_column(
            Text("\n".join(_header_lines(name))),
            justify="left" if name in left else "right",
            no_wrap=name != "note",  # numbers stay on one line
            # rich need not measure a given width, which it would do cell by cell, five times.
            width=None if name == "note" else _width(name, [row[index] for row in rows]),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table
