"""When a job of another host last gave a sign of life: its process cannot be looked for from here."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from jobs.errors import StoreError
from jobs.store.checkpoints import checkpoint_key, checkpointed
from jobs.store.job_models import Job, JobState
from jobs.store.layout import Store, job_key
from jobs.store.parts import scan_parts
from jobs.store.requested import read_requested

_SIGNS = ("job.json", "lease.json", "progress.json")  # what only the job itself writes to its folder


def with_last_signs(store: Store, jobs: Sequence[Job]) -> list[Job]:
    """Add to each job of another host when there was last a sign of its life.

    Signs are its record, its checkpoints and its stored trials. A job of this host needs none: its process is looked
    for.

    Raises:
        StoreError: The store cannot be read.
    """
    if all(map(_is_known, jobs)):
        return list(jobs)
    finished: dict[str, datetime] = {}  # by trial_id
    for _, rows in scan_parts(store, ["trial_id", "finished_at"]):
        if rows is not None:
            finished.update(zip(rows["trial_id"].to_pylist(), rows["finished_at"].to_pylist(), strict=True))
    with_checkpoint = checkpointed(store)
    return [job if _is_known(job) else _with_last_sign(store, job, finished, with_checkpoint) for job in jobs]


def _is_known(job: Job) -> bool:
    return job.state is not JobState.running or job.record.driver.is_from_here()


def _with_last_sign(store: Store, job: Job, finished: Mapping[str, datetime], with_checkpoint: Collection[str]) -> Job:
    try:
        trial_ids = read_requested(store, job)["trial_id"].to_pylist()
    except StoreError:
        trial_ids = []  # what it asked for is lost, which readers of its results are told
    keys = [job_key(job.job_id, name) for name in _SIGNS]
    keys += [checkpoint_key(store, trial_id) for trial_id in trial_ids if trial_id in with_checkpoint]
    times = [datetime.fromtimestamp(changed, UTC) for changed in (_changed_s(store, key) for key in keys) if changed]
    times += [finished[trial_id] for trial_id in trial_ids if trial_id in finished]
    return replace(job, last_sign_at=max([job.submitted_at, *times]))


def _changed_s(store: Store, key: str) -> float | None:
    """Return when a file was last modified, by the store's clock, or None where that cannot be read."""
    with suppress(StoreError):
        return entry.changed_s if (entry := store.backend.head(key)) else None
    return None
