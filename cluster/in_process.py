"""Run tasks one after the other in this process: for debugging and for tests."""

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Generic

from cluster.failures import TaskFailure
from cluster.interface import (
    Device,
    Done,
    Failed,
    Item,
    NodeJoined,
    Progress,
    Result,
    Shared,
    Started,
    Task,
    TaskEvent,
    Value,
)

_NODE = NodeJoined("this process", slots=1)


@dataclass(frozen=True)
class InProcessSession:
    """Use this process as the only node, with one task at a time."""

    device: Device = "cpu"
    nodes: tuple[NodeJoined, ...] = (_NODE,)
    required_facts: Mapping[str, str] = field(default_factory=dict)
    headroom: int = 0

    def executor(
        self, task: Task[Item, Shared, Value, Result], shared: Shared
    ) -> "InProcessExecutor[Item, Value, Result]":
        """Make an executor of a task."""
        return InProcessExecutor(task, shared)


class InProcessExecutor(Generic[Item, Value, Result]):
    """Implement `cluster.interface.Executor`; a task that hangs here hangs its caller."""

    def __init__(self, task: Task[Item, Shared, Value, Result], shared: Shared) -> None:
        self._start: Callable[[Item], Generator[Value, None, Result]] = lambda item: task(item, shared)
        self._waiting: deque[Item] = deque()
        self._running: tuple[Item, Generator[Value, None, Result]] | None = None

    def submit(self, item: Item) -> None:
        """Put an item at the end of the queue."""
        self._waiting.append(item)

    def next_event(self, timeout_s: float) -> TaskEvent[Item, Value, Result] | None:
        """Run the current task up to its next event, or wait where there is none."""
        if self._running:
            return self._advance(*self._running)
        if not self._waiting:
            time.sleep(timeout_s)
            return None
        item = self._waiting.popleft()
        self._running = item, self._start(item)
        return Started(item, _NODE.node)

    def cancel(self, item: Item) -> None:
        """Forget an item, and close its task where that runs."""
        if self._running and self._running[0] == item:
            self._running[1].close()
            self._running = None
        elif item in self._waiting:
            self._waiting.remove(item)

    def exclude(self, node: str) -> None:
        """Refuse: this process is the only node, and has to meet no requirement."""
        raise AssertionError(f"the only node was refused: {node}")

    def _advance(self, item: Item, steps: Generator[Value, None, Result]) -> TaskEvent[Item, Value, Result]:
        try:
            return Progress(item, next(steps))
        except StopIteration as end:
            self._running = None
            return Done(item, end.value)
        except Exception as error:
            self._running = None
            return Failed(item, TaskFailure.from_exception(error))

    def close(self) -> None:
        """Forget all items, and close the task that runs."""
        self._waiting.clear()
        if self._running:
            self._running[1].close()
            self._running = None
