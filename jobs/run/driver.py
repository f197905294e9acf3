"""The driver: carry out what the scheduler decides, with a real executor, a real clock and the store."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import asdict
from typing import TypeAlias

from cluster import (
    Done,
    Executor,
    Failed,
    NodeEvent,
    NodeJoined,
    Session,
    TaskEvent,
    TaskFailure,
    differences,
)
from jobs.errors import StoreError
from jobs.run.events import Cancel, Command, Finish, GiveUp, Outcome, RefuseNode, Retry, SchedulerEvent, Start, Tick
from jobs.run.packs import Pack, make_packs
from jobs.run.plan import Plan
from jobs.run.provenance import collect_provenance
from jobs.run.scheduler import Rules, State, begin, step, wake_up_s
from jobs.run.task import TaskContext, TaskResult, run_pack
from jobs.store import (
    Job,
    JobState,
    TaskRetry,
    TrialFailure,
    check_job_exists,
    create_job,
    end_job,
    is_stored,
    requested_table,
)
from mnist_core.data import Dataset

PackEvent: TypeAlias = TaskEvent[Pack, int, TaskResult] | NodeEvent
JobEvent: TypeAlias = PackEvent | Retry | GiveUp | RefuseNode
PackExecutor: TypeAlias = Executor[Pack, int, TaskResult]
_TICK_S = 1.0
_HANG_EPOCHS = 20  # expected epochs without a sign of life


def run_job(
    job: Job,
    plan: Plan,
    dataset: Dataset,
    session: Session,
    observe: Callable[[JobEvent], None],
    max_running: int | None = None,
) -> Job:
    """Train what the plan lacks.

    Args:
        job: The job as `open_job` returned it.
        plan: What to train.
        dataset: The dataset that the plan's grid names.
        session: Where tasks run.
        observe: Called with every event as it happens.
        max_running: How many tasks run at once; None: as many as the session's nodes have slots for.

    Returns:
        The job as it ended.

    Raises:
        StoreError: The store cannot be written any longer, or the job's folder is gone.
        ClusterLostError: The cluster stopped answering.
    """
    context = TaskContext(dataset, plan.store.root, session.device, plan.grid.resources.checkpoint_seconds)
    slots = sum(node.slots for node in session.nodes if not differences(session.required_facts, node))
    workers = slots if max_running is None else min(slots, max_running)
    trials = {trial_id: plan.trials[trial_id] for trial_id in plan.missing}
    packs = make_packs(trials, plan.timings.expected_seconds, workers, session.device)
    rules = Rules(
        plan.grid.retries,
        lambda pack: hang_timeout_s(plan, pack),
        plan.grid.fail_fast,
        max_running,
        session.required_facts,
        session.headroom,
    )
    record = _Record(job, plan, observe)
    with closing(session.executor(run_pack, context)) as executor:
        try:
            outcome = drive(begin(packs, rules), session.nodes, executor, record.check, record.note)
        except BaseException:
            with suppress(StoreError):  # which may be the reason; readers see that the driver is gone
                record.end(JobState.interrupted)
            raise
    return record.end(JobState(outcome))


class _Record:
    """What the job's record will hold, collected while the job runs."""

    def __init__(self, job: Job, plan: Plan, observe: Callable[[JobEvent], None]) -> None:
        self._job = job
        self._plan = plan
        self._observe = observe
        self._failures: list[TrialFailure] = []
        self._retries: list[TaskRetry] = []

    def check(self, event: PackEvent) -> PackEvent:
        """Turn a task whose part is not in the store, as seen from here, into a failed one; raise StoreError."""
        store = self._plan.store
        check_job_exists(store, self._job)
        if not isinstance(event, Done) or is_stored(store, event.result.part, event.item.trials):
            return event
        wrote = f"host {event.result.host} wrote its part to its own {store.root}"
        message = f"{wrote}; allowed: a store that all nodes of the cluster share"
        return Failed(event.item, TaskFailure("raised", message, ""))

    def note(self, event: JobEvent) -> None:
        """Record failures, and pass every event on."""
        if isinstance(event, GiveUp):
            failure = {"attempt": event.pack.attempt, **asdict(event.failure)}
            self._failures += [TrialFailure(trial_id=trial_id, **failure) for trial_id in event.pack.trials]
        elif isinstance(event, Retry):
            pack, failed = event.pack, event.failure
            self._retries.append(
                TaskRetry(trial_ids=tuple(pack.trials), attempt=pack.attempt, kind=failed.kind, message=failed.message)
            )
        self._observe(event)

    def end(self, state: JobState) -> Job:
        """Write how the job ended."""
        return end_job(self._plan.store, self._job, state, self._failures, self._retries)


