"""Run tasks one after the other in this process: for debugging and for tests."""

from collections.abc import Iterable, Iterator

from cluster.port import Done, Event, Failed, Failure, Item, Progress, Result, Shared, Task, Value


def map_in_process(
    task: Task[Item, Shared, Value, Result], items: Iterable[Item], shared: Shared
) -> Iterator[Event[Item, Value, Result]]:
    """Apply the task to each item in order; answers to `cluster.port.Map`."""
    for item in items:
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
