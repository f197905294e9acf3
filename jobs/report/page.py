"""The report page: one HTML file that loads nothing from elsewhere, and answers with scripts switched off."""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import jinja2
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup

from jobs.escape import escape
from jobs.report.answers import answers
from jobs.report.choice import configurations_of
from jobs.report.configurations import CONFIGURATION_COLUMNS, IDENTIFYING, varying_settings
from jobs.report.first_lines import collapse_line, first_line
from jobs.report.formats import format_count, format_setting, summary_notes
from jobs.report.heat_table import heat_table
from jobs.report.page_figures import (
    PageTrials,
    embed_learning,
    embed_matrices,
    embed_training,
    embed_weights,
    find_hardest,
)
from jobs.report.page_tables import choose_strip, configuration_rows, forests
from jobs.report.wording import configuration_name, level_words
from jobs.store import Job, describe_decision

if TYPE_CHECKING:
    from jobs.report.live import SoFar

_TRIAL_FACTS = ("host", "device", "kernels", "mnistjobs_version", "python_version", "numpy_version", "torch_version")
_MAX_DISTINCT = 20  # values of a column that are named
_MANY = 24  # configurations from which on an overview comes first
_OPEN_FINDINGS = 12  # comparisons that are listed without unfolding
_MAX_FOREST = 120  # rows of a forest
_DATASETS = {"mnist": "MNIST"}  # as people write them
_FIXED = ("epochs", "batch_size", "learning_rate")  # settings of the first line, where they do not vary


@dataclass(frozen=True)
class PageContent:
    """What a page is made from."""

    job: Job
    summary: pa.Table  # in the schema SUMMARY
    trials: pa.Table  # in the schema TRIALS
    contrasts: pa.Table  # as `contrast_table` makes it
    effects: pa.Table  # in the schema EFFECTS
    stored: PageTrials
    file_names: Sequence[str]  # of the tables and figures beside the page
    so_far: "SoFar | None" = None  # of a job that has not ended


@dataclass(frozen=True)
class FailureGroup:
    """Failed trials with one traceback."""

    message: str
    traceback: str
    trials: list[str]  # configuration and seed, or the trial's id


def render_page(content: PageContent) -> str:
    """Render the report of a job.

    Returns:
        One self-contained HTML document.
    """
    summary, trials, job = content.summary, content.trials, content.job
    varying = _varying(summary)
    configurations = configurations_of(summary, trials)
    names = {one.row["configuration_id"]: configuration_name(one.row, varying) for one in configurations}
    training = embed_training(configurations, names, content.stored)
    matrices = embed_matrices(configurations, names, content.stored)
    weights = embed_weights(configurations, names, content.stored)
    links = _by_configuration([*training.links, *matrices.links, *weights.links])
    strip = choose_strip(trials)
    differences = forests(summary, content.contrasts, content.effects)
    found = answers(summary, content.contrasts, content.effects)
    return _template().render(
        **_frame(content),
        first_line=first_line(summary, varying),
        collapse_line=collapse_line(summary, varying),
        answers=found,
        fold=sum(len(each.findings) for each in found) > _OPEN_FINDINGS,
        forests=differences,
        has_arrows=any(row.beyond_left or row.beyond_right for each in differences for row in each.rows),
        max_forest=_MAX_FOREST,
        max_unfolded=_OPEN_FINDINGS,
        rows=configuration_rows(configurations, trials, varying, links, strip),
        strip=strip,
        is_anytime=content.job.record.until is not None,
        schedules=set(summary["adaptive_lr"].to_pylist()),
        notes=[note for note in summary_notes(summary) if not note.startswith(("Interval", "Collapsed"))],
        test_images=job.dataset.test_size,
        heat=heat_table(summary, varying) if len(configurations) > _MANY else None,
        learning=embed_learning(configurations, names),
        training=training,
        matrices=matrices,
        hardest=find_hardest(configurations, names, content.stored),
        weights=weights,
        failures=_failures(job, trials, names),
        provenance=_provenance(job, trials, is_live=content.so_far is not None),
    )


