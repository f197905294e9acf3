"""The scheduler: which pack starts, waits, is tried again or given up. Pure: no clock, no I/O, no Ray.

`step` takes the state and an event, and returns the next state and the commands that the driver carries out. The rules
are the tables below. Of a pack with several trials nobody knows which trial is at fault: where it is not tried again as
it was, each of its trials is tried by itself and affects no other. A trial that diverges has not failed: that is its
result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from cluster import (
    Done,
    Failed,
    FailureKind,
    NodeJoined,
    NodeLost,
    Progress,
    Started,
    TaskFailure,
    Waiting,
    differences,
)
from jobs.run.events import (
    Cancel,
    CancelAsked,
    Command,
    Finish,
    GiveUp,
    Outcome,
    RefuseNode,
    Retry,
    SchedulerEvent,
    Start,
    Tick,
)
from jobs.run.packs import Pack

# How often a pack is tried again after a failure of each kind.
#   retries        up to the grid's `retries`, each time after a longer wait
#   node losses    up to MAX_NODE_LOSSES: losing its node is not the trial's fault, and uses up no retry
#   once alone     once, while nothing else runs: other tasks may have used the memory
#   never          it would fail the same way again
RETRY_BUDGETS: Mapping[FailureKind, Literal["retries", "node losses", "once alone", "never"]] = {
    "crashed": "retries",
    "hung": "retries",
    "storage": "retries",
    "node_lost": "node losses",
    "out_of_memory": "once alone",
    "raised": "never",
}
MAX_NODE_LOSSES = 10
MAX_WHOLE_ATTEMPTS = 2  # of several trials together, before each is tried by itself
FIRST_WAIT_S = 1.0
WAIT_GROWTH = 4
MAX_WAIT_S = 60.0
MAX_SECONDS_WITHOUT_NODES = 600.0

Step: TypeAlias = "tuple[State, tuple[Command, ...]]"


@dataclass(frozen=True)
class Rules:
    """What a job's grid and options decide."""

    retries: int
    hang_timeout_s: Callable[[Pack], float]  # the longest allowed gap between two events of a pack that runs
    fail_fast: bool = False  # whether the first trial that fails for good ends the job
    max_running: int | None = None  # packs at once; None: as many as the nodes have slots for
    required_facts: Mapping[str, str] = field(default_factory=dict)  # what each node has to report about itself
    headroom: int = 0  # packs at most, and no more than slots, to start beyond the slots: an autoscaler adds nodes


@dataclass(frozen=True)
class Running:
    """A pack in flight."""

    node: str | None = None  # None: it is queued at the executor
    last_event_s: float = 0.0


@dataclass(frozen=True)
class Delayed:
    """A pack that waits for its next attempt."""

    due_s: float
    pack: Pack


@dataclass(frozen=True)
class State:
    """Everything that the next decision depends on."""

    rules: Rules
    packs: tuple[Pack, ...]  # in the order in which to start them
    next_pack: int = 0  # the packs before it have been started
    delayed: tuple[Delayed, ...] = ()  # by due time
    alone: tuple[Pack, ...] = ()  # run last and one at a time, so that no slot idles for them
    running: Mapping[Pack, Running] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)  # of each node
    now_s: float = 0.0
    without_nodes_since_s: float = 0.0
    has_failed: bool = False
    outcome: Outcome | None = None  # None while the job runs


def begin(packs: Sequence[Pack], rules: Rules) -> State:
    """Return the state of a job before its first event; packs start as NodeJoined events bring slots."""
    return State(rules, tuple(packs))


def step(state: State, event: SchedulerEvent, now_s: float) -> Step:
    """Decide what to do about an event.

    Args:
        state: The state before the event.
        event: What happened. Events of packs that do not run any longer are ignored.
        now_s: When it happened, in seconds that the driver has spent waiting for events.

    Returns:
        The state after the event, and the commands to carry out, in order. After Finish there are none.
    """
    if state.outcome:
        return state, ()
    state, commands = _react(replace(state, now_s=now_s), event)
    if not any(isinstance(command, Finish) for command in commands):
        state, starts = _start_packs(state)
        commands += starts
    return _finish_if_done(state, commands)


