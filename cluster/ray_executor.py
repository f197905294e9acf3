"""Apply a task to items on the Ray that this process is connected to, and watch over what runs there."""

import os
import signal
import socket
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.failures import Failure
from cluster.interface import (
    ClusterError,
    Done,
    Event,
    Failed,
    Item,
    Map,
    Patience,
    Progress,
    Result,
    Shared,
    Task,
    Value,
    Waiting,
    without_end,
)
from cluster.ray_errors import failure_of, kernel_kills

_TICK_S = 1.0  # ray.wait must have a timeout: without one it comes back empty-handed after 10^6 seconds
_MOMENT_S = 0.05
_PROBE_S = 3.0  # between two looks at the head node
_WHAT_NOW = "what has finished is stored; submit the same grid again, to another cluster if need be"
_MOST_UNANSWERED = 8  # Ray itself has patience for a minute
_QUEUED_S = 10.0  # without a task started, before one asks why


@dataclass(frozen=True)
class Needs:
    """What every task takes of its node."""

    cpus: int
    gpus: float  # of one GPU


@dataclass(frozen=True)
class _Started:
    """What a task says first: which process it runs in."""

    node: str
    pid: int


@dataclass(frozen=True)
class _Returned:
    """Mark a task's result among the values that it yields."""

    result: Any


def _apply(task: Task[Any, Any, Any, Any], item: Any, shared: Any) -> Generator[Any, None, None]:  # noqa: ANN401
    yield _Started(ray.get_runtime_context().get_node_id(), os.getpid())
    try:
        result = yield from task(item, shared)
    except Exception as error:
        yield Failure.from_exception(error)  # text travels where an exception may not unpickle
    else:
        yield _Returned(result)


def bounded_map(workers: int, needs: Needs, *, is_shared: bool, keeps_workers: bool) -> Map:
    """Give a map that keeps at most so many tasks in flight, on a cluster that others may use as well."""
    # Ray caps OMP_NUM_THREADS at num_cpus. Retrying is the caller's to decide: a task here runs once. Left alone, Ray
    # ends a worker after one task on a GPU: max_calls=0 keeps it, its imports and its CUDA context.
    calls = 0 if keeps_workers else 1
    remote = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_calls=calls, max_retries=0)(_apply)

    def map_on_ray(
        task: Task[Item, Shared, Value, Result],
        items: Iterable[Item | None],
        shared: Shared,
        patience: Patience[Item] = without_end,
    ) -> Generator[Event[Item, Value, Result] | Waiting, None, None]:
        # Stored once; a task on any node reads it from there, arrays without a copy.
        shared_ref = ray.put(shared)
        watch = _Watch(patience, needs if is_shared else None)
        fill = partial(watch.fill, iter(items), workers, lambda item: remote.remote(task, item, shared_ref))
        is_all_sent = False
        try:
            while not is_all_sent or watch.runs:
                is_all_sent = is_all_sent or fill()
                watch.check_head()
                event = watch.listen() or watch.find_hung() or watch.find_queued()
                if isinstance(event, Done):
                    is_all_sent = is_all_sent or fill()  # no worker is idle while the caller takes the event
                if event:
                    yield event
        finally:
            watch.abandon()

    return map_on_ray


@dataclass(eq=False)
class _Run:
    """A task under way."""

    item: Any
    heard_s: float = 0.0  # when it last gave a sign of life, by the watch's clock
    where: _Started | None = None  # None: it waits for its place
    kernel_kills: int = field(default_factory=kernel_kills)  # when it was sent off


