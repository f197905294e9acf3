"""The driver: carry out the scheduler's decisions, with a real executor, a real clock and the store."""

import time
from collections.abc import Callable, Iterable
from contextlib import closing, suppress
from typing import TypeAlias

from cluster import Executor, Failed, NodeJoined, Session, differences
from jobs.errors import LeaseLostError, StoreError
from jobs.run.budget import Budget
from jobs.run.events import (
    Cancel,
    CancelAsked,
    Command,
    Enough,
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
from jobs.run.plan import Plan, seed_rule
from jobs.run.provenance import collect_provenance
from jobs.run.run_record import JobEvent as JobEvent
from jobs.run.run_record import PackEvent as PackEvent
from jobs.run.run_record import RunRecord
from jobs.run.scheduler import Rules, State, begin, step, wake_up_s
from jobs.run.task import TaskContext, TaskResult, run_pack
from jobs.run.until import max_seeds
from jobs.store import Job, JobState, Options, Process, create_job, requested_table, this_process
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
        asked: Called at least every second; returns the request to cancel the job, once there is one; raises
            LeaseLostError where another driver has taken the job over.

    Returns:
        The job as it ended.

    Raises:
        StoreError: The store cannot be written any longer, or the job's folder is gone.
        LeaseLostError: Another driver has taken the job over; how it ends is left to that one.
        ClusterLostError: The cluster stopped answering.
    """
    until_s = None if within_s is None else time.monotonic() + within_s
    context = TaskContext(dataset, plan.store.location, session.device, plan.grid.resources.checkpoint_seconds)
    slots = sum(node.slots for node in session.nodes if not differences(session.required_facts, node))
    workers = slots if max_running is None else min(slots, max_running)
    trials = {trial_id: plan.trials[trial_id] for trial_id in plan.missing}
    seconds = plan.timings.expected_seconds
    packs = make_packs(trials, seconds, workers, session.device, max_seeds=max_seeds(plan, session.device, within_s))
    is_timed = all(map(plan.timings.is_timed, trials.values()))
    budget = None if until_s is None else Budget(until_s, Pace(seconds), is_timed)
    rules = _rules(plan, session, max_running)
    record = RunRecord(job, plan, observe)
    with closing(session.executor(run_pack, context)) as executor:
        try:
            state = drive(
                begin(packs, rules, budget),
                session.nodes,
                executor,
                record.check,
                record.note,
                asked=asked,
                enough=record.enough,
            )
            asked()
        except LeaseLostError:
            raise
        except BaseException as error:
            with suppress(StoreError):  # which may be the reason; readers see that the driver is gone
                record.end(JobState.interrupted, "" if isinstance(error, KeyboardInterrupt) else str(error))
            raise
    assert state.outcome
    if state.budget and state.outcome == "stopped":
        return record.end_early(state.budget.pace, workers)
    return record.end(JobState(state.outcome))


def _rules(plan: Plan, session: Session, max_running: int | None) -> Rules:
    """Return the rules of the scheduler for a plan."""
    return Rules(
        plan.grid.retries,
        lambda pack: hang_timeout_s(plan, pack),
        plan.grid.fail_fast,
        max_running,
        session.required_facts,
        session.headroom,
        plan.decide is not None,
    )


def end_at_once(job: Job, plan: Plan) -> Job:
    """End a job of which nothing is missing."""
    return RunRecord(job, plan, lambda event: None).end(JobState.finished)


def stop_before_start(job: Job, plan: Plan) -> Job:
    """End a job whose budget is used up before anything can start."""
    return RunRecord(job, plan, lambda event: None).end_early(Pace(plan.timings.expected_seconds), workers=1)


def open_job(
    plan: Plan,
    options: Options | None = None,
    start: Callable[[str], Process | None] = lambda job_id: this_process(),
) -> Job:
    """Enter a new job into the store, with the trials that it asks for and its origin.

    Args:
        plan: The plan, whose trials are written to the job's requested.parquet.
        options: The options of the submission, for the record.
        start: Called with the job's id before the job appears in the store, to start its driver; returns its process,
            or None where that is not known.

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
        until=seed_rule(plan.grid),
        start=start,
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
    enough: Callable[[], Enough | None] = lambda: None,
) -> State:
    """Run packs to their end: feed the scheduler with events, and carry out its commands.

    Args:
        state: The scheduler's state at the beginning.
        nodes: The nodes at the beginning.
        executor: Where the packs run.
        check: Called with each event before the scheduler sees it; returns the event, or another one in its place.
        observe: Called with each event, and with each failure that the scheduler records.
        clock: Seconds from any starting point; a budget means this clock.
        asked: Called before anything starts, and then at least every second; returns a CancelAsked to end the job.
        enough: Called after each event was checked, and again after it was handled; returns the trials that are not
            needed any longer, if any.

    Returns:
        The scheduler's state at the end.
    """
    loop = DriverLoop(state, executor, check, observe, clock, asked, enough)
    loop.begin(nodes)
    while loop.state.outcome is None:
        loop.handle(executor.next_event(loop.timeout_s()))
    return loop.state


