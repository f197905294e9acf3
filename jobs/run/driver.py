"""The driver: carry out what the scheduler decides, with a real executor, a real clock and the store."""

import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from typing import TypeAlias

from cluster import (
    Executor,
    Failed,
    NodeJoined,
    Session,
    differences,
)
from jobs.errors import StoreError
from jobs.run.budget import Budget
from jobs.run.events import (
    Cancel,
    CancelAsked,
    Command,
    Finish,
    GiveUp,
    RefuseNode,
    Retry,
    SchedulerEvent,
    Start,
    Tick,
)
from jobs.run.pace import Pace
from jobs.run.packs import Pack, make_packs
from jobs.run.plan import Plan
from jobs.run.provenance import collect_provenance
from jobs.run.run_record import JobEvent as JobEvent
from jobs.run.run_record import PackEvent, RunRecord
from jobs.run.scheduler import Rules, State, begin, step, wake_up_s
from jobs.run.task import TaskContext, TaskResult, run_pack
from jobs.store import (
    Job,
    JobState,
    create_job,
    requested_table,
)
from mnist_core.data import Dataset

PackExecutor: TypeAlias = Executor[Pack, int, TaskResult]
Asked: TypeAlias = Callable[[], CancelAsked | None]
_TICK_S = 1.0
_ASK_S = 0.25  # between two questions whether to cancel
_HANG_EPOCHS = 20  # expected epochs without a sign of life


def run_job(
    job: Job,
    plan: Plan,
    dataset: Dataset,
    session: Session,
    observe: Callable[[JobEvent], None],
    max_running: int | None = None,
    *,
    within_s: float | None = None,
    asked: Asked = lambda: None,
) -> Job:
    """Train what the plan lacks.

    Args:
        job: The job as `open_job` returned it.
        plan: What to train.
        dataset: The dataset that the plan's grid names.
        session: Where tasks run.
        observe: Called with every event as it happens.
        max_running: How many tasks run at once; None: as many as the session's nodes have slots for.
        within_s: Seconds after which nothing may run any longer; None: as many as it takes.
        asked: Called at least every second; returns a CancelAsked where somebody has asked to cancel the job. What it
            raises ends the driver and leaves the job without an end: it may be another driver's by now.

    Returns:
        The job as it ended.

    Raises:
        StoreError: The store cannot be written any longer, or the job's folder is gone.
        ClusterLostError: The cluster stopped answering.
    """
    until_s = None if within_s is None else time.monotonic() + within_s
    context = TaskContext(dataset, plan.store.root, session.device, plan.grid.resources.checkpoint_seconds)
    slots = sum(node.slots for node in session.nodes if not differences(session.required_facts, node))
    workers = slots if max_running is None else min(slots, max_running)
    trials = {trial_id: plan.trials[trial_id] for trial_id in plan.missing}
    seconds = plan.timings.expected_seconds
    packs = make_packs(trials, seconds, workers, session.device, seed_by_seed=until_s is not None)
    is_timed = all(map(plan.timings.is_timed, trials.values()))
    budget = None if until_s is None else Budget(until_s, Pace(seconds), is_timed)
    rules = Rules(
        plan.grid.retries,
        lambda pack: hang_timeout_s(plan, pack),
        plan.grid.fail_fast,
        max_running,
        session.required_facts,
        session.headroom,
    )
    record, asking = RunRecord(job, plan, observe), _Asking(asked)
    with closing(session.executor(run_pack, context)) as executor:
        try:
            state = drive(begin(packs, rules, budget), session.nodes, executor, record.check, record.note, asked=asking)
        except BaseException:
            if not asking.has_raised:
                with suppress(StoreError):  # which may be the reason; readers see that the driver is gone
                    record.end(JobState.interrupted)
            raise
    assert state.outcome
    stop = record.stop(state.budget.pace, workers) if state.budget and state.outcome == "stopped" else None
    return record.end(JobState(state.outcome), stop)


def open_job(plan: Plan, options: Mapping[str, str | int | float | bool | None] | None = None) -> Job:
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
    asked: Asked = lambda: None,
) -> State:
    """Run packs to their end: feed the scheduler with events, and carry out its commands.

    Args:
        state: The scheduler's state at the beginning.
        nodes: The nodes at the beginning.
        executor: Where the packs run.
        check: Called with each event before the scheduler sees it; returns the event or what it really means.
        observe: Called with each event, and with each failure that the scheduler records.
        clock: Seconds from any starting point; a budget means this clock.
        asked: Called before anything starts, and then at least every second; returns a CancelAsked to end the job.

    Returns:
        The scheduler's state at the end.
    """
    waiting = _WaitingClock(clock)
    asked_s = clock()

    def feed(state: State, *events: SchedulerEvent) -> State:
        commands: list[Command] = []
        for event in events:
            state, more = step(state, event, waiting.now_s, clock())
            commands += more
        # Refusals first: before anything starts, the executor has to know where it must not.
        for command in sorted(commands, key=lambda command: not isinstance(command, RefuseNode)):
            _carry_out(command, executor, observe)
        return state

    state = feed(state, cancel) if (cancel := asked()) else feed(state, *nodes, Tick())
    while state.outcome is None:
        event = waiting.next_event(executor, wake_up_s(state))
        if event is None:
            state = feed(state, Tick())
        else:
            event = check(event)
            state = feed(state, event)  # before it is observed, so that no slot is idle meanwhile
            if not isinstance(event, Failed):  # of failures, observers hear what is done about them
                observe(event)
        # After the event: a job whose last trial has ended cannot be cancelled any longer.
        if state.outcome is None and clock() - asked_s >= _ASK_S:
            cancel, asked_s = asked(), clock()
            state = feed(state, cancel) if cancel else state
    return state


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


class _Asking:
    """Ask whether to cancel, and note where asking fails: the job may belong to another driver then."""

    def __init__(self, asked: Asked) -> None:
        self.has_raised = False
        self._asked = asked

    def __call__(self) -> CancelAsked | None:
        try:
            return self._asked()
        except Exception:
            self.has_raised = True
            raise


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
