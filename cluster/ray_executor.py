"""Run a task for many items on the Ray that this process is connected to, and watch over what runs there."""

import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.failures import TaskFailure
from cluster.interface import (
    ClusterLostError,
    Done,
    Failed,
    Item,
    LocalRayError,
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
from cluster.ray_errors import count_oom_kills, task_failure
from cluster.ray_nodes import TaskNeeds, can_reuse_workers, usable_nodes

_MAX_WAIT_S = 1.0  # of one ray.wait: the head and the nodes are checked in between
_HEAD_CHECK_S = 3.0
_MAX_UNANSWERED = 8  # checks of the head: Ray itself gives up after a minute
_NODE_CHECK_S = 4.0
_QUEUED_S = 10.0  # without a started task, before the reason is reported
_MAX_START_S = 55.0  # without a started task, before a Ray started here is given up


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
    began: _Began | None = None  # None: Ray has not started it yet
    oom_kills: int = field(default_factory=count_oom_kills)  # when it was submitted


class RayExecutor(Generic[Item, Value, Result]):
    """Implement `cluster.interface.Executor` on Ray.

    Args:
        task: The task to run for each item.
        shared: What all tasks share; stored once, and read by the tasks of a node without a copy.
        needs: What each task takes of its node.
        watches_nodes: Whether nodes may join and leave, and other programs may use them.
    """

    def __init__(
        self, task: Task[Item, Shared, Value, Result], shared: Shared, needs: TaskNeeds, *, watches_nodes: bool
    ) -> None:
        # Ray caps OMP_NUM_THREADS at num_cpus. Retries are the caller's decision: a task here runs once. By default Ray
        # ends a worker after one task on a GPU; max_calls=0 keeps it, its imports and its CUDA context.
        calls = 0 if can_reuse_workers(needs) else 1
        remote = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_calls=calls, max_retries=0)(_apply)
        shared_ref = ray.put(shared)
        self._start: Callable[[Item], Any] = lambda item: remote.remote(task, item, shared_ref)
        self._runs: dict[Any, _Run] = {}  # by the stream of what the task yields
        self._streams: dict[Any, Any] = {}  # by item
        self._head = _HeadCheck()
        self._nodes = _NodeCheck(needs) if watches_nodes else None
        self._node_events: deque[NodeEvent] = deque()
        self._queue: _QueueCheck | None = _QueueCheck(needs, is_shared=watches_nodes)

    def submit(self, item: Item) -> None:
        """Hand an item to Ray, which starts its task as soon as a node has room."""
        stream = self._start(item)
        self._runs[stream] = _Run(item)
        self._streams[item] = stream

    def next_event(self, timeout_s: float) -> TaskEvent[Item, Value, Result] | NodeEvent | None:
        """Wait for the next event; raise ClusterLostError where the head node does not answer any longer."""
        self._head.check()
        if self._nodes:
            self._node_events.extend(self._nodes.changes(self._head.answers))
        if self._node_events:
            return self._node_events.popleft()
        if not self._runs:
            time.sleep(min(timeout_s, _MAX_WAIT_S))
            return None
        waited_from = time.monotonic()
        # Without a timeout ray.wait would return empty-handed after 10^6 seconds.
        ready, _ = ray.wait(list(self._runs), num_returns=1, timeout=min(timeout_s, _MAX_WAIT_S))
        if ready:
            return self._receive(ready[0])
        return self._queue.explain_wait(min(time.monotonic() - waited_from, timeout_s)) if self._queue else None

    def _receive(self, stream: Any) -> TaskEvent[Item, Value, Result]:  # noqa: ANN401
        run = self._runs[stream]
        match value := _next_value(stream, run):
            case _Began():
                run.began = value
                self._queue = None
                return Started(run.item, value.node)
            case _Returned(result):
                self._forget(stream)
                return Done(run.item, result)
            case TaskFailure():
                self._forget(stream)
                return Failed(run.item, value)
        return Progress(run.item, value)

    def cancel(self, item: Item) -> None:
        """Kill an item's task; its worker process too, as a stopped process does not react to anything else."""
        if (stream := self._streams.get(item)) is None:
            return
        began = self._runs[stream].began
        self._forget(stream)
        ray.cancel(stream, force=True)
        if began:
            there = NodeAffinitySchedulingStrategy(began.node, soft=False)
            kill: Any = ray.remote(_kill)
            kill.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(began.pid)

    def close(self) -> None:
        """Give up every task that has not ended."""
        for stream in self._runs:
            ray.cancel(stream, force=True)
        self._runs.clear()
        self._streams.clear()

    def _forget(self, stream: Any) -> None:  # noqa: ANN401
        del self._streams[self._runs.pop(stream).item]


