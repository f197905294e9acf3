"""The page of a job that runs: of the seeds that are whole so far, with a script that follows the job."""

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pyarrow as pa

from jobs.report.report import Content, within_memory
from jobs.store import Job, JobEnd, JobState, Store, TrialFailure, counted_trials, read_parts


@dataclass(frozen=True)
class SoFar:
    """How far a job is that has not ended."""

    seeds: Sequence[int]  # those that all configurations have finished, or failed for good
    seed_count: int
    ended: int  # trials
    trial_count: int
    failures: Sequence[TrialFailure] = ()

    @property
    def version(self) -> str:
        """Name what the page shows: it changes when a page made now would show other results."""
        shown = [sorted(self.seeds), sorted(each.trial_id for each in self.failures)]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]


def page_now(store: Store, job: Job, requested: pa.Table, so_far: SoFar | None) -> str:
    """Make the page of a job that may not have ended.

    Args:
        store: The store.
        job: The job.
        requested: What it asked for, in the schema REQUESTED.
        so_far: Which seeds are whole: the page shows these, and its script asks where it came from whether there is
            more. None: all trials are shown.

    Returns:
        One HTML document.

    Raises:
        StoreError: The store cannot be read.
        ReportError: There is not enough memory.
    """
    from jobs.report.page import render_page

    shown, of_job = requested, job
    if so_far:
        shown, of_job = _of_seeds(requested, frozenset(so_far.seeds)), with_failures(job, so_far.failures)
    with within_memory(job):
        parts = read_parts(store, counted_trials(of_job, shown))
        content = Content(store, of_job, shown, parts)
        return render_page(replace(content.page([]), so_far=so_far))


def _of_seeds(requested: pa.Table, seeds: Collection[int]) -> pa.Table:
    return requested.filter(pa.array([seed in seeds for seed in requested["seed"].to_pylist()], pa.bool_()))


def with_failures(job: Job, failures: Sequence[TrialFailure]) -> Job:
    """Give a job that has not ended the failures it has so far, where reports look for them."""
    end = JobEnd(job_id=job.job_id, state=JobState.interrupted, finished_at=datetime.now(UTC), failures=tuple(failures))
    return replace(job, end=end)
