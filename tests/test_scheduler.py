"""The scheduler decides by its tables: who starts, who waits, who is tried again and who is given up."""

import ast
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from support.tiny_study import tiny_trial

from cluster import Done, Failed, FailureKind, NodeJoined, NodeLost, Progress, Started, TaskFailure
from jobs.run import budget, events, look_ahead, pace, retries, scheduler, scheduler_state
from jobs.run.events import Cancel, CancelAsked, Command, Finish, GiveUp, RefuseNode, Retry, SchedulerEvent, Start, Tick
from jobs.run.packs import Pack
from jobs.run.retries import MAX_NODE_LOSSES, next_attempts, wait_s
from jobs.run.scheduler import Rules, State, begin, step, wake_up_s

SINGLE = Pack({"a": tiny_trial(0)})
OTHER = Pack({"b": tiny_trial(1)})
PAIR = Pack({"a": tiny_trial(0), "b": tiny_trial(1)})
CRASH = TaskFailure("crashed", "its process died", "")
HANG_S = 600.0


def rules(retries: int = 2, *, fail_fast: bool = False, max_running: int | None = None) -> Rules:
    return Rules(retries, lambda pack: HANG_S, fail_fast, max_running)


def play(state: State, *steps: tuple[float, SchedulerEvent]) -> tuple[State, list[list[Command]]]:
    """Feed events at their times; return the last state, and the commands that each event led to."""
    found = []
    for now_s, event in steps:
        state, commands = step(state, event, now_s)
        found.append(list(commands))
    return state, found


def attempts(pack: Pack, kind: FailureKind, retries: int) -> list[list[int]]:
    """Follow a pack that always fails: how many trials each next pack has, attempt by attempt."""
    steps, packs = [], [pack]
    while packs := [again for each in packs for again in next_attempts(each, kind, retries)]:
        steps.append([len(each.trials) for each in packs])
    return steps


@pytest.mark.parametrize("kind", ["crashed", "hung", "storage"])
def test_transient_failures_use_the_retries(kind: FailureKind) -> None:
    assert [len(attempts(SINGLE, kind, retries)) for retries in (0, 1, 2, 10)] == [0, 1, 2, 10]


def test_a_pack_that_raises_is_tried_once() -> None:
    assert attempts(SINGLE, "raised", 10) == []


def test_out_of_memory_is_tried_once_more_alone() -> None:
    (again,) = next_attempts(SINGLE, "out_of_memory", 0)
    assert again == replace(SINGLE, attempt=2, is_alone=True)
    assert next_attempts(again, "out_of_memory", 10) == ()
    assert next_attempts(again, "crashed", 2) == (replace(SINGLE, attempt=3, is_alone=True),)


def test_a_lost_node_uses_up_no_retry() -> None:
    pack = SINGLE
    for losses in range(1, MAX_NODE_LOSSES + 1):
        (pack,) = next_attempts(pack, "node_lost", retries=0)
        assert (pack.attempt, pack.node_losses, pack.own_attempts) == (losses + 1, losses, 1)
    assert next_attempts(pack, "node_lost", retries=10) == ()
    assert len(attempts(pack, "crashed", retries=2)) == 2


@pytest.mark.parametrize(
    ("kind", "retries", "sizes"),
    [
        ("raised", 2, [[1, 1]]),
        ("crashed", 0, [[1, 1]]),
        ("crashed", 1, [[1, 1]]),
        ("crashed", 2, [[2], [1, 1]]),
        ("hung", 4, [[2], [1, 1], [1, 1], [1, 1]]),
        ("out_of_memory", 2, [[1, 1]]),
    ],
)
def test_trials_that_failed_together_end_up_alone(kind: FailureKind, retries: int, sizes: list[list[int]]) -> None:
    assert attempts(PAIR, kind, retries) == sizes


def test_waits_grow_to_a_minute() -> None:
    waits = [wait_s(replace(SINGLE, attempt=attempt), "crashed") for attempt in (1, 2, 3, 4, 11)]
    assert waits == [1.0, 4.0, 16.0, 60.0, 60.0]
    assert wait_s(PAIR, "raised") == wait_s(SINGLE, "out_of_memory") == wait_s(SINGLE, "node_lost") == 0.0


def test_packs_start_as_slots_appear() -> None:
    packs = [Pack({f"{seed}": tiny_trial(seed)}) for seed in range(4)]
    state, commands = play(
        begin(packs, rules(max_running=3)), (0, NodeJoined("n", 2)), (1, Done(packs[0], None)), (2, NodeJoined("m", 9))
    )
    assert commands == [[Start(packs[0]), Start(packs[1])], [Start(packs[2])], [Start(packs[3])]]
    _, commands = play(state, *((3, Done(pack, None)) for pack in packs[1:]))
    assert commands == [[], [], [Finish("finished")]]


def test_a_job_without_packs_finishes() -> None:
    assert step(begin([], rules()), Tick(), 0.0)[1] == (Finish("finished"),)


def test_a_retry_waits_and_keeps_no_other_pack_from_starting() -> None:
    again = replace(SINGLE, attempt=2)
    state, commands = play(begin([SINGLE, OTHER], rules()), (0, NodeJoined("n", 1)), (10, Failed(SINGLE, CRASH)))
    assert commands == [[Start(SINGLE)], [Retry(SINGLE, CRASH, (again,)), Start(OTHER)]]
    assert wake_up_s(state) == 11.0
    state, commands = play(state, (10.5, Done(OTHER, None)), (11.0, Tick()))
    assert commands == [[], [Start(again)]]
    assert wake_up_s(state) is None


