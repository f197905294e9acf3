"""What the store holds of a job, against what its grid asked for."""

from dataclasses import asdict
from pathlib import Path

import pyarrow as pa

from jobs.errors import InputError, StoreError
from jobs.grid import parse_grid
from jobs.jobfile import Job
from jobs.schemas import SETTINGS
from jobs.store import Parts
from jobs.summary import summarize
from jobs.tables import trials_table
from mnist_core.datasets import DatasetInfo
from mnist_core.trial import Trial


def summarize_job(job: Job, parts: Parts) -> pa.Table:
    """Summarize what the store holds of a job against what its grid asked for (columns: jobs.summary.SUMMARY).

    Raises StoreError where the grid, read now, does not give the job's trials.
    """
    trials = _trials(job)
    settings = {identity: asdict(trial) for identity, trial in zip(job["trial_ids"], trials, strict=True)}
    for row in parts.table.select(["trial_id", "settings"]).to_pylist():
        if row["settings"] != settings[row["trial_id"]]:
            raise _unlike(job, f"its grid gives other settings for trial {row['trial_id']} than it was trained with")
    requested = pa.Table.from_pylist(
        [{"trial_id": identity, **each} for identity, each in settings.items()],
        schema=pa.schema([pa.field("trial_id", pa.string()), *SETTINGS]),
    )
    failed = [failure["trial_id"] for failure in job["failures"]]
    return summarize(trials_table(parts.table), requested, failed)


def _trials(job: Job) -> list[Trial]:
    """List the trials that a job asked for, in the order of its trial_ids."""
    try:
        info = DatasetInfo(**job["dataset"])
        trials = parse_grid(job["grid"], file="grid", folder=Path(), dataset_info=info).trials()
    except (InputError, TypeError) as error:
        raise _unlike(job, f"its grid cannot be read ({error})") from error
    if len(trials) != len(job["trial_ids"]):
        raise _unlike(job, f"its grid gives {len(trials)} trials where it had {len(job['trial_ids'])}")
    return trials


def _unlike(job: Job, fault: str) -> StoreError:
    return StoreError(f"job {job['job_id']}: {fault}; read it with the version of mnistjobs that submitted it")
