"""Run tasks one after the other in this process: for debugging and for tests."""

import time
from collections.abc import Generator, Iterable

from cluster.failures import Failure
from cluster.interface import Done, Event, Failed, Item, Patience, Progress, Result, Shared, Task, Value, without_end

_MOMENT_S = 0.05


def map_in_process(
    task: Task[Item, Shared, Value, Result],
    items: Iterable[Item | None],
    shared: Shared,
    patience: Patience[Item] = without_end,  # which it cannot lose: a task that hangs here hangs the map
) -> Generator[Event[Item, Value, Result], None, None]:
    """Apply the task to each item in order; answers to `cluster.interface.Map`."""
    for item in items:
        if item is None:
            time.sleep(_MOMENT_S)
        else:
            yield from _run(task, item, shared)


def _run(
    task: Task[Item, Shared, Value, Result], item: Item, shared: Shared
) -> Generator[Event[Item, Value, Result], None, None]:
    steps = task(item, shared)
    try:
        while True:
            try:
                value = next(steps)
            except StopIteration as end:
                yield Done(item, end.value)
                break
            yield Progress(item, value)
    except Exception as error:
        yield Failed(item, Failure.from_exception(error))
    finally:
        steps.close()
