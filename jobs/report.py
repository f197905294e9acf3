"""Write what people read of a job, from the store alone: flat tables, summary, pictures and page."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.files import write_file
from jobs.jobfile import Job, job_folder
from jobs.page import render_page
from jobs.pictures import draw_pictures
from jobs.results import summarize_job
from jobs.store import Store, parquet_bytes, read_parts, read_weights
from jobs.summary import Key, configuration_key, summary_csv, summary_markdown
from jobs.tables import confusion_table, metrics_table, trials_table


@dataclass(frozen=True)
class Report:
    """What was written, and what could not be read."""

    page: Path
    summary: pa.Table
    damaged: tuple[str, ...]  # names of parts whose bytes are not what was written


def write_report(store: Store, job: Job) -> Report:
    """Write a job's tables, pictures and page into its folder; raises StoreError."""
    parts = read_parts(store, job["trial_ids"])
    trials, metrics, confusion = trials_table(parts.table), metrics_table(parts.table), confusion_table(parts.table)
    summary = summarize_job(job, parts)
    pictures = draw_pictures(summary, trials, metrics, confusion, _first_layers(store, parts.table))
    page = render_page(_page_facts(job), summary, pictures, trials)
    tables = {"trials": trials, "metrics": metrics, "confusion": confusion, "summary": summary}
    files = {f"{name}.parquet": parquet_bytes(table) for name, table in tables.items()}
    files |= {picture.file_name: picture.svg.encode() for picture in pictures}
    files["summary.csv"] = summary_csv(summary).encode()
    files["summary.md"] = summary_markdown(summary).encode()
    files["report.html"] = page.encode()
    folder = job_folder(store, job["job_id"])
    for name, content in files.items():
        write_file(folder / name, content)
    return Report(folder / "report.html", summary, parts.damaged)


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
