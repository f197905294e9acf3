"""The report page: one HTML file that loads nothing from elsewhere and runs no script."""

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import pyarrow as pa
import pyarrow.compute as pc

from jobs.escape import escape
from jobs.report.figures import ReportFigure
from jobs.report.formats import TEXT_HEADERS, format_count, summary_cells
from jobs.store import Job

# The heading of each section of figures, and how the file names of its figures begin.
SECTIONS = {
    "Training curves": "curves-",
    "Learning curve": "learning-curve",
    "Confusion matrices": "confusion-",
    "W1": "w1-",
}
_TRIAL_FACTS = ("host", "device", "mnistjobs_version", "python_version", "numpy_version", "torch_version")
_MAX_DISTINCT = 20  # values of a column that are named


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as the page contains it."""

    anchor: str
    title: str
    caption: str
    data_url: str


@dataclass(frozen=True)
class SummaryRow:
    """A row of the summary as the page shows it."""

    cells: list[str]
    complete: bool  # every requested seed has finished


def render_page(job: Job, summary: pa.Table, figures: Sequence[ReportFigure], trials: pa.Table) -> str:
    """Render the report of a job.

    Args:
        job: The job.
        summary: A table with the schema SUMMARY.
        figures: In the order in which a section shows them.
        trials: A table with the schema TRIALS.

    Returns:
        One self-contained HTML document.
    """
    header, rows = summary_cells(summary)
    notes = summary["note"].to_pylist()
    progress = _progress(summary)
    return _template().render(
        title=job.name,
        state=job.state,
        progress=progress,
        requested=format_count(progress["seeds_requested"], "trial"),
        header=[(name, name in TEXT_HEADERS) for name in header],
        rows=[SummaryRow(cells, not note) for cells, note in zip(rows, notes, strict=True)],
        sections=_sections(figures),
        provenance=_provenance(job, trials),
        grid=job.grid,
        failures=job.failures,
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["escape_text"] = lambda value: escape(str(value))
    environment.filters["escape_lines"] = lambda value: escape(str(value), keep="\n\t")
    return environment.from_string(files("jobs.report").joinpath("page.html.j2").read_text(encoding="utf-8"))


def _progress(summary: pa.Table) -> dict[str, int]:
    counted = {name: pc.sum(summary[name]).as_py() or 0 for name in ("seeds_requested", "n", "diverged", "failed")}
    return {**counted, "done": counted["n"] + counted["diverged"]}


def _sections(figures: Iterable[ReportFigure]) -> list[tuple[str, list[EmbeddedFigure]]]:
    drawn = list(figures)
    found = (
        (heading, [_embed(figure) for figure in drawn if figure.file_name.startswith(beginning)])
        for heading, beginning in SECTIONS.items()
    )
    return [(heading, embedded) for heading, embedded in found if embedded]


def _embed(figure: ReportFigure) -> EmbeddedFigure:
    data = base64.b64encode(figure.svg.encode()).decode("ascii")
    anchor = figure.file_name.removesuffix(".svg")
    return EmbeddedFigure(anchor, figure.title, figure.caption, f"data:image/svg+xml;base64,{data}")


def _provenance(job: Job, trials: pa.Table) -> list[tuple[str, str]]:
    times = {"submitted_at": job.submitted_at, "finished_at": job.finished_at}
    return [
        ("job_id", job.job_id),
        ("state", job.state_text),
        *((name, time.isoformat()) for name, time in times.items() if time),
        *job.record.provenance.items(),
        *((f"dataset {name}", str(value)) for name, value in vars(job.dataset).items()),
        *((f"{name} of trials", _distinct(trials[name])) for name in _TRIAL_FACTS if len(trials)),
    ]


def _distinct(column: pa.ChunkedArray) -> str:
    """List the values of a column, each with its count."""
    counts = sorted(Counter(column.to_pylist()).items())
    named = ", ".join(f"{value} ({count})" for value, count in counts[:_MAX_DISTINCT])
    rest = len(counts) - _MAX_DISTINCT
    return f"{named} and {rest} more" if rest > 0 else named
