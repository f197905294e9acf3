"""Write the report of a job, from the store alone: flat tables, summary, figures and page."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.report.arms import read_arms
from jobs.report.configurations import Key, configuration_key
from jobs.report.contrasts import contrast_table
from jobs.report.effects import effect_table
from jobs.report.formats import contrasts_markdown, summary_markdown, table_csv
from jobs.report.summary import summarize
from jobs.report.tables import confusion_table, metrics_table, trials_table
from jobs.store import (
    Job,
    Parts,
    Store,
    check_job_exists,
    delete_files,
    job_folder,
    list_dir,
    parquet_bytes,
    read_parts,
    read_requested,
    read_weights,
    write_file,
)

# The file names that jobs.report.figures makes.
_FIGURE = re.compile(r"(learning-curve|(curves|confusion|w1)-[A-Za-z0-9_]+-\d+(-[A-Za-z0-9._=-]*)?)\.svg")


@dataclass(frozen=True)
class Report:
    """What was written, and which parts could not be read."""

    page: Path
    summary: pa.Table
    damaged: tuple[str, ...]  # names of the parts whose bytes do not match their hash


def write_report(store: Store, job: Job) -> Report:
    """Write a job's tables, figures and page into its folder.

    Args:
        store: The store.
        job: The job.

    Returns:
        The page's path, the summary, and the names of damaged parts.

    Raises:
        StoreError: The store cannot be read or written, or what the job asked for is lost.
    """
    requested = read_requested(store, job)
    parts = read_parts(store, requested["trial_id"].to_pylist())
    tables = _tables(job, requested, parts)
    files = _files(store, job, parts, tables)
    check_job_exists(store, job)
    folder = job_folder(store, job.job_id)
    for name, content in files.items():
        write_file(folder / name, content)
    if outdated := _outdated_figures(store, job, files):
        delete_files(folder, outdated)
    return Report(folder / "report.html", tables["summary"], parts.damaged)


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
    """
    return _files(store, job, parts, _tables(job, requested, parts))


def _files(store: Store, job: Job, parts: Parts, tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    trials, summary = tables["trials"], tables["summary"]
    layers = _first_layers(store, parts.table)
    # Only here: matplotlib takes a second to import, jinja2 a quarter.
    from jobs.report.figures import draw_figures
    from jobs.report.page import render_page

    figures = draw_figures(summary, trials, tables["metrics"], tables["confusion"], layers)
    return {
        **_table_files(tables),
        **{figure.file_name: figure.svg.encode() for figure in figures},
        "report.html": render_page(job, summary, figures, trials).encode(),
    }


def _outdated_figures(store: Store, job: Job, files: Collection[str]) -> list[str]:
    """Name the figures of earlier reports that are not among these files; other files are left alone."""
    found = list_dir(job_folder(store, job.job_id))
    return [name for name in found if _FIGURE.fullmatch(name) and name not in files]


def _tables(job: Job, requested: pa.Table, parts: Parts) -> dict[str, pa.Table]:
    failed = [failure.trial_id for failure in job.failures]
    arms = read_arms(parts.table, requested)
    return {
        "trials": trials_table(parts.table),
        "metrics": metrics_table(parts.table),
        "confusion": confusion_table(parts.table),
        "summary": summarize(parts.table, requested, failed),
        "contrasts": contrast_table(arms, job.dataset.test_size),
        "effects": effect_table(arms, job.dataset.test_size),
    }


def _table_files(tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    """Encode the tables, by file name; equal tables give equal bytes."""
    files = {f"{name}.parquet": parquet_bytes(table) for name, table in tables.items()}
    for name in ("summary", "contrasts"):
        files[f"{name}.csv"] = table_csv(tables[name]).encode()
    files["contrasts.md"] = contrasts_markdown(tables["contrasts"]).encode()
    files["summary.md"] = summary_markdown(tables["summary"]).encode()
    return files


def _first_layers(store: Store, parts: pa.Table) -> dict[str, NDArray[np.float32]]:
    """Read W1, (hidden, 784), by trial_id, from the first seed of each MLP configuration with undamaged weights."""
    rows = parts.select(["trial_id", "status", "settings", "weights_sha256"]).to_pylist()
    found: dict[Key, tuple[str, NDArray[np.float32]]] = {}
    for row in sorted(rows, key=lambda row: row["settings"]["seed"]):
        key = configuration_key(row["settings"])
        if row["settings"]["model"] != "mlp" or row["status"] != "finished" or key in found:
            continue
        weights = read_weights(store, row["trial_id"], row["weights_sha256"])
        if weights is not None:
            found[key] = row["trial_id"], weights["W1"]
    return dict(found.values())
