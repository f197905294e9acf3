"""Run a task for many items on the Ray that this process is connected to, and watch over what runs there."""

import os
import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Generic

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import ray_task
from cluster.failures import TaskFailure
from cluster.interface import (
    Done,
    Failed,
    Item,
    NodeEvent,
    NodeLost,
    Progress,
    Result,
    Shared,
    Started,
    Task,
    TaskEvent,
    Value,
    Waiting,
)
from cluster.ray_admission import NodeWatch
from cluster.ray_errors import count_oom_kills, task_failure
from cluster.ray_head import HeadCheck
from cluster.ray_nodes import TaskNeeds, can_reuse_workers, usable_nodes
from cluster.ray_queue import QueueWatch

_MAX_WAIT_S = 1.0  # of one ray.wait: the head and the nodes are checked in between
_CRASH_DOUBT_S = 2.0  # after a crash, before its node is looked at: processes of a node that dies end one by one
_pickler: Any = ray.cloudpickle
_NODE_ID_LABEL = "ray.io/node-id"


@dataclass(frozen=True)
class _Began:
    """The first value of every task: the process that it runs in."""

    node: str
    pid: int


@dataclass(frozen=True)
class _Returned:
    """Mark a task's result among the values that it yields."""

    result: Any


def _apply(task: Task[Any, Any, Any, Any], item: Any, shared: Any) -> Generator[Any, None, None]:  # noqa: ANN401
    yield _Began(ray.get_runtime_context().get_node_id(), os.getpid())
    try:
        result = yield from task(item, shared)
    except Exception as error:
        yield TaskFailure.from_exception(error)  # text can be sent where an exception may not unpickle
    else:
        yield _Returned(result)


@dataclass(eq=False)
class _Run:
    """A task in flight."""

    item: Any
    avoids: frozenset[str]  # ids of nodes that it must not start on
    began: _Began | None = None  # None: Ray has not started it yet
    oom_kills: int = field(default_factory=count_oom_kills)  # when it was submitted