def test_a_pack_that_runs_alone_starts_last() -> None:
    failure = TaskFailure("out_of_memory", "", "")
    alone = replace(SINGLE, attempt=2, is_alone=True)
    _state, commands = play(
        begin([SINGLE, OTHER], rules()),
        (0, NodeJoined("n", 2)),
        (1, Failed(SINGLE, failure)),
        (2, Done(OTHER, None)),
        (3, Failed(alone, failure)),
    )
    assert commands[1:] == [
        [Retry(SINGLE, failure, (alone,))],
        [Start(alone)],
        [GiveUp(alone, failure), Finish("failed")],
    ]


def test_silence_is_measured_from_the_last_sign_of_life() -> None:
    state, _ = play(begin([SINGLE], rules(0)), (0, NodeJoined("n", 1)), (HANG_S + 1, Tick()))  # queued: not silent
    steps: Sequence[tuple[float, SchedulerEvent]] = [(1000, Started(SINGLE, "n")), (1500, Progress(SINGLE, 1))]
    state, commands = play(state, *steps, (1500 + HANG_S, Tick()), (1500.1 + HANG_S, Tick()))
    failure = TaskFailure("hung", "no sign of life for 600 s; it was killed", "")
    assert commands == [[], [], [], [Cancel(SINGLE), GiveUp(SINGLE, failure), Finish("failed")]]


def test_packs_of_a_lost_node_start_elsewhere_at_once() -> None:
    _state, commands = play(
        begin([SINGLE, OTHER], rules(0)),
        *((0, NodeJoined("n", 1)), (0, NodeJoined("m", 1))),
        *((1, Started(SINGLE, "n")), (1, Started(OTHER, "m"))),
        (5, NodeLost("n")),
        (6, Failed(SINGLE, CRASH)),  # reported late: it is retried already
        (7, NodeJoined("o", 1)),
    )
    again = replace(SINGLE, attempt=2, node_losses=1)
    lost = TaskFailure("node_lost", "its node was lost", "")
    assert commands[4:] == [[Cancel(SINGLE), Retry(SINGLE, lost, (again,))], [], [Start(again)]]


def test_a_job_without_nodes_ends_after_ten_minutes() -> None:
    _state, commands = play(
        begin([SINGLE, OTHER], rules()), (0, NodeJoined("n", 1)), (5, NodeLost("n")), (605, Tick()), (605.1, Tick())
    )
    failure = TaskFailure("node_lost", "no node for 600 s", "")
    assert commands[2:] == [
        [],
        [GiveUp(SINGLE, failure), GiveUp(OTHER, failure), Cancel(SINGLE), Finish("failed")],
    ]


def test_a_node_that_differs_is_refused() -> None:
    needed = replace(rules(), required_facts={"numpy": "2.4", "python": "3.11"})
    state, commands = step(begin([SINGLE], needed), NodeJoined("n", 1, {"numpy": "1.26", "python": "3.11"}), 0.0)
    assert commands == (RefuseNode("n", "numpy 1.26 instead of 2.4"),)
    assert step(state, NodeJoined("m", 1, {"numpy": "2.4", "python": "3.11"}), 0.0)[1] == (Start(SINGLE),)


def test_a_node_with_a_problem_is_refused_by_its_name() -> None:
    _, commands = step(begin([SINGLE], rules()), NodeJoined("n", 1, problem="it does not start processes"), 0.0)
    assert commands == (RefuseNode("n", "it does not start processes"),)


@pytest.mark.parametrize(
    ("slots", "headroom", "max_running", "expected"),
    [
        (0, 0, None, 0),
        (0, 32, None, 1),  # a cluster may grow from nothing
        (3, 0, None, 3),
        (3, 32, None, 6),  # it doubles
        (40, 32, None, 72),
        (3, 32, 4, 4),
        (3, 32, 2, 2),
    ],
)
def test_packs_beyond_the_slots_show_an_autoscaler_the_demand(
    slots: int, headroom: int, max_running: int | None, expected: int
) -> None:
    packs = [Pack({f"{seed}": tiny_trial(seed)}) for seed in range(100)]
    asked = replace(rules(max_running=max_running), headroom=headroom)
    joined: list[tuple[float, SchedulerEvent]] = [(0, NodeJoined("n", slots))] if slots else []
    state, _ = play(begin(packs, asked), *joined, (0, Tick()))
    assert len(state.running) == expected


def test_with_fail_fast_the_first_failure_ends_the_job() -> None:
    raised = TaskFailure("raised", "", "")
    _state, commands = play(
        begin([SINGLE, OTHER], rules(fail_fast=True)), (0, NodeJoined("n", 2)), (1, Failed(SINGLE, raised)), (2, Tick())
    )
    assert commands[1:] == [[GiveUp(SINGLE, raised), Cancel(OTHER), Finish("failed")], []]


def test_a_cancelled_job_ends_its_tasks() -> None:
    _, commands = play(begin([SINGLE, OTHER], rules()), (0, NodeJoined("n", 1)), (1, CancelAsked()), (2, Tick()))
    assert commands == [[Start(SINGLE)], [Cancel(SINGLE), Finish("cancelled")], []]


@pytest.mark.parametrize("module", [scheduler, scheduler_state, budget, look_ahead, pace, retries, events])
def test_the_core_imports_nothing_impure(module: object) -> None:
    tree = ast.parse(Path(str(module.__file__)).read_text())  # type: ignore[attr-defined]
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    own = {
        f"jobs.run.{name}" for name in ("budget", "events", "look_ahead", "pace", "packs", "retries", "scheduler_state")
    }
    assert imported <= own | {"collections.abc", "dataclasses", "itertools", "typing", "cluster", "mnist_core.trial"}