def wake_up_s(state: State) -> float | None:
    """Return when, in the time of `step`, the next delayed pack is due; None where no pack is waiting for that."""
    return next((each.due_s for each in state.delayed if each.due_s > state.now_s), None)


def _react(state: State, event: SchedulerEvent) -> Step:
    match event:
        case Started(pack, node):
            return _note_sign_of_life(state, pack, node), ()
        case Progress(pack, _):
            return _note_sign_of_life(state, pack, None), ()
        case Done(pack, _):
            return _without(state, pack), ()
        case Failed(pack, failure):
            return _fail(state, pack, failure)
        case NodeJoined():
            return _admit(state, event)
        case NodeLost(node):
            return _lose(state, node)
        case Tick():
            return _tick(state)
        case CancelAsked():
            return _end(state, "cancelled")
        case Waiting():
            return state, ()


def _note_sign_of_life(state: State, pack: Pack, node: str | None) -> State:
    if (run := state.running.get(pack)) is None:
        return state
    return replace(state, running={**state.running, pack: Running(node or run.node, state.now_s)})


def _without(state: State, pack: Pack) -> State:
    return replace(state, running={other: run for other, run in state.running.items() if other != pack})


def _fail(state: State, pack: Pack, failure: TaskFailure) -> Step:
    """Try a failed pack's trials again, or give them up."""
    if pack not in state.running:
        return state, ()
    state = _without(state, pack)
    packs = next_attempts(pack, failure.kind, state.rules.retries)
    if packs:
        return _enqueue(state, packs, state.now_s + wait_s(pack, failure.kind)), (Retry(pack, failure, packs),)
    state = replace(state, has_failed=True)
    if not state.rules.fail_fast:
        return state, (GiveUp(pack, failure),)
    state, commands = _end(state, "failed")
    return state, (GiveUp(pack, failure), *commands)


def _enqueue(state: State, packs: Sequence[Pack], due_s: float) -> State:
    delayed = sorted([*state.delayed, *(Delayed(due_s, pack) for pack in packs)], key=lambda each: each.due_s)
    return replace(state, delayed=tuple(delayed))


def next_attempts(pack: Pack, kind: FailureKind, retries: int) -> tuple[Pack, ...]:
    """Return the packs in which to try the trials of a failed pack again; none where they have failed for good."""
    budget = RETRY_BUDGETS[kind]
    again = replace(pack, attempt=pack.attempt + 1)
    each = tuple(replace(again, trials={trial_id: trial}) for trial_id, trial in pack.trials.items())
    if budget == "node losses" and pack.node_losses < MAX_NODE_LOSSES:
        return (replace(again, node_losses=pack.node_losses + 1),)
    if budget == "retries" and pack.own_attempts <= retries:
        return (again,) if pack.own_attempts < min(MAX_WHOLE_ATTEMPTS, retries) else each
    if budget == "once alone" and not pack.is_alone:
        return tuple(replace(one, is_alone=True) for one in each)
    return each if len(each) > 1 else ()


def wait_s(pack: Pack, kind: FailureKind) -> float:
    """Return how many seconds to wait before a failed pack's next attempt."""
    if RETRY_BUDGETS[kind] != "retries":
        return 0.0
    grown: float = FIRST_WAIT_S * WAIT_GROWTH ** (pack.own_attempts - 1)
    return min(grown, MAX_WAIT_S)


def _admit(state: State, joined: NodeJoined) -> Step:
    """Use a node, unless it differs in what all nodes must have in common."""
    if reason := differences(state.rules.required_facts, joined):
        return state, (RefuseNode(joined.node, reason),)
    return replace(state, slots={**state.slots, joined.node: joined.slots}), ()


