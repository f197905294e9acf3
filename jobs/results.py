"""What the store holds of a job, against what its grid asked for."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from jobs.errors import StoreError
from jobs.grid import parse_grid
from jobs.schemas import SETTINGS
from jobs.store import Job, Parts
from jobs.summary import summarize
from jobs.tables import trials_table
from mnist_core.datasets import DatasetInfo


def summarize_job(job: Job, parts: Parts) -> pa.Table:
    """Summarize what the store holds of a job against what its grid asked for."""
    failed = [failure["trial_id"] for failure in job["failures"]]
    return summarize(trials_table(parts.table), _requested(job), failed)


def _requested(job: Job) -> pa.Table:
    """List the trials that a job asked for: trial_id and settings, in the grid's order."""
    grid = parse_grid(job["grid"], file="job.json", folder=Path(), dataset_info=DatasetInfo(**job["dataset"]))
    trials = grid.trials()
    if len(trials) != len(job["trial_ids"]):
        raise StoreError(
            f"job {job['job_id']}: its grid gives {len(trials)} trials where it had {len(job['trial_ids'])}; "
            "read it with the version of mnistjobs that submitted it"
        )
    rows = [{"trial_id": identity, **asdict(trial)} for identity, trial in zip(job["trial_ids"], trials, strict=True)]
    return pa.Table.from_pylist(rows, schema=pa.schema([pa.field("trial_id", pa.string()), *SETTINGS]))
