"""The page of a running job, made from the store when somebody looks at it."""

import threading
import time
from collections.abc import Mapping, Sequence
from functools import cached_property

import pyarrow as pa

from jobs.report import ARM_COLUMNS, SoFar, page_now, read_counted, replay, with_failures
from jobs.run import whole_seeds
from jobs.store import (
    REQUESTED,
    JobProgress,
    JobState,
    Store,
    counted_rows,
    format_seconds,
    read_job,
    read_parts,
    read_progress,
    read_requested,
)

_LOOK_EVERY_S = 2.0  # at the store, however many look at the page
_PAGE_EVERY_S = 10.0  # a page takes seconds to make, on a machine that trains
LAST_LOOK_S = 15.0  # a page that is open has asked for its state within this time


class LivePage:
    """The page of a job, and how far it is; for several threads."""

    def __init__(self, store: Store, job_id: str) -> None:
        """Look at no more than the job's record yet."""
        self._store = store
        self._job = read_job(store, job_id)
        self._looking, self._making = threading.Lock(), threading.Lock()
        self._looked_s = self._made_s = self._asked_s = float("-inf")
        self._so_far: SoFar | None = None
        self._shown = REQUESTED.empty_table()  # the trials that the page contains
        self._progress = JobProgress(job_id=job_id)
        self._made: tuple[str, str] = ("", "")  # version and page
        self.has_shown_end = False  # whether somebody has been given the page of the ended job

    @property
    def is_open(self) -> bool:
        """Whether somebody looks at the page."""
        return time.monotonic() - self._asked_s < LAST_LOOK_S

    def state(self) -> Mapping[str, object]:
        """Return the version that a page made now would have, and how far the job is, in words."""
        self._asked_s = time.monotonic()
        with self._looking:
            if time.monotonic() - self._looked_s >= _LOOK_EVERY_S:
                self._look()
                self._looked_s = time.monotonic()
            so_far = self._so_far
        if so_far is None:
            return {"version": "ended", "progress": ""}
        is_due = so_far.version == self._made[0] or time.monotonic() - self._made_s >= _PAGE_EVERY_S
        return {"version": so_far.version if is_due else self._made[0], "progress": self._words(so_far)}

    def page(self) -> str:
        """Return the page: of all trials where the job has ended, else of its whole seeds."""
        self.state()
        with self._making:
            so_far = self._so_far
            version = so_far.version if so_far else "ended"
            if version != self._made[0]:
                self._made = version, page_now(self._store, self._job, self._shown, so_far)
                self._made_s = time.monotonic()
            self.has_shown_end |= so_far is None
            return self._made[1]

    @cached_property
    def _requested(self) -> pa.Table:
        return read_requested(self._store, self._job)

    def _look(self) -> None:
        """Choose the trials that the page shows now: of whole seeds, or all of a job that does not run."""
        self._job = read_job(self._store, self._job.job_id)
        if self._job.state not in (JobState.queued, JobState.running):
            self._shown, self._so_far = read_counted(self._store, self._job), None
            return
        seeds = dict(zip(*(self._requested[name].to_pylist() for name in ("trial_id", "seed")), strict=True))
        rows = read_parts(self._store, list(seeds), ARM_COLUMNS).table
        stored = set(rows["trial_id"].to_pylist())
        self._progress = read_progress(self._store, self._job.job_id) or self._progress
        failures = [each for each in self._progress.failures if each.trial_id not in stored]
        ended = stored | {each.trial_id for each in failures}
        decision = replay(with_failures(self._job, failures), self._requested, rows)
        if decision is None:
            whole: Sequence[int] = whole_seeds(seeds, ended)
            is_shown = [seed in whole for seed in seeds.values()]
            self._shown = self._requested.filter(pa.array(is_shown, pa.bool_()))
        else:
            whole = range(decision.whole)
            self._shown = counted_rows(self._requested, decision) if whole else self._requested.slice(0, 0)
        trial_count = len(seeds) if decision is None else None
        shown = self._shown["trial_id"].to_pylist()
        untold = max(self._progress.failed - len(self._progress.failures), 0)
        self._so_far = SoFar(whole, len(set(seeds.values())), len(ended) + untold, trial_count, failures, shown)

    def _words(self, so_far: SoFar) -> str:
        left, how = self._progress.seconds_left, "at most" if self._job.may_end_earlier else "about"
        return f"{so_far.words}{'' if left is None else f'; {how} {format_seconds(left)} left'}."
