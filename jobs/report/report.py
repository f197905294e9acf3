"""Write the report of a job, from the store alone: flat tables, summary, figures and page."""

import errno
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import ReportError
from jobs.report.content import Content
from jobs.report.renderings import contrasts_markdown, summary_markdown, table_csv
from jobs.report.stopping import read_counted
from jobs.report.tables import confusion_table, metrics_table, predictions_table
from jobs.store import (
    CONFUSION,
    METRICS,
    PREDICTIONS,
    Job,
    Parts,
    Store,
    check_job_exists,
    counted_trials,
    encode_stream,
    job_key,
    parquet_bytes,
    read_parts,
)
from mnist_core.data import DIGITS

# The file names that jobs.report.figures makes, with those of other formats: outdated ones would mislead, too.
_FIGURE = re.compile(
    r"(learning-curve|differences|(curves|confusion|w1)-[A-Za-z0-9_]+-\d+(-[A-Za-z0-9._=-]*)?)\.(svg|pdf|png)"
)
FigureFormat = Literal["pdf", "png"]
_PAGE = "report.html"
_ROWS_AT_ONCE = 1 << 20  # of a flat table; longer ones are made and encoded piece by piece
# What libraries say that have no memory: to be loaded, or for a thread.
_NO_MEMORY = re.compile("Cannot allocate memory|failed to map segment|Failed to launch worker thread")


@dataclass(frozen=True)
class Report:
    """What was written, and which parts could not be read."""

    store: Store
    job_id: str
    summary: pa.Table
    damaged: tuple[str, ...]  # names of the parts whose bytes do not match their hash

    @property
    def where(self) -> str:
        """Where the page is, for a person: its path, or its URL where the store is in a bucket."""
        return self.store.locate(job_key(self.job_id, _PAGE))

    @property
    def page(self) -> Path:
        """The path of the page; raises StoreError where the store is in a bucket."""
        return self.store.root / job_key(self.job_id, _PAGE)


def write_report(store: Store, job: Job, formats: Sequence[FigureFormat] = ()) -> Report:
    """Write a job's tables, figures and page into its folder; the tables first.

    Args:
        store: The store.
        job: The job.
        formats: Those in which each figure is written besides SVG.

    Returns:
        The page's path, the summary, and the names of damaged parts.

    Raises:
        StoreError: The store cannot be read or written, or what the job asked for is lost.
        ReportError: There is not enough memory.
    """
    with within_memory(job):
        requested = read_counted(store, job)
        content = Content(store, job, requested, read_parts(store, counted_trials(job, requested)))
        written = [
            *_write_files(store, job, _table_files(content)),
            *_write_files(store, job, _drawn_files(content, formats)),
        ]
        if outdated := _outdated_figures(store, job, written):
            store.backend.delete([job_key(job.job_id, name) for name in outdated])
        return Report(store, job.job_id, content.summary, content.parts.damaged)


def find_report(store: Store, job_id: str) -> str | None:
    """Return where the page of a job is, its path or URL, or None where none has been written.

    Raises:
        StoreError: The store cannot be read.
    """
    key = job_key(job_id, _PAGE)
    return store.locate(key) if store.backend.head(key) else None


@contextmanager
def within_memory(job: Job) -> Iterator[None]:
    """Turn each way in which memory runs out into a ReportError."""
    try:
        yield
    except (MemoryError, ImportError, OSError, pa.ArrowException) as error:
        is_about_memory = isinstance(error, MemoryError) or _NO_MEMORY.search(str(error))
        if not is_about_memory and getattr(error, "errno", None) != errno.ENOMEM:
            raise
        message = "its report needs more memory than this process may use; its trials are stored"
        raise ReportError(f"job {job.job_id}: {message}") from error


def report_files(store: Store, job: Job, requested: pa.Table, parts: Parts) -> dict[str, bytes]:
    """Make every file of a job's report without writing any.

    Args:
        store: The store, from which weights are read.
        job: The job.
        requested: What the job asked for, in the schema REQUESTED.
        parts: The rows of its trials.

    Returns:
        The contents by file name; the same store gives the same bytes.

    Raises:
        StoreError: The weights cannot be read.
        ReportError: There is not enough memory.
    """
    content = Content(store, job, requested, parts)
    with within_memory(job):
        return {**_table_files(content), **_drawn_files(content)}


def _write_files(store: Store, job: Job, files: Mapping[str, bytes]) -> list[str]:
    check_job_exists(store, job)
    for name, content in files.items():
        store.backend.put(job_key(job.job_id, name), content)
    return list(files)


def _drawn_files(content: Content, formats: Sequence[FigureFormat] = ()) -> dict[str, bytes]:
    # Only here: what draws takes a second to start, and jinja2 a tenth of one.
    from jobs.report.drawing import convert
    from jobs.report.figures import draw_figures
    from jobs.report.page import render_page

    content.begin_pictures()
    sections = draw_figures(content.summary, content.trials, content, content.contrasts)
    figures = {figure.file_name: figure.svg for section in sections for figure in section.figures}
    files = {name: svg.encode() for name, svg in figures.items()}
    for kind in formats:
        files |= {f"{name.removesuffix('.svg')}.{kind}": convert(svg, kind) for name, svg in figures.items()}
    page = content.page(sorted([*_TABLE_NAMES, *files]))
    return {**files, _PAGE: render_page(page).encode()}


def _outdated_figures(store: Store, job: Job, files: Collection[str]) -> list[str]:
    """Name the figures of earlier reports that are not among these files; other files are left alone."""
    found = store.backend.names(job_key(job.job_id))
    return [name for name in found if _FIGURE.fullmatch(name) and name not in files]


_TABLE_NAMES = [
    *(
        f"{name}.parquet"
        for name in ("trials", "metrics", "confusion", "predictions", "summary", "contrasts", "effects")
    ),
    *(f"{name}.{kind}" for name in ("summary", "contrasts") for kind in ("csv", "md")),
]


def _table_files(content: Content) -> dict[str, bytes]:
    """Encode the tables, by file name; equal tables give equal bytes."""
    epochs = pc.max(content.rows["epochs_run"]).as_py() or 1
    return {
        "trials.parquet": parquet_bytes(content.trials),
        "metrics.parquet": _encode(METRICS, content.rows, metrics_table, epochs),
        "confusion.parquet": _encode(CONFUSION, content.rows, confusion_table, DIGITS**2),
        "predictions.parquet": _encode(PREDICTIONS, content.rows, predictions_table, content.job.dataset.test_size),
        "summary.parquet": parquet_bytes(content.summary),
        "contrasts.parquet": parquet_bytes(content.contrasts),
        "effects.parquet": parquet_bytes(content.effects),
        "summary.csv": table_csv(content.summary).encode(),
        "contrasts.csv": table_csv(content.contrasts).encode(),
        "contrasts.md": contrasts_markdown(content.contrasts).encode(),
        "summary.md": summary_markdown(content.summary).encode(),
    }


def _encode(
    schema: pa.Schema, rows: pa.Table, make_table: Callable[[pa.Table], pa.Table], rows_per_trial: int
) -> bytes:
    """Encode a flat table piece by piece, so that it is never in memory as a whole."""
    step = max(_ROWS_AT_ONCE // rows_per_trial, 1)
    starts = range(0, max(rows.num_rows, 1), step)
    return encode_stream(schema, (make_table(rows.slice(start, step)) for start in starts))
