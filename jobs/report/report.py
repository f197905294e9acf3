"""Write what people read of a job, from the store alone: flat tables, summary, pictures and page."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.report.results import summarize_job
from jobs.report.summary import Key, configuration_key, summary_csv, summary_markdown
from jobs.report.tables import confusion_table, metrics_table, trials_table
from jobs.store import (
    Job,
    Parts,
    Store,
    check_job_is_there,
    delete_files,
    job_folder,
    list_dir,
    parquet_bytes,
    read_parts,
    read_weights,
    write_file,
)

# As jobs.report.pictures names them.
_PICTURE = re.compile(r"(learning-curve|(curves|confusion|w1)-[A-Za-z0-9_]+-\d+(-[A-Za-z0-9._=-]*)?)\.svg")


@dataclass(frozen=True)
class Report:
    """What was written, and what could not be read."""

    page: Path
    summary: pa.Table
    damaged: tuple[str, ...]  # names of parts whose bytes are not what was written


def write_report(store: Store, job: Job) -> Report:
    """Write a job's tables, pictures and page into its folder; raises StoreError."""
    parts = read_parts(store, job["trial_ids"])
    tables = _tables(job, parts)
    files = report_files(store, job, parts, tables)
    check_job_is_there(store, job)
    folder = job_folder(store, job["job_id"])
    for name, content in files.items():
        write_file(folder / name, content)
    if outdated := _old_pictures(store, job, files):
        delete_files(folder, outdated)
    return Report(folder / "report.html", tables["summary"], parts.damaged)


def report_files(
    store: Store, job: Job, parts: Parts, tables: Mapping[str, pa.Table] | None = None
) -> dict[str, bytes]:
    """Make every file of a job's report, by name, from what was read of its parts; raises StoreError."""
    tables = tables or _tables(job, parts)
    trials, summary = tables["trials"], tables["summary"]
    layers = _first_layers(store, parts.table)
    # matplotlib takes a second to import, jinja2 a quarter: only where something is drawn.
    from jobs.report.page import render_page
    from jobs.report.pictures import draw_pictures

    pictures = draw_pictures(summary, trials, tables["metrics"], tables["confusion"], layers)
    files = _table_files(tables)
    files |= {picture.file_name: picture.svg.encode() for picture in pictures}
    files["report.html"] = render_page(_page_facts(job), summary, pictures, trials).encode()
    return files


def _old_pictures(store: Store, job: Job, files: Collection[str]) -> list[str]:
    """Name the pictures of earlier reports that these files do not replace; what is not named as ours is not."""
    found = list_dir(job_folder(store, job["job_id"]))
    return [name for name in found if _PICTURE.fullmatch(name) and name not in files]


def _tables(job: Job, parts: Parts) -> dict[str, pa.Table]:
    """Make a job's four tables from what was read of its parts; raises StoreError."""
    return {
        "trials": trials_table(parts.table),
        "metrics": metrics_table(parts.table),
        "confusion": confusion_table(parts.table),
        "summary": summarize_job(job, parts),
    }


def _table_files(tables: Mapping[str, pa.Table]) -> dict[str, bytes]:
    """Encode the tables, by the names of their files; equal tables give equal bytes."""
    files = {f"{name}.parquet": parquet_bytes(table) for name, table in tables.items()}
    files["summary.csv"] = summary_csv(tables["summary"]).encode()
    files["summary.md"] = summary_markdown(tables["summary"]).encode()
    return files


def _page_facts(job: Job) -> dict[str, Any]:
    failures = [
        {"trial_id": failure["trial_id"], "error": failure["traceback"] or failure["message"]}
        for failure in job["failures"]
    ]
    return {**job, "grid_text": job["grid"], "failures": failures}


def _first_layers(store: Store, parts: pa.Table) -> dict[str, NDArray[np.float32]]:
    """Read W1, (hidden, 784), by trial_id: of every MLP configuration the first seed whose weights are whole."""
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