class DriverLoop:
    """The driver between two events; the arguments are those of `drive`.

    Time is counted in seconds spent waiting for events, so that a driver that was suspended finds no task hung. Nor
    does a driver that is behind: a task can be found hung only once all events are handled, its own included.
    """

    def __init__(
        self,
        state: State,
        executor: PackExecutor,
        check: Callable[[PackEvent], PackEvent],
        observe: Callable[[JobEvent], None],
        clock: Callable[[], float],
        asked: Asked,
        enough: Callable[[], Enough | None] = lambda: None,
    ) -> None:
        self.state, self._enough = state, enough
        self._executor, self._check, self._observe = executor, check, observe
        self._clock, self._asked = clock, asked
        self._asked_s = self._waits_since_s = clock()
        self._waited_s = 0.0
        self._quiet_s = 0.0  # when there was last no event to handle, in seconds of waiting

    def begin(self, nodes: Iterable[NodeJoined]) -> None:
        """Start the first packs on these nodes, unless the job is cancelled already."""
        cancel = self._asked()
        self._feed(*([cancel] if cancel else [*nodes, Tick()]))

    def timeout_s(self) -> float:
        """Return how long to wait for the next event, which begins now; a tick comes at least every second."""
        self._waits_since_s = self._clock()
        until_s, wake_s = self._quiet_s + _TICK_S, wake_up_s(self.state)
        return max((until_s if wake_s is None else min(until_s, wake_s)) - self._waited_s, 0.0)

    def handle(self, event: PackEvent | None) -> None:
        """Take the next event, or None where there was none."""
        self._waited_s += min(self._clock() - self._waits_since_s, _TICK_S)
        if event is None:
            self._quiet_s = self._waited_s
            self._feed(Tick())
        else:
            event = self._check(event)
            self._drop_needless()  # before the event: no task is started only to be ended
            self._feed(event)  # before it is observed, so that no slot is idle meanwhile
            if not isinstance(event, Failed):  # observers learn of a failure by the command that follows it
                self._observe(event)
        self._drop_needless()  # a trial that was given up may have been the last of a seed
        # After the event: a job whose last trial has ended cannot be cancelled any longer.
        if self.state.outcome is None and self._clock() - self._asked_s >= _ASK_S:
            cancel, self._asked_s = self._asked(), self._clock()
            if cancel:
                self._feed(cancel)

    def _drop_needless(self) -> None:
        """Ask whether the results are enough, so that some trials are not needed any longer."""
        if (enough := self._enough()) and self.state.outcome is None:
            self._feed(enough)
            self._observe(enough)

    def _feed(self, *events: SchedulerEvent) -> None:
        commands: list[Command] = []
        for event in events:
            self.state, more = step(self.state, event, self._waited_s, self._clock())
            commands += more
        # Refusals first: before anything starts, the executor has to know where it must not.
        for command in sorted(commands, key=lambda command: not isinstance(command, RefuseNode)):
            _carry_out(command, self._executor, self._observe)


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