def open_job(plan: Plan, options: Mapping[str, str | int | bool | None] | None = None) -> Job:
    """Enter a new job into the store: what was asked for, and where it comes from.

    Args:
        plan: The plan, whose trials are written to the job's requested.parquet.
        options: The options of the submission, for the record.

    Raises:
        StoreError: The store cannot be written.
    """
    info = plan.grid.dataset_info
    return create_job(
        plan.store,
        plan.grid.name,
        requested_table(plan.trials, info.fingerprint),
        grid=plan.grid.text,
        dataset=info,
        stored_count=len(plan.stored),
        provenance=collect_provenance(),
        options=options,
        baseline=plan.grid.compare.baseline,
        margin=plan.grid.compare.margin_fraction,
    )


def hang_timeout_s(plan: Plan, pack: Pack) -> float:
    """Return the longest allowed gap, in seconds, between two signs of life of a pack; each trained epoch is one."""
    epoch_s = sum(plan.timings.expected_seconds(trial) / trial.epochs for trial in pack.trials.values())
    return max(plan.grid.resources.hung_after_seconds, _HANG_EPOCHS * epoch_s)


def drive(
    state: State,
    nodes: Iterable[NodeJoined],
    executor: PackExecutor,
    check: Callable[[PackEvent], PackEvent],
    observe: Callable[[JobEvent], None],
    clock: Callable[[], float] = time.monotonic,
) -> Outcome:
    """Run packs to their end: feed the scheduler with events, and carry out its commands.

    Args:
        state: The scheduler's state at the beginning.
        nodes: The nodes at the beginning.
        executor: Where the packs run.
        check: Called with each event before the scheduler sees it; returns the event or what it really means.
        observe: Called with each event, and with each failure that the scheduler records.
        clock: Seconds from any starting point.
    """
    waiting = _WaitingClock(clock)

    def feed(state: State, *events: SchedulerEvent) -> State:
        commands: list[Command] = []
        for event in events:
            state, more = step(state, event, waiting.now_s)
            commands += more
        # Refusals first: before anything starts, the executor has to know where it must not.
        for command in sorted(commands, key=lambda command: not isinstance(command, RefuseNode)):
            _carry_out(command, executor, observe)
        return state

    state = feed(state, *nodes, Tick())
    while state.outcome is None:
        event = waiting.next_event(executor, wake_up_s(state))
        if event is None:
            state = feed(state, Tick())
            continue
        event = check(event)
        state = feed(state, event)  # before it is observed, so that no slot is idle meanwhile
        if not isinstance(event, Failed):  # of failures, observers hear what is done about them
            observe(event)
    return state.outcome


def _carry_out(command: Command, executor: PackExecutor, observe: Callable[[JobEvent], None]) -> None:
    match command:
        case Start(pack):
            executor.submit(pack)
        case Cancel(pack):
            executor.cancel(pack)
        case RefuseNode(node):
            executor.exclude(node)
            observe(command)
        case Retry() | GiveUp():
            observe(command)
        case Finish():
            pass  # the state has the outcome


class _WaitingClock:
    """Count the seconds spent waiting for events, so that a driver that was suspended finds no task hung."""

    def __init__(self, read_s: Callable[[], float]) -> None:
        self.now_s = 0.0
        self._read_s = read_s
        self._quiet_s = 0.0  # when there was last no event to handle

    def next_event(self, executor: PackExecutor, wake_up_s: float | None) -> PackEvent | None:
        """Wait for an event, at most until `wake_up_s`; return None at least every tick, once all events are handled.

        Only then can a task be found hung: what it has reported may not have been handled before.
        """
        until_s = self._quiet_s + _TICK_S if wake_up_s is None else min(self._quiet_s + _TICK_S, wake_up_s)
        before_s = self._read_s()
        event = executor.next_event(max(until_s - self.now_s, 0.0))
        self.now_s += min(self._read_s() - before_s, _TICK_S)
        if event is None:
            self._quiet_s = self.now_s
        return event