class _Watch:
    """The tasks under way, listened to and, where they hang, ended."""

    def __init__(self, patience: Patience[Any], scarce: Needs | None) -> None:
        self.runs: dict[Any, _Run] = {}  # by the stream of what the task yields
        self._patience = patience
        self._scarce = scarce  # what tasks may have to wait for; None once that is settled
        # The time waited here and not the time the caller takes: a driver that was stopped finds no task hung.
        self._clock_s = 0.0
        self._checked_s = self._probed_s = 0.0
        self._unanswered = 0

    def fill(self, items: Iterator[Any], workers: int, send: Callable[[Any], Any]) -> bool:
        """Send off what there are places for; tell whether nothing more will come."""
        while len(self.runs) < workers:
            try:
                item = next(items)
            except StopIteration:
                return True
            if item is None:
                break
            self.runs[send(item)] = _Run(item)
        return False

    def check_head(self) -> None:
        """Raise ClusterError where the head node answers no more: a minute later, Ray would end this process."""
        if self._clock_s < self._probed_s + _PROBE_S:
            return
        self._probed_s = self._clock_s
        address = str(ray.get_runtime_context().gcs_address)
        if dead := _dead_here():
            raise ClusterError(f"Ray at {address}: its {dead} has died; {_WHAT_NOW}")
        host, _, port = address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
            self._unanswered = 0
        except OSError as error:
            self._unanswered += 1
            if self._unanswered == _MOST_UNANSWERED:
                raise ClusterError(f"Ray at {address}: answers no more ({error}); {_WHAT_NOW}") from error

    def listen(self) -> Event[Any, Any, Any] | None:
        """Wait a while for the next thing that a task says; most of it are events."""
        if not self.runs:
            time.sleep(_MOMENT_S)
            return None
        before = time.monotonic()
        ready, _ = ray.wait(list(self.runs), num_returns=1, timeout=_TICK_S)
        self._clock_s += min(time.monotonic() - before, _TICK_S)
        return self._take(ready[0]) if ready else None

    def _take(self, stream: Any) -> Event[Any, Any, Any] | None:  # noqa: ANN401
        run = self.runs[stream]
        run.heard_s = self._clock_s
        match value := _next_value(stream, run):
            case _Started():
                run.where, self._scarce = value, None
                return None
            case _Returned(result):
                del self.runs[stream]
                return Done(run.item, result)
            case Failure():
                del self.runs[stream]
                return Failed(run.item, value)
        return Progress(run.item, value)

    def find_hung(self) -> Failed[Any] | None:
        """End a task that has been silent for too long."""
        if self._clock_s < self._checked_s + _TICK_S:
            return None
        self._checked_s = self._clock_s
        for stream, run in self.runs.items():
            patience = self._patience(run.item)
            is_silent = run.where and self._clock_s - run.heard_s > patience
            if is_silent and not ray.wait([stream], timeout=0)[0]:  # it may have spoken, and not been heard yet
                del self.runs[stream]
                _end(stream, run)
                return Failed(run.item, Failure("hung", f"no sign of life for {patience:.0f} s; it was killed", ""))
        return None

    def find_queued(self) -> Waiting | None:
        """Say, once, that no task has started and how much is free: others may use the cluster, or a worker be slow."""
        if self._scarce is None or not self.runs or self._clock_s < _QUEUED_S:
            return None
        needs, self._scarce = self._scarce, None
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        all_: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        for name, need in (("CPU", needs.cpus), ("GPU", needs.gpus)):
            if free.get(name, 0) < need:
                left = f"{free.get(name, 0):g} of {all_.get(name, 0):g} {name}s of the cluster are free"
                return Waiting(f"no task has started yet: {left}")
        return None

    def abandon(self) -> None:
        """Give up what runs."""
        for stream in self.runs:
            ray.cancel(stream, force=True)


def _dead_here() -> str:
    """Name a process of a Ray started here that has died, without which nothing goes on; "" where there is none."""
    node: Any = getattr(ray._private.worker, "_global_node", None)
    dead = {kind for kind, _ in node.dead_processes()} if node else set()
    return next((kind for kind in ("raylet", "gcs_server") if kind in dead), "")


def _end(stream: Any, run: _Run) -> None:  # noqa: ANN401
    """End a task whatever its process does."""
    ray.cancel(stream, force=True)
    if run.where:  # a process that was stopped hears nothing of that
        there = NodeAffinitySchedulingStrategy(run.where.node, soft=False)
        killing: Any = ray.remote(_kill)
        killing.options(num_cpus=0, max_retries=0, scheduling_strategy=there).remote(run.where.pid)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _next_value(stream: Any, run: _Run) -> Any:  # noqa: ANN401
    try:
        return ray.get(next(stream))
    except RayError as error:
        is_here = run.where is None or run.where.node == ray.get_runtime_context().get_node_id()
        return failure_of(error, kernel_kills() - run.kernel_kills if is_here else 0)