class RayExecutor(Generic[Item, Value, Result]):
    """Implement `cluster.interface.Executor` on Ray.

    Args:
        task: The task to run for each item.
        shared: What all tasks share; stored once, and read by the tasks of a node without a copy.
        needs: What each task takes of its node.
        watch: The nodes of a cluster, which may join and leave, and which other programs may use; None: this process
            has started Ray, for itself.
    """

    def __init__(
        self, task: Task[Item, Shared, Value, Result], shared: Shared, needs: TaskNeeds, watch: NodeWatch | None
    ) -> None:
        # Ray caps OMP_NUM_THREADS at num_cpus. Retries are the caller's decision: a task here runs once. By default Ray
        # ends a worker after one task on a GPU; max_calls=0 keeps it, its imports and its CUDA context.
        calls = 0 if can_reuse_workers(needs) else 1
        once = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_calls=calls, max_retries=0)
        self._remote: Any = once(ray_task.run_if_admitted)
        self._shared_ref = ray.put(_pickle_without_copies(shared))
        self._pickle: Callable[[Item], bytes] = lambda item: _pickler.dumps(partial(_apply, task, item))
        self._runs: dict[Any, _Run] = {}  # by the stream of what the task yields
        self._streams: dict[Any, Any] = {}  # by item
        self._names = {node_id: node.name for node_id, node in usable_nodes(needs).items()}
        self._head = HeadCheck()
        self._watch = watch
        self._queue = QueueWatch(needs)
        self._node_events: deque[NodeEvent] = deque()
        self._crashes: deque[tuple[float, _Run, TaskFailure]] = deque()  # and when each is looked into
        self._lost_s = float("-inf")  # when a node was last lost

    def submit(self, item: Item) -> None:
        """Hand an item to Ray, which starts its task as soon as a node has room."""
        self._submit(_Run(item, self._watch.not_admitted if self._watch else frozenset()))

    def _submit(self, run: _Run) -> None:
        label = {"label_selector": {_NODE_ID_LABEL: f"!in({','.join(sorted(run.avoids))})"}} if run.avoids else {}
        admitted = list(self._watch.admitted) if self._watch else None
        stream = self._remote.options(**label).remote(admitted, self._pickle(run.item), self._shared_ref)
        self._runs[stream] = run
        self._streams[run.item] = stream

    def next_event(self, timeout_s: float) -> TaskEvent[Item, Value, Result] | NodeEvent | None:
        """Wait for the next event; raise ClusterLostError where the head node does not answer any longer."""
        self._head.check()
        if self._watch:
            self._look_at_nodes(self._watch)
            if self._node_events:
                return self._node_events.popleft()
            if self._crashes and time.monotonic() >= self._crashes[0][0]:
                return self._look_into_crash(self._watch)
        elif self._queue.is_due(len(self._runs)):
            self._queue.check_start()
        if not self._runs:
            time.sleep(min(timeout_s, _MAX_WAIT_S))
            return None
        # Without a timeout ray.wait would return empty-handed after 10^6 seconds.
        ready, _ = ray.wait(list(self._runs), num_returns=1, timeout=min(timeout_s, _MAX_WAIT_S))
        return self._receive(ready[0]) if ready else None

    def _receive(self, stream: Any) -> TaskEvent[Item, Value, Result] | None:  # noqa: ANN401
        run = self._runs[stream]
        match value := _next_value(stream, run):
            case _Began():
                run.began = value
                self._queue.note_start()
                return Started(run.item, self._name(value.node))
            case _Returned(result):
                self._forget(stream)
                return Done(run.item, result)
            case TaskFailure("crashed") if self._watch:
                self._forget(stream)
                self._crashes.append((time.monotonic() + _CRASH_DOUBT_S, run, value))
                return None
            case TaskFailure():
                self._forget(stream)
                return Failed(run.item, value)
            case str(node_id) if run.began is None and self._watch:
                self._watch.look_soon()
                self._send_again(stream, self._watch.not_admitted | ({node_id} - self._watch.admitted.keys()))
                return None
        return Progress(run.item, value)

    def _name(self, node_id: str) -> str:
        nodes = self._watch.admitted if self._watch else {}
        return nodes[node_id].name if node_id in nodes else self._names.get(node_id, node_id)

    def cancel(self, item: Item) -> None:
        """Kill an item's task; its worker process too, as a stopped process does not react to anything else."""
        self._crashes = deque(crash for crash in self._crashes if crash[1].item != item)
        if (stream := self._streams.get(item)) is None:
            return
        began = self._runs[stream].began
        self._forget(stream)
        ray.cancel(stream, force=True)
        if began:
            there = NodeAffinitySchedulingStrategy(began.node, soft=False)
            kill: Any = ray.remote(_kill)
            kill.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(began.pid)

    def exclude(self, node: str) -> None:
        """Start no task on a node any longer."""
        assert self._watch, f"a node of a Ray that was started here was refused: {node}"
        self._watch.exclude(node)

    def close(self) -> None:
        """Give up every task that has not ended."""
        for stream in self._runs:
            ray.cancel(stream, force=True)
        self._runs.clear()
        self._streams.clear()
        self._crashes.clear()

    def _forget(self, stream: Any) -> None:  # noqa: ANN401
        del self._streams[self._runs.pop(stream).item]

    # What happens to nodes, and to tasks that are queued.

    def _look_at_nodes(self, watch: NodeWatch) -> None:
        """Note what has changed, and send tasks again that wait for nodes that are gone or avoid those that joined."""
        changes = watch.changes(self._head.answers)
        self._node_events += changes
        if has_lost := any(isinstance(event, NodeLost) for event in changes):
            self._lost_s = time.monotonic()
        queued = [stream for stream, run in self._runs.items() if run.began is None]
        for stream in queued:
            # Ray may have sent it to the lost node. What avoids a node since it had not been admitted is not
            # sent again before that node's events have been handled, which may exclude it.
            if has_lost or (not changes and self._runs[stream].avoids & watch.admitted.keys()):
                self._send_again(stream, watch.not_admitted)
        if not self._queue.is_due(len(queued)) or not self._head.answers():
            return
        busy = Counter(run.began.node for run in self._runs.values() if run.began)
        if message := self._queue.explain_unplaced(len(queued), watch.admitted.values(), busy):
            for stream in queued:
                self._send_again(stream, watch.not_admitted)
        if message := message or self._queue.explain_wait():
            self._node_events.append(Waiting(message))

    def _send_again(self, stream: Any, avoids: frozenset[str]) -> None:  # noqa: ANN401
        run = self._runs[stream]
        self._forget(stream)
        ray.cancel(stream, force=True)
        self._submit(replace(run, avoids=avoids))

    def _look_into_crash(self, watch: NodeWatch) -> TaskEvent[Item, Value, Result] | NodeEvent:
        """Tell a process that has crashed from one that died with its node: Ray learns of that later."""
        due_s, run, failure = self._crashes.popleft()
        if lost := watch.lose_unreachable(run.began.node if run.began else None):
            self._node_events += lost
            self._lost_s = time.monotonic()
        # Of a task that was only sent to a node, Ray does not name the node.
        has_lost = self._lost_s > due_s - 2 * _CRASH_DOUBT_S
        is_lost = run.began.node not in watch.admitted if run.began else has_lost
        return Failed(run.item, replace(failure, kind="node_lost") if is_lost else failure)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _next_value(stream: Any, run: _Run) -> Any:  # noqa: ANN401
    try:
        return ray.get(next(stream))
    except RayError as error:
        is_here = run.began is None or run.began.node == ray.get_runtime_context().get_node_id()
        return task_failure(error, count_oom_kills() - run.oom_kills if is_here else 0)


def _pickle_without_copies(shared: Any) -> tuple[bytes, list[Any]]:  # noqa: ANN401
    """Pickle a value and keep its arrays apart, so that a node can store it without knowing our packages."""
    buffers: list[Any] = []
    return _pickler.dumps(shared, protocol=5, buffer_callback=buffers.append), buffers
