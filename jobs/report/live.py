"""The page of a job that runs: of the seeds that are whole so far, with a script that follows the job."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pyarrow as pa

from jobs.report.content import Content
from jobs.report.report import within_memory
from jobs.store import Job, JobEnd, JobState, Store, TrialFailure, counted_trials, read_parts


@dataclass(frozen=True)
class SoFar:
    """How far a job is that has not ended."""

    seeds: Sequence[int]  # those that all configurations have been trained with, as far as they need them
    seed_count: int
    ended: int  # trials
    trial_count: int | None  # None where an answer ends the seeds
    failures: Sequence[TrialFailure] = ()
    shown: Sequence[str] = field(default=(), repr=False)  # the trials that the page contains

    @property
    def version(self) -> str:
        """Name what the page shows: it changes when a page made now would show other results."""
        shown = [sorted(self.shown), sorted(each.trial_id for each in self.failures)]
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()[:16]

    @property
    def words(self) -> str:
        """How many trials have ended, in words."""
        of_all = "" if self.trial_count is None else f" of {self.trial_count}"
        counted = self.ended if self.trial_count is None else self.trial_count
        return f"{self.ended}{of_all} trial{'' if counted == 1 else 's'} {'has' if self.ended == 1 else 'have'} ended"


def page_now(store: Store, job: Job, shown: pa.Table, so_far: SoFar | None) -> str:
    """Make the page of a job that may not have ended.

    Args:
        store: The store.
        job: The job.
        shown: The trials that it is about, in the schema REQUESTED.
        so_far: Which seeds are whole: the page says so, and its script asks where it came from whether there is more.

    Returns:
        One HTML document.

    Raises:
        StoreError: The store cannot be read.
        ReportError: There is not enough memory.
    """
    from jobs.report.page import render_page

    of_job = with_failures(job, so_far.failures) if so_far else job
    with within_memory(job):
        content = Content(store, of_job, shown, read_parts(store, counted_trials(of_job, shown)))
        content.begin_pictures()
        return render_page(replace(content.page([]), so_far=so_far))


def with_failures(job: Job, failures: Sequence[TrialFailure]) -> Job:
    """Give a job that has not ended the failures it has so far, where reports look for them."""
    end = JobEnd(job_id=job.job_id, state=JobState.interrupted, finished_at=datetime.now(UTC), failures=tuple(failures))
    return replace(job, end=end)
