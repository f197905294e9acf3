"""Run a task for several items on any session, and what every executor must do."""

import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from typing import Any

from cluster import Done, Failed, Progress, Session, Started

MAX_SECONDS = 120.0  # until a task's next event, on a slow machine


def run_all(session: Session, task: Any, items: Sequence[Any], shared: Any = None) -> Iterator[Any]:  # noqa: ANN401
    """Submit every item at once; yield the events of their tasks until all have ended."""
    with closing(session.executor(task, shared)) as executor:
        for item in items:
            executor.submit(item)
        ended, deadline = 0, time.monotonic() + MAX_SECONDS
        while ended < len(items):
            assert time.monotonic() < deadline, "no event for too long"
            if (event := executor.next_event(1.0)) is not None:
                deadline = time.monotonic() + MAX_SECONDS
                ended += isinstance(event, Done | Failed)
                yield event


def outcomes(session: Session, task: Any, items: Sequence[Any], shared: Any = None) -> list[Any]:  # noqa: ANN401
    """Return how each item's task ended, in the order in which they ended."""
    return [outcome(event) for event in run_all(session, task, items, shared) if isinstance(event, Done | Failed)]


def outcome(event: Any) -> tuple[Any, ...]:  # noqa: ANN401
    """Reduce an event to what the contract is about."""
    match event:
        case Started(item, _):
            return "started", item
        case Progress(item, value):
            return "progress", item, value
        case Done(item, result):
            return "done", item, result
        case Failed(item, failure):
            return "failed", item, failure.kind
    raise AssertionError(event)


# The tasks are defined inside functions: Ray's workers cannot import a test file.


def check_events_of_each_item(session: Session) -> None:
    def double(item: int, shared: int) -> Generator[str, None, int]:
        yield f"half of {item}"
        return item * shared

    events = list(map(outcome, run_all(session, double, [1, 2, 3], 2)))
    for item in (1, 2, 3):
        own = [event for event in events if event[1] == item]
        assert own == [("started", item), ("progress", item, f"half of {item}"), ("done", item, 2 * item)]


def check_a_raising_task_affects_no_other(session: Session) -> None:
    def fail_on_two(item: int, shared: None) -> Generator[None, None, int]:
        if item == 2:
            raise LookupError("nothing\nhere")
        return item
        yield

    events = list(run_all(session, fail_on_two, [1, 2, 3]))
    ended = sorted(outcome(event) for event in events if isinstance(event, Done | Failed))
    assert ended == [("done", 1, 1), ("done", 3, 3), ("failed", 2, "raised")]
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.failure.message == "LookupError: nothing here"
    assert "fail_on_two" in failed.failure.traceback


def check_an_executor_without_tasks_waits(session: Session) -> None:
    def never(item: int, shared: None) -> Generator[None, None, None]:
        yield None

    with closing(session.executor(never, None)) as executor:
        assert executor.next_event(0.05) is None


def check_a_cancelled_task_reports_nothing_more(session: Session) -> None:
    def endless(item: int, shared: None) -> Generator[int, None, int]:
        while item == 1:
            time.sleep(0.02)
            yield item
        return item

    with closing(session.executor(endless, None)) as executor:
        executor.submit(1)
        while not isinstance(next_event(executor), Progress):
            pass
        executor.cancel(1)
        executor.submit(2)
        while True:
            event = next_event(executor)
            assert event.item == 2
            assert not isinstance(event, Failed), event
            if isinstance(event, Done):
                break
        executor.cancel(2)  # it has ended: nothing happens
        assert executor.next_event(0.05) is None


def next_event(executor: Any) -> Any:  # noqa: ANN401
    """Wait for an event, which has to come."""
    deadline = time.monotonic() + MAX_SECONDS
    while time.monotonic() < deadline:
        if (event := executor.next_event(1.0)) is not None:
            return event
    raise AssertionError("no event for too long")


CONTRACT = (
    check_events_of_each_item,
    check_a_raising_task_affects_no_other,
    check_an_executor_without_tasks_waits,
    check_a_cancelled_task_reports_nothing_more,
)
