"""Export a job to what other tools read."""

from pathlib import Path
from typing import Literal

import pyarrow as pa

from jobs.api.reading import StorePath, read_job, read_metrics, read_summary, read_trials
from jobs.errors import InputError
from jobs.export import JobFiles, runs_of, write_mlflow, write_ro_crate, write_tensorboard
from jobs.report import format_count, report_files
from jobs.store import Job, JobState, counted_trials, find_job, open_store_of, read_parts
from mnist_core.paths import describe_missing

_COMPLETE = (JobState.finished, JobState.stopped)  # stopped: by a rule or a budget that was asked for
ExportFormat = Literal["tensorboard", "mlflow", "ro-crate"]


def export_job(store: StorePath, job: str, to: ExportFormat, place: str | Path) -> int:
    """Export a job to TensorBoard, MLflow or an RO-Crate.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        to: `tensorboard`: a run per trial, and one per configuration with the means over the seeds. `mlflow`: a run per
            trial in an experiment of the job's name; trials that it has are left out. `ro-crate`: the job's files with
            a description of how they were made.
        place: The folder to write to, new or empty for `tensorboard` and `ro-crate`; for `mlflow` a folder, which gets
            the database mlflow.db, or the URI of a tracking store.

    Returns:
        How many runs, or files, were written.

    Raises:
        InputError: There is no such job, the folder is not empty, or the job has nothing to export.
        ExtraMissingError: The library of that tool is not installed.
        StoreError: The store cannot be read, or the place cannot be written.
    """
    opened, name = open_store_of(store, job)
    found = find_job(opened, name)
    origin = str(opened.location)
    if to != "mlflow":
        _check_empty(Path(place))
    if to == "ro-crate":
        return write_ro_crate(Path(place), _files_of(origin, found.job_id))
    runs = runs_of(read_trials(origin, found.job_id), read_metrics(origin, found.job_id))
    if not runs or (to == "tensorboard" and not any(run.epochs for run in runs)):
        what = "no trial has ended yet" if not runs else "all trials failed before their first epoch"
        raise InputError(f"job {found.job_id}: {what}; allowed: a job with results")
    if to == "mlflow":
        return write_mlflow(str(place), found.name, found.job_id, runs)
    return write_tensorboard(Path(place), runs)


def _check_empty(folder: Path) -> None:
    if link := describe_missing(folder):
        raise InputError(f"{folder}: {link}; allowed: a new folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is not an empty folder; allowed: a new one, so that nothing is mixed or replaced")


def _files_of(store: str, job: str) -> JobFiles:
    """Make all files of a job's report from what the store has now, and say how they came about."""
    opened, _ = open_store_of(store, job)
    found, requested, _ = read_job(store, job, ("trial_id",))
    files = report_files(opened, found, requested, read_parts(opened, counted_trials(found, requested)))
    return JobFiles(
        found.job_id,
        found.name,
        found.grid,
        found.dataset.name,
        found.dataset.fingerprint,
        found.record.provenance,
        found.submitted_at,
        found.finished_at,
        found.state in _COMPLETE,
        _describe(found, read_summary(store, job)),
        files,
    )


def _describe(job: Job, summary: pa.Table) -> str:
    """Say in a sentence what the study is and what came out."""
    means = summary["test_accuracy_mean"].drop_null().to_pylist()
    configurations = format_count(summary.num_rows, "configuration")
    study = f"{format_count(job.needed_count, 'trial')} of {configurations} on {job.dataset.name}, {job.state.value}"
    if not means:
        return study
    low, high = f"{100 * min(means):.2f}", f"{100 * max(means):.2f}"
    return f"{study}; mean test accuracy {low if low == high else f'{low} to {high}'} %"