class _HeadCheck:
    """Notice that the head node is gone: a minute later, Ray would end this process."""

    def __init__(self) -> None:
        self._address = str(ray.get_runtime_context().gcs_address)
        self._checked_s = time.monotonic()
        self._unanswered = 0

    def answers(self) -> bool:
        """Tell whether the head answers: any question to one that does not would block until Ray ends this process."""
        return self._connect() is None

    def check(self) -> None:
        """Raise ClusterLostError where the head has died, or has not answered several times in a row."""
        if time.monotonic() < self._checked_s + _HEAD_CHECK_S:
            return
        self._checked_s = time.monotonic()
        if dead := _dead_local_process():
            raise ClusterLostError(f"Ray at {self._address}: its {dead} has died")
        error = self._connect()
        self._unanswered = self._unanswered + 1 if error else 0
        if self._unanswered == _MAX_UNANSWERED:
            raise ClusterLostError(f"Ray at {self._address}: does not answer any longer ({error})") from error

    def _connect(self) -> OSError | None:
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except OSError as error:
            return error
        return None


class _NodeCheck:
    """Notice nodes that join and nodes that are lost."""

    def __init__(self, needs: TaskNeeds) -> None:
        self._needs = needs
        self._known = usable_nodes(needs)
        self._checked_s = time.monotonic()

    def changes(self, head_answers: Callable[[], bool]) -> list[NodeEvent]:
        """Return what has changed since the last call, looking at most every few seconds, if the head answers."""
        if time.monotonic() < self._checked_s + _NODE_CHECK_S or not head_answers():
            return []
        self._checked_s = time.monotonic()
        before, self._known = self._known, usable_nodes(self._needs)
        lost: list[NodeEvent] = [NodeLost(node) for node in before if node not in self._known]
        return lost + [joined for node, joined in self._known.items() if node not in before]


class _QueueCheck:
    """Notice that no task has started: report once what is free, as other programs may use the cluster, and give up.

    Args:
        needs: What each task takes of its node.
        is_shared: Whether other programs may use the cluster.
    """

    def __init__(self, needs: TaskNeeds, *, is_shared: bool) -> None:
        self._needs = needs
        self._is_shared = is_shared
        self._waited_s = 0.0
        self._is_reported = False

    def explain_wait(self, waited_s: float) -> Waiting | None:
        """Add up the time waited; return the reason once it is long; raise LocalRayError where no worker starts."""
        self._waited_s += waited_s
        if self._is_shared and self._waited_s >= _QUEUED_S and not self._is_reported:
            self._is_reported = True
            return self._explain_queue()
        if self._waited_s >= _MAX_START_S:
            self._waited_s = 0.0
            return self._explain_start()
        return None

    def _explain_queue(self) -> Waiting | None:
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        for name, need in (("CPU", self._needs.cpus), ("GPU", self._needs.gpus)):
            if free.get(name, 0) < need:
                left = f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s of the cluster are free"
                return Waiting(f"no task has started yet: {left}")
        return None

    def _explain_start(self) -> Waiting | None:
        reason = f"no task has started for {_MAX_START_S:.0f} s"
        if self._is_shared:
            if self._explain_queue():
                return None  # it has been reported
            host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            return Waiting(f"{reason} although CPUs are free: no worker starts, or none reaches this driver at {host}")
        raise LocalRayError(f"Ray on this machine: {reason}; the last line of its log is: {_last_words()}")


def _last_words() -> str:
    """Return the last line that a Ray started here, or one of its workers, has written to its log of errors."""
    node: Any = ray._private.worker._global_node
    lines = Path(node.get_logs_dir_path(), "raylet.err").read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "none")


def _dead_local_process() -> str:
    """Name a dead process of a Ray started here that it cannot work without; "" where there is none."""
    node: Any = getattr(ray._private.worker, "_global_node", None)
    dead = {kind for kind, _ in node.dead_processes()} if node else set()
    return next((kind for kind in ("raylet", "gcs_server") if kind in dead), "")


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _next_value(stream: Any, run: _Run) -> Any:  # noqa: ANN401
    try:
        return ray.get(next(stream))
    except RayError as error:
        is_here = run.began is None or run.began.node == ray.get_runtime_context().get_node_id()
        return task_failure(error, count_oom_kills() - run.oom_kills if is_here else 0)
