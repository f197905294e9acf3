"""What every map must do; run against each place to run."""

from collections.abc import Generator
from typing import Any

from cluster.interface import Done, Event, Failed, Map, Progress, Waiting

# The tasks are defined inside functions: Ray's workers cannot import a test file.


def outcome(event: Event[Any, Any, Any] | Waiting) -> tuple[Any, ...]:
    """Reduce an event to what the contract speaks of."""
    match event:
        case Progress(item, value):
            return "progress", item, value
        case Done(item, result):
            return "done", item, result
        case Failed(item, failure):
            return "failed", item, failure.kind
        case Waiting(message):
            return "waiting", None, message


def check_results_and_progress(run_map: Map) -> None:
    def double(item: int, shared: int) -> Generator[str, None, int]:
        yield f"half of {item}"
        return item * shared

    events = list(map(outcome, run_map(double, [1, 2, 3], 2)))
    assert sorted(event for event in events if event[0] == "done") == [("done", item, 2 * item) for item in (1, 2, 3)]
    for item in (1, 2, 3):
        own = [event for event in events if event[1] == item]
        assert own == [("progress", item, f"half of {item}"), ("done", item, 2 * item)]


def check_a_raising_task_takes_no_other_along(run_map: Map) -> None:
    def fail_on_two(item: int, shared: None) -> Generator[None, None, int]:
        if item == 2:
            raise LookupError("nothing\nhere")
        return item
        yield

    events = list(run_map(fail_on_two, [1, 2, 3], None))
    assert sorted(map(outcome, events)) == [("done", 1, 1), ("done", 3, 3), ("failed", 2, "raised")]
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert failed.failure.message == "LookupError: nothing here"
    assert "fail_on_two" in failed.failure.traceback


def check_items_are_read_only_as_places_become_free(run_map: Map) -> None:
    read = []

    def items() -> Generator[int, None, None]:
        for item in range(100):
            read.append(item)
            yield item

    def same(item: int, shared: None) -> Generator[None, None, int]:
        return item
        yield

    events = run_map(same, items(), None)
    next(iter(events))
    assert len(read) <= 4  # two places, and at most one more each


def check_no_items_no_events(run_map: Map) -> None:
    def never(item: int, shared: None) -> Generator[None, None, None]:
        yield None

    assert list(run_map(never, [], None)) == []


def check_shared_arrays_stay_as_they_are(run_map: Map, array: Any) -> None:  # noqa: ANN401
    def describe(item: int, shared: Any) -> Generator[None, None, tuple[bool, float]]:  # noqa: ANN401
        return shared.flags.writeable, float(shared.sum())
        yield

    assert [outcome(event)[2] for event in run_map(describe, [0], array)] == [(False, float(array.sum()))]
