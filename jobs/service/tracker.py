"""The progress of a job, collected from its events for readers of the store."""

import threading
import time
from dataclasses import asdict

from cluster import Done, NodeLost, Progress, Started, Waiting
from jobs.run import Enough, GiveUp, JobEvent, Pack, Plan, RefuseNode, Retry, TimeLeft
from jobs.store import Job, JobProgress, RunningTrial, TrialFailure

_MAX_TOLD = 100  # running trials and failures in the file that `status` and `watch` read again and again


class Tracker:
    """Take notice of every event of a job; another thread may ask what it is doing.

    Args:
        job: The job.
        plan: What this driver trains of it.
    """

    def __init__(self, job: Job, plan: Plan) -> None:
        missing = {trial_id: plan.trials[trial_id] for trial_id in plan.missing}
        self._job_id = job.job_id
        self._left = TimeLeft(missing, plan.timings.expected_seconds)
        self._lock = threading.Lock()
        self._running: dict[Pack, tuple[int, str]] = {}  # epochs of all its trials, node
        self._finished = max(len(plan.stored) - job.stored_count, 0)  # by an earlier driver, or in another job
        self._diverged = 0
        self._unneeded = len(plan.unneeded)
        self._failures: list[TrialFailure] = []
        self._note = ""
        self._waits_for = ""

    def observe(self, event: JobEvent) -> None:
        """Take notice of an event that happens now."""
        with self._lock:
            self._left.observe(event, time.monotonic())
            self._take(event)

    def wait_for(self, job_id: str) -> None:
        """Take notice of the job behind which this one waits for room; "" where it waits no longer."""
        with self._lock:
            self._waits_for = job_id

    def snapshot(self) -> JobProgress:
        """Return what the job is doing now."""
        with self._lock:
            return JobProgress(
                job_id=self._job_id,
                finished=self._finished,
                diverged=self._diverged,
                unneeded=self._unneeded,
                under_way=sum(len(pack.trials) for pack in self._running),
                failed=len(self._failures),
                running=tuple(self._running_trials()),
                failures=tuple(self._failures[:_MAX_TOLD]),
                seconds_left=self._left.seconds(time.monotonic()),
                waits_for=self._waits_for,
                note=self._note,
            )

    def _take(self, event: JobEvent) -> None:
        match event:
            case Started(pack, node):
                self._running[pack] = 0, node
                self._note = ""
            case Progress(pack, epochs):
                self._running[pack] = epochs, self._running.get(pack, (0, ""))[1]
            case Done(pack, result):
                self._running.pop(pack, None)
                self._finished += len(pack.trials)
                self._diverged += result.statuses.count("diverged")
            case GiveUp(pack, failure):
                self._running.pop(pack, None)
                fields = {"attempt": pack.attempt, **asdict(failure), "traceback": ""}  # final.json has it
                self._failures += [TrialFailure(trial_id=trial_id, **fields) for trial_id in pack.trials]
            case Retry(pack):
                self._running.pop(pack, None)
            case Enough(trial_ids):
                self._unneeded += len(trial_ids)
                self._running = {
                    pack: at for pack, at in self._running.items() if not trial_ids.issuperset(pack.trials)
                }
            case Waiting(message):
                self._note = message
            case RefuseNode(node, reason):
                self._note = f"node {node} is not used: {reason}"
            case NodeLost(node):
                self._note = f"node {node} is lost"

    def _running_trials(self) -> list[RunningTrial]:
        """List the trials of the running packs; those of one pack train in step."""
        return [
            RunningTrial(trial_id=trial_id, epoch=epochs // len(pack.trials), epochs=trial.epochs, node=node)
            for pack, (epochs, node) in self._running.items()
            for trial_id, trial in pack.trials.items()
        ][:_MAX_TOLD]