def _lose(state: State, node: str) -> Step:
    """Try the packs of a lost node again elsewhere."""
    slots = {other: count for other, count in state.slots.items() if other != node}
    since_s = state.without_nodes_since_s if slots else state.now_s
    state = replace(state, slots=slots, without_nodes_since_s=since_s)
    return _fail_all(state, [pack for pack, run in state.running.items() if run.node == node], _lost_failure)


def _lost_failure(state: State, pack: Pack) -> TaskFailure:
    return TaskFailure("node_lost", "its node was lost", "")


def _hung_failure(state: State, pack: Pack) -> TaskFailure:
    return TaskFailure("hung", f"no sign of life for {state.rules.hang_timeout_s(pack):.0f} s; it was killed", "")


def _fail_all(state: State, packs: Sequence[Pack], describe: Callable[[State, Pack], TaskFailure]) -> Step:
    """Cancel packs that run, and treat each of them as failed."""
    commands: tuple[Command, ...] = ()
    for pack in packs:
        if state.outcome:
            break
        state, reactions = _fail(state, pack, describe(state, pack))
        commands += (Cancel(pack), *reactions)
    return state, commands


def _tick(state: State) -> Step:
    """Find packs that hang, and a job that has been without nodes for too long."""
    if state.slots or state.now_s - state.without_nodes_since_s <= MAX_SECONDS_WITHOUT_NODES:
        return _fail_all(state, [pack for pack in state.running if _hangs(state, pack)], _hung_failure)
    waiting = (*state.packs[state.next_pack :], *(each.pack for each in state.delayed), *state.alone)
    failure = TaskFailure("node_lost", f"no node for {MAX_SECONDS_WITHOUT_NODES:.0f} s", "")
    gone = tuple(GiveUp(pack, failure) for pack in (*state.running, *waiting))
    state, commands = _end(state, "failed")
    return state, gone + commands


def _hangs(state: State, pack: Pack) -> bool:
    run = state.running[pack]
    return run.node is not None and state.now_s - run.last_event_s > state.rules.hang_timeout_s(pack)


def _start_packs(state: State) -> Step:
    """Start as many packs as there are free slots: due retries first, then new packs, then those that run alone."""
    commands: tuple[Command, ...] = ()
    while len(state.running) < _capacity(state):
        if state.delayed and state.delayed[0].due_s <= state.now_s:
            pack, state = state.delayed[0].pack, replace(state, delayed=state.delayed[1:])
            if pack.is_alone:
                state = replace(state, alone=(*state.alone, pack))
                continue
        elif state.next_pack < len(state.packs):
            pack, state = state.packs[state.next_pack], replace(state, next_pack=state.next_pack + 1)
        elif state.alone and not state.delayed and not state.running:
            pack, state = state.alone[0], replace(state, alone=state.alone[1:])
        else:
            break
        state = replace(state, running={**state.running, pack: Running(last_event_s=state.now_s)})
        commands += (Start(pack),)
    return state, commands


def _capacity(state: State) -> int:
    slots = sum(state.slots.values())
    wanted = slots + min(max(slots, 1), state.rules.headroom)
    return wanted if state.rules.max_running is None else min(wanted, state.rules.max_running)


def _end(state: State, outcome: Outcome) -> Step:
    cancels = tuple(Cancel(pack) for pack in state.running)
    return replace(state, running={}, outcome=outcome), (*cancels, Finish(outcome))


def _finish_if_done(state: State, commands: tuple[Command, ...]) -> Step:
    is_left = state.next_pack < len(state.packs) or state.delayed or state.alone or state.running
    if is_left or state.outcome:
        return state, commands
    outcome: Outcome = "failed" if state.has_failed else "finished"
    return replace(state, outcome=outcome), (*commands, Finish(outcome))
