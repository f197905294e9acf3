"""When a job of another host last gave a sign of life: its process cannot be looked for from here."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from jobs.errors import StoreError
from jobs.store.checkpoints import checkpoint_path, checkpointed
from jobs.store.job_models import Job, JobState
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.parts import read_parts
from jobs.store.requested import read_requested

_SIGNS = ("job.json", "lease.json", "progress.json")  # what only the job itself writes to its folder


def with_last_sign(store: Store, job: Job) -> Job:
    """Add to a job of another host when there was last a sign of its life.

    Signs are its record, its checkpoints and its stored trials. A job of this host needs none: its process is looked
    for.

    Raises:
        StoreError: The store cannot be read.
    """
    if job.state is not JobState.running or job.record.driver.is_from_here():
        return job
    try:
        trial_ids = read_requested(store, job)["trial_id"].to_pylist()
    except StoreError:
        trial_ids = []  # what it asked for is lost, which readers of its results are told
    rows = read_parts(store, trial_ids, ["finished_at"]).table
    files = [job_folder(store, job.job_id) / name for name in _SIGNS]
    files += [checkpoint_path(store, trial_id) for trial_id in checkpointed(store) & set(trial_ids)]
    times = [datetime.fromtimestamp(changed, UTC) for changed in map(_changed_s, files) if changed]
    return replace(job, last_sign_at=max([job.submitted_at, *times, *rows["finished_at"].to_pylist()]))


def _changed_s(path: Path) -> float | None:
    """Return when a file was last modified, by the store's clock, or None where that cannot be read."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None