def _frame(content: PageContent) -> dict[str, Any]:
    """Return what stands around the figures: style, script, the lines at the top, and what reproduces the study."""
    job, progress = content.job, _progress(content.summary)
    style, script = _asset("page.css"), _asset("page.js") + (_asset("live.js") if content.so_far else "")
    return {
        "title": job.name,
        "style": style,
        "script": script,
        "hashes": [_hash(script), _hash(style)],
        "facts": _facts(content, progress),
        "so_far": content.so_far,
        "troubles": [
            f"{progress[name]} {name}" for name in ("collapsed", "diverged", "failed", "missing") if progress[name]
        ],
        "has_collapsed": progress["collapsed"] > 0,
        "file_names": content.file_names,
        "grid": job.grid,
        "commit": job.record.provenance.get("git_commit", ""),
    }


def _by_configuration(links: Sequence[tuple[str, str, str]]) -> dict[str, list[tuple[str, str]]]:
    """Group links, which begin with the configuration that they belong to."""
    found: dict[str, list[tuple[str, str]]] = {}
    for configuration, *link in links:
        found.setdefault(configuration, []).append((link[0], link[1]))
    return found


def _varying(summary: pa.Table) -> list[str]:
    columns = summary.select(CONFIGURATION_COLUMNS).to_pydict()
    return [name for name in IDENTIFYING if len(set(columns[name])) > 1] + varying_settings(columns)


def _facts(content: PageContent, progress: dict[str, int]) -> list[str]:
    """Return the line below the title."""
    rows = content.summary.to_pylist()
    fixed = []
    for name in _FIXED:
        values = {row[name] for row in rows}
        if len(values) == 1:
            text = format_setting(values.pop())
            fixed.append(f"{text} epochs" if name == "epochs" else f"{name.replace('_', ' ')} {text}")
    for name in IDENTIFYING:
        levels = {row[name] for row in rows}
        if len(levels) == 1:
            fixed.append(level_words(name, levels.pop()))
    dataset, rule = content.job.dataset, content.job.record.until
    return [
        f"{_DATASETS.get(dataset.name, dataset.name)}, {format_count(dataset.test_size, 'test image')}",
        *fixed,
        *([format_count(len(rows), "configuration")] if rows or not content.so_far else []),
        *(
            []
            if content.so_far
            else [f"{progress['done']} of {format_count(progress['seeds_requested'], 'trial')} done"]
        ),
        f"job {content.job.state_text}",
        *([describe_decision(content.job.decision, rule)] if content.job.decision and rule else []),
    ]


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["escape_text"] = lambda value: escape(str(value))
    environment.filters["escape_lines"] = lambda value: escape(str(value), keep="\n\t")
    return environment.from_string(_asset("page.html.j2"))


def _asset(name: str) -> Markup:
    return Markup(files("jobs.report").joinpath(name).read_text(encoding="utf-8"))


def _hash(text: str) -> str:
    """Return the hash by which the page's policy allows a script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")


def _progress(summary: pa.Table) -> dict[str, int]:
    names = ("seeds_requested", "n", "collapsed", "diverged", "failed", "missing")
    counted = {name: pc.sum(summary[name]).as_py() or 0 for name in names}
    return {**counted, "done": counted["n"] + counted["diverged"]}


def _failures(job: Job, trials: pa.Table, names: dict[str, str]) -> list[FailureGroup]:
    """Group the failed trials by their traceback, the most frequent first."""
    columns = (trials[name].to_pylist() for name in ("trial_id", "configuration_id", "seed"))
    known = {trial: f"{names.get(one, one)}, seed {seed} ({trial})" for trial, one, seed in zip(*columns, strict=True)}
    groups: dict[tuple[str, str], list[str]] = {}
    for failure in job.failures:
        key = (failure.traceback or failure.message, failure.message)
        groups.setdefault(key, []).append(known.get(failure.trial_id, f"trial {failure.trial_id}"))
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return [FailureGroup(message, traceback, of_group) for (traceback, message), of_group in ordered]


def _provenance(job: Job, trials: pa.Table, *, is_live: bool) -> list[tuple[str, str]]:
    times = {"submitted_at": job.submitted_at, "finished_at": None if is_live else job.finished_at}
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
