"""The report page: one HTML file that loads nothing from elsewhere and runs no script."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

import jinja2
import pyarrow as pa
import pyarrow.compute as pc

from jobs.escape import escape
from jobs.report.choice import Omission
from jobs.report.figures import FigureSection, ReportFigure
from jobs.report.formats import (
    COUNT_HEADERS,
    TEXT_HEADERS,
    contrast_cells,
    effect_lines,
    format_count,
    summary_cells,
    summary_notes,
)
from jobs.store import Job

_TRIAL_FACTS = ("host", "device", "kernels", "mnistjobs_version", "python_version", "numpy_version", "torch_version")
_MAX_CONTRASTS = 20  # of each axis
_MAX_DISTINCT = 20  # values of a column that are named
_MAX_NAMED, _MAX_OPEN = 500, 8  # configurations that are not drawn: named, and named without unfolding


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure as the page contains it."""

    anchor: str
    title: str
    caption: str
    data_url: str


@dataclass(frozen=True)
class EmbeddedOmission:
    """What a section leaves out, as the page shows it."""

    reason: str
    names: str
    is_long: bool  # the names are folded


@dataclass(frozen=True)
class EmbeddedSection:
    """A section of figures as the page shows it: first what is not drawn."""

    heading: str
    omissions: list[EmbeddedOmission]
    figures: list[EmbeddedFigure]


@dataclass(frozen=True)
class SummaryRow:
    """A row of the summary as the page shows it."""

    cells: list[str]
    complete: bool  # every requested seed has finished, and none collapsed


@dataclass(frozen=True)
class ContrastRows:
    """The table of differences as the page shows it."""

    header: list[tuple[str, bool]]  # and whether the column holds words
    rows: list[list[str]]
    left_out: int


def render_page(
    job: Job,
    summary: pa.Table,
    sections: Sequence[FigureSection],
    trials: pa.Table,
    contrasts: pa.Table,
    effects: pa.Table,
) -> str:
    """Render the report of a job.

    Args:
        job: The job.
        summary: A table with the schema SUMMARY.
        sections: The figures, kind by kind, in the order in which to show them.
        trials: A table with the schema TRIALS.
        contrasts: A table as `contrast_table` makes it.
        effects: A table with the schema EFFECTS.

    Returns:
        One self-contained HTML document.
    """
    header, rows = _summary_table(summary)
    notes = summary["note"].to_pylist()
    progress = _progress(summary)
    return _template().render(
        title=job.name,
        state=job.state,
        progress=progress,
        requested=format_count(progress["seeds_requested"], "trial"),
        header=[(name, name in TEXT_HEADERS) for name in header],
        rows=[SummaryRow(cells, not note) for cells, note in zip(rows, notes, strict=True)],
        summary_notes=summary_notes(summary),
        effects=effect_lines(effects),
        contrasts=_contrasts(contrasts),
        sections=[_embed_section(section) for section in sections],
        provenance=_provenance(job, trials),
        grid=job.grid,
        failures=job.failures,
    )


def _summary_table(summary: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Return the header and the cells, without the counts that notes repeat where there are any."""
    header, rows = summary_cells(summary)
    kept = [index for index, name in enumerate(header) if "note" not in header or name not in COUNT_HEADERS]
    return [header[index] for index in kept], [[row[index] for index in kept] for row in rows]


def _contrasts(contrasts: pa.Table) -> ContrastRows:
    """Return the first contrasts of each axis, so that none hides the others."""
    header, rows = contrast_cells(contrasts)
    axes = contrasts["axis"].to_pylist()
    shown = [row for index, row in enumerate(rows) if axes[:index].count(axes[index]) < _MAX_CONTRASTS]
    return ContrastRows([(name, name in TEXT_HEADERS) for name in header], shown, len(rows) - len(shown))


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["escape_text"] = lambda value: escape(str(value))
    environment.filters["escape_lines"] = lambda value: escape(str(value), keep="\n\t")
    return environment.from_string(files("jobs.report").joinpath("page.html.j2").read_text(encoding="utf-8"))


def _progress(summary: pa.Table) -> dict[str, int]:
    names = ("seeds_requested", "n", "collapsed", "diverged", "failed", "missing")
    counted = {name: pc.sum(summary[name]).as_py() or 0 for name in names}
    return {**counted, "done": counted["n"] + counted["diverged"]}


def _embed_section(section: FigureSection) -> EmbeddedSection:
    omissions = [_embed_omission(omission) for omission in section.omissions]
    return EmbeddedSection(section.heading, omissions, [_embed(figure) for figure in section.figures])


def _embed_omission(omission: Omission) -> EmbeddedOmission:
    count = len(omission.names)
    names = "; ".join(omission.names[:_MAX_NAMED])
    rest = f"; and {count - _MAX_NAMED:,} more" if count > _MAX_NAMED else ""
    reason = f"Not drawn, because {omission.reason}"
    return EmbeddedOmission(f"{reason}: {count:,}" if count > _MAX_OPEN else reason, names + rest, count > _MAX_OPEN)


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
        *((f"{name} of trials", text) for name in _TRIAL_FACTS if (text := _distinct(trials[name]))),
    ]


def _distinct(column: pa.ChunkedArray) -> str:
    """List the values of a column, each with its count; failed trials have none."""
    counts = sorted(Counter(column.drop_null().to_pylist()).items())
    named = ", ".join(f"{value} ({count})" for value, count in counts[:_MAX_DISTINCT])
    rest = len(counts) - _MAX_DISTINCT
    return f"{named} and {rest} more" if rest > 0 else named
