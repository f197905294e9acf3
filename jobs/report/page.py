"""The report as one HTML page that needs nothing from elsewhere and runs nothing."""

import base64
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc

from jobs.escape import escape
from jobs.report.pictures import Picture
from jobs.report.summary import TEXT_HEADERS, summary_cells

# Heading of each section of pictures, and how the file names of its pictures begin.
_SECTIONS = {
    "Training curves": "curves-",
    "Learning curve": "learning-curve",
    "Confusion matrices": "confusion-",
    "W1": "w1-",
}
_FACTS = ("job_id", "status", "submitted_at", "finished_at")
_OF_TRIALS = ("host", "device", "mnistjobs_version", "python_version", "numpy_version", "torch_version")
_LARGEST_COUNT = 20  # distinct values of a provenance column that are named


@dataclass(frozen=True)
class Figure:
    """A picture as the page shows it."""

    anchor: str
    title: str
    caption: str
    data_url: str


@dataclass(frozen=True)
class SummaryRow:
    """A row of the summary as the page shows it."""

    cells: list[str]
    complete: bool  # every seed asked for has finished


def render_page(job: Mapping[str, Any], summary: pa.Table, pictures: Sequence[Picture], trials: pa.Table) -> str:
    """Render the report of a job as one self-contained HTML page.

    `job` may have job_id, name, status, submitted_at, finished_at, provenance and dataset (flat mappings),
    grid_text, and failures (a list of {trial_id, error}); what it has is shown. The tables have the schemas
    SUMMARY and TRIALS.
    """
    header, rows = summary_cells(summary)
    notes = summary["note"].to_pylist()
    return _template().render(
        title=str(job.get("name") or job.get("job_id") or "report"),
        status=job.get("status"),
        progress=_progress(summary),
        header=[(name, name in TEXT_HEADERS) for name in header],
        rows=[SummaryRow(cells, not note) for cells, note in zip(rows, notes, strict=True)],
        sections=_sections(pictures),
        provenance=_provenance(job, trials),
        grid_text=job.get("grid_text"),
        failures=job.get("failures", ()),
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["inert"] = lambda value: escape(str(value))
    environment.filters["inert_lines"] = lambda value: escape(str(value), keep="\n\t")
    return environment.from_string(files("jobs.report").joinpath("page.html.j2").read_text(encoding="utf-8"))


def _progress(summary: pa.Table) -> dict[str, int]:
    counted = {name: pc.sum(summary[name]).as_py() or 0 for name in ("seeds_requested", "n", "diverged", "failed")}
    return {**counted, "done": counted["n"] + counted["diverged"]}


def _sections(pictures: Iterable[Picture]) -> list[tuple[str, list[Figure]]]:
    drawn = list(pictures)
    found = (
        (heading, [_figure(picture) for picture in drawn if picture.file_name.startswith(beginning)])
        for heading, beginning in _SECTIONS.items()
    )
    return [(heading, figures) for heading, figures in found if figures]


def _figure(picture: Picture) -> Figure:
    data = base64.b64encode(picture.svg.encode()).decode("ascii")
    anchor = picture.file_name.removesuffix(".svg")
    return Figure(anchor, picture.title, picture.caption, f"data:image/svg+xml;base64,{data}")


def _provenance(job: Mapping[str, Any], trials: pa.Table) -> list[tuple[str, str]]:
    facts = [(name, str(job[name])) for name in _FACTS if job.get(name)]
    facts += [(name, str(value)) for name, value in job.get("provenance", {}).items()]
    facts += [(f"dataset {name}", str(value)) for name, value in job.get("dataset", {}).items()]
    return facts + [(f"{name} of trials", _distinct(trials[name])) for name in _OF_TRIALS if len(trials)]


def _distinct(column: pa.ChunkedArray) -> str:
    counts = sorted(Counter(column.to_pylist()).items())
    named = ", ".join(f"{value} ({count})" for value, count in counts[:_LARGEST_COUNT])
    rest = len(counts) - _LARGEST_COUNT
    return f"{named} and {rest} more" if rest > 0 else named
