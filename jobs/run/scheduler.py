"""The scheduler: which pack starts, waits, is tried again or given up. Pure: no clock, no I/O, no Ray.

`step` takes the state and an event, and returns the next state and the commands that the driver carries out. What
happens to failed packs is the table in `jobs.run.retries`. A trial that diverges has not failed: that is its result.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, takewhile
from typing import Any, TypeAlias

from cluster import Done, Failed, NodeJoined, NodeLost, Progress, Started, TaskFailure, Waiting, differences
from jobs.run.budget import Budget
from jobs.run.events import (
    Cancel,
    CancelAsked,
    Command,
    Enough,
    Finish,
    GiveUp,
    Outcome,
    RefuseNode,
    Retry,
    SchedulerEvent,
    Start,
    Tick,
)
from jobs.run.look_ahead import drop, may_look_ahead
from jobs.run.pace import Run
from jobs.run.packs import Pack
from jobs.run.retries import next_attempts, wait_s
from jobs.run.scheduler_state import Delayed, Running
from jobs.run.scheduler_state import Rules as Rules
from jobs.run.scheduler_state import State as State

MAX_SECONDS_WITHOUT_NODES = 600.0

Step: TypeAlias = "tuple[State, tuple[Command, ...]]"


def begin(packs: Sequence[Pack], rules: Rules, budget: Budget | None = None) -> State:
    """Return the state of a job before its first event; packs start as NodeJoined events bring slots."""
    return State(rules, tuple(packs), budget=budget)


def step(state: State, event: SchedulerEvent, now_s: float, clock_s: float | None = None) -> Step:
    """Decide what to do about an event.

    Args:
        state: The state before the event.
        event: What happened. Events of packs that do not run any longer are ignored.
        now_s: When it happened, in seconds that the driver has spent waiting for events. Failures are judged and
            retries delayed by this time: what a driver has not handled yet is no sign of a hang.
        clock_s: When it happened, in seconds of the clock that a budget means; None: the same.

    Returns:
        The state after the event, and the commands to carry out, in order. After Finish there are none.
    """
    if state.outcome:
        return state, ()
    state, commands = _react(replace(state, now_s=now_s, clock_s=now_s if clock_s is None else clock_s), event)
    if state.outcome is None and state.budget and state.clock_s >= state.budget.deadline_s and state.is_left:
        state, more = _end(replace(state, budget=_budget_now(state)), "stopped")
        return state, commands + more
    # A sign of life frees no slot, and under a budget there may be many packs to choose from.
    if state.outcome is None and not (state.budget and isinstance(event, Progress)):
        state, starts = _start_packs(state)
        commands += starts
    return _finish_if_done(state, commands)


def wake_up_s(state: State) -> float | None:
    """Return when, in the time of `step`, the next pack is due or the budget is used up; None where nothing is."""
    due = [each.due_s for each in state.delayed if each.due_s > state.now_s][:1]
    if state.budget:
        due.append(state.now_s + max(state.budget.deadline_s - state.clock_s, 0.0))
    return min(due, default=None)


def _react(state: State, event: SchedulerEvent) -> Step:
    match event:
        case Started(pack, node):
            return _note_sign_of_life(state, pack, node), ()
        case Progress(pack, epochs):
            return _note_sign_of_life(state, pack, None, epochs), ()
        case Done(pack, _):
            return _without(_learn(state, event), pack), ()
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
        case Enough(trial_ids):
            state, needless = drop(state, trial_ids)
            return state, tuple(map(Cancel, needless))
    assert isinstance(event, Waiting)  # for people
    return state, ()


def _note_sign_of_life(state: State, pack: Pack, node: str | None, epochs: int = 0) -> State:
    if (known := state.running.get(pack)) is None:
        return state
    run = known.run
    if state.budget:
        run = Run(state.clock_s) if node or not run else run.progressed(pack, epochs, state.clock_s)
    return replace(state, running={**state.running, pack: Running(node or known.node, state.now_s, run)})


def _learn(state: State, event: Done[Pack, Any]) -> State:
    """Take the time of a pack for that of others; one that has diverged ended early."""
    known = state.running.get(event.item)
    if not state.budget or not known or set(event.result.statuses) != {"finished"}:
        return state
    return replace(state, budget=state.budget.counting(event.item, known.run, state.clock_s))


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
    due_alone = [each for each in state.delayed if each.pack.is_alone and each.due_s <= state.now_s]
    if due_alone:
        delayed = tuple(each for each in state.delayed if each not in due_alone)
        state = replace(state, delayed=delayed, alone=(*state.alone, *(each.pack for each in due_alone)))
    while len(state.running) < _capacity(state):
        pack, state = _take_next(state)
        if pack is None:
            break
        state = replace(state, running={**state.running, pack: Running(last_event_s=state.now_s)})
        commands += (Start(pack),)
    return state, commands


def _take_next(state: State) -> tuple[Pack | None, State]:
    """Take the next pack to start out of those that wait; None where there is none."""
    budget = _budget_now(state)
    retries = [each for each in state.delayed if _is_in_time(each, budget, state)]
    if retries and retries[0].due_s <= state.now_s:
        return retries[0].pack, replace(state, delayed=tuple(each for each in state.delayed if each != retries[0]))
    may_begin = state.next_pack < len(state.packs) and may_look_ahead(state)
    if may_begin:
        chosen = _choose(state, budget) if budget else state.next_pack
        if chosen is not None:
            return state.packs[chosen], _with_next(state, chosen)
    is_blocked = state.running or retries or (may_begin and not budget)
    alone = [pack for pack in state.alone if not budget or budget.fits(pack, state.clock_s)]
    if alone and not is_blocked:
        return alone[0], replace(state, alone=tuple(pack for pack in state.alone if pack != alone[0]))
    return None, state


def _budget_now(state: State) -> Budget | None:
    """Return the budget with the progress of the packs that run."""
    return state.budget and state.budget.now({pack: known.run for pack, known in state.running.items()})


def _choose(state: State, budget: Budget) -> int | None:
    """Return the index of the next of the packs to start within a budget."""
    first = state.packs[state.next_pack].round
    of_round = list(takewhile(lambda pack: pack.round == first, islice(state.packs, state.next_pack, None)))
    has_slot = len(state.running) < sum(state.slots.values())
    chosen = budget.choose(of_round, state.clock_s, is_idle=not state.running, has_slot=has_slot)
    return None if chosen is None else state.next_pack + chosen


def _with_next(state: State, index: int) -> State:
    """Take a pack out of those that have not started; those that it has overtaken keep their order."""
    first, packs = state.next_pack, state.packs
    if index != first:
        packs = (*packs[:first], packs[index], *packs[first:index], *packs[index + 1 :])
    return replace(state, packs=packs, next_pack=first + 1)


def _is_in_time(delayed: Delayed, budget: Budget | None, state: State) -> bool:
    begins_s = state.clock_s + max(delayed.due_s - state.now_s, 0.0)
    return budget is None or budget.fits(delayed.pack, begins_s)


def _capacity(state: State) -> int:
    slots = sum(state.slots.values())
    wanted = slots + min(max(slots, 1), state.rules.headroom)
    return wanted if state.rules.max_running is None else min(wanted, state.rules.max_running)


def _end(state: State, outcome: Outcome) -> Step:
    cancels = tuple(Cancel(pack) for pack in state.running)
    return replace(state, running={}, outcome=outcome), (*cancels, Finish(outcome))


def _finish_if_done(state: State, commands: tuple[Command, ...]) -> Step:
    """End the job where nothing is left, or where nothing of what is left fits the budget any longer."""
    if state.outcome:
        return state, commands
    if state.is_left:
        if not state.budget or state.running or _may_start(state, state.budget):
            return state, commands
        state, more = _end(state, "stopped")
        return state, commands + more
    outcome: Outcome = "failed" if state.has_failed else "finished"
    return replace(state, outcome=outcome), (*commands, Finish(outcome))


def _may_start(state: State, budget: Budget) -> bool:
    """Tell whether any pack that waits still fits the budget, where nothing runs."""
    has_retries = any(_is_in_time(each, budget, state) for each in state.delayed)
    return has_retries or _take_next(state)[0] is not None
