"""What the store holds of a job, against what its grid asked for."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import InputError, StoreError
from jobs.grid import parse_grid
from jobs.report.summary import MEASURED, summarize
from jobs.store import SETTINGS, Job, Parts
from mnist_core.data import DatasetInfo
from mnist_core.trial import Trial

SUMMARY_COLUMNS = (*MEASURED, "settings")  # of the parts: what a summary is made from


def summarize_job(job: Job, parts: Parts) -> pa.Table:
    """Summarize what the store holds of a job against what its grid asked for (columns: jobs.report.summary.SUMMARY).

    Needs SUMMARY_COLUMNS of the parts. Raises StoreError where the grid, read now, does not give the job's trials.
    """
    trials = _trials(job)
    requested = pa.table(
        {
            "trial_id": pa.array(job["trial_ids"], pa.string()),
            **{
                field.name: pa.array([getattr(trial, field.name) for trial in trials], field.type) for field in SETTINGS
            },
        }
    )
    _check_settings(job, parts.table, requested)
    failed = [failure["trial_id"] for failure in job["failures"]]
    return summarize(parts.table, requested, failed)


def _check_settings(job: Job, stored: pa.Table, requested: pa.Table) -> None:
    """Raise StoreError where a trial was trained with other settings than its job's grid gives now."""
    asked = requested.take(pc.index_in(stored["trial_id"], requested["trial_id"]))
    for field in SETTINGS:
        trained = pc.struct_field(stored["settings"], field.name)
        if trained.equals(asked[field.name]):
            continue
        pairs = zip(stored["trial_id"].to_pylist(), trained.to_pylist(), asked[field.name].to_pylist(), strict=True)
        (trial_id, *_) = next(pair for pair in pairs if pair[1] != pair[2])
        raise _unlike(job, f"its grid gives other settings for trial {trial_id} than it was trained with")


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
