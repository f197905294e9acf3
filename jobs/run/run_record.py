"""The end of a job's record, collected while the job runs."""

from collections.abc import Callable
from dataclasses import asdict
from typing import TypeAlias

from cluster import Done, Failed, NodeEvent, TaskEvent, TaskFailure
from jobs.run.budget import seconds_at_once, whole_seeds
from jobs.run.events import Enough, GiveUp, RefuseNode, Retry
from jobs.run.pace import Pace
from jobs.run.packs import Pack
from jobs.run.plan import Plan, seed_rule
from jobs.run.task import TaskResult
from jobs.run.until import SeedWatch
from jobs.store import (
    Decision,
    Job,
    JobState,
    Stop,
    TaskRetry,
    TrialFailure,
    check_job_exists,
    describe_decision,
    end_job,
    format_seconds,
    is_stored,
)

PackEvent: TypeAlias = TaskEvent[Pack, int, TaskResult] | NodeEvent
JobEvent: TypeAlias = PackEvent | Retry | GiveUp | RefuseNode | Enough


class RunRecord:
    """The end of a job's record, collected while the job runs."""

    def __init__(self, job: Job, plan: Plan, observe: Callable[[JobEvent], None]) -> None:
        self._job = job
        self._plan = plan
        self._observe = observe
        self._failures: list[TrialFailure] = []
        self._retries: list[TaskRetry] = []
        self._ended = set(plan.stored)
        self._watch = SeedWatch(plan, plan.decide, plan.decision) if plan.decide and plan.decision else None

    def check(self, event: PackEvent) -> PackEvent:
        """Turn a task whose part is not in the store, as seen from here, into a failed one; raise StoreError."""
        store = self._plan.store
        check_job_exists(store, self._job)
        if not isinstance(event, Done):
            return event
        if is_stored(store, event.result.part, event.item.trials):
            if self._watch:
                self._watch.note(event.item.trials)
            return event
        wrote = f"host {event.result.host} wrote its part to its own {store.locate()}"
        message = f"{wrote}; allowed: a store that all nodes of the cluster share"
        return Failed(event.item, TaskFailure("raised", message, ""))

    def note(self, event: JobEvent) -> None:
        """Record what has ended and what has failed, and pass every event on."""
        if isinstance(event, Done):
            self._ended.update(event.item.trials)
        elif isinstance(event, GiveUp):
            self._ended.update(event.pack.trials)
            if self._watch:
                self._watch.note(event.pack.trials, has_failed=True)
            failure = {"attempt": event.pack.attempt, **asdict(event.failure)}
            self._failures += [TrialFailure(trial_id=trial_id, **failure) for trial_id in event.pack.trials]
        elif isinstance(event, Retry):
            pack, failed = event.pack, event.failure
            self._retries.append(
                TaskRetry(trial_ids=tuple(pack.trials), attempt=pack.attempt, kind=failed.kind, message=failed.message)
            )
        self._observe(event)

    def enough(self) -> Enough | None:
        """Ask, after each whole seed, whether the results are enough; return the trials that are not needed then."""
        return self._watch.look() if self._watch else None

    @property
    def _decision(self) -> Decision | None:
        return self._watch.decision if self._watch else None

    def end_early(self, pace: Pace, workers: int) -> Job:
        """Write that the job's budget is used up, which seeds are whole, and how long the rest takes."""
        stop = self._stop(pace, workers)
        more = f"{format_seconds(stop.seconds_left)} more of training for all"
        most = "at most " if self._decision else ""
        reason = f"its budget was used up with {len(stop.seeds)} of {most}{stop.seed_count} seeds; about {more}"
        return self.end(JobState.stopped, reason, stop)

    def _stop(self, pace: Pace, workers: int) -> Stop:
        seeds = {trial_id: trial.seed for trial_id, trial in self._plan.trials.items()}
        decision = self._decision
        whole = tuple(range(max(decision.seeds.values()))) if decision else whole_seeds(seeds, self._ended)
        left = [self._plan.trials[trial_id] for trial_id in self._plan.missing if self._is_left(trial_id)]
        return Stop(
            reason="budget",
            seeds=whole,
            seed_count=len(set(seeds.values())),
            left_count=len(left),
            seconds_to_next_seed=seconds_at_once(pace, [each for each in left if each.seed == left[0].seed], workers),
            seconds_left=seconds_at_once(pace, left, workers),
        )

    def _is_left(self, trial_id: str) -> bool:
        is_needed = self._decision is None or self._decision.needs(
            self._plan.configurations[trial_id], self._plan.trials[trial_id].seed
        )
        return is_needed and trial_id not in self._ended

    def _decided(self) -> Stop | None:
        """Return the end of a job whose every question is answered by fewer seeds than the grid allows."""
        decision, seed_count = self._decision, len({trial.seed for trial in self._plan.trials.values()})
        if decision is None or decision.open or min(decision.seeds.values()) >= seed_count:
            return None
        return Stop(
            reason="decided",
            seeds=tuple(range(max(decision.seeds.values()))),
            seed_count=seed_count,
            left_count=0,
            seconds_to_next_seed=0.0,
            seconds_left=0.0,
        )

    def end(self, state: JobState, reason: str = "", stop: Stop | None = None) -> Job:
        """Write how the job ended; where it was decided before all seeds were trained, it has stopped."""
        if state is JobState.finished and (decided := self._decided()):
            state, stop = JobState.stopped, decided
        rule = seed_rule(self._plan.grid)
        if self._decision and rule:
            reason = "; ".join(filter(None, [reason, describe_decision(self._decision, rule)]))
        return end_job(
            self._plan.store,
            self._job,
            state,
            self._failures,
            self._retries,
            reason=reason,
            stop=stop,
            decision=self._decision,
        )
