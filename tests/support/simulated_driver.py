"""A driver of a simulated service: the real loop and scheduler, with a simulated life.

It may die, sleep, and lose sight of the store: for a while everything that it asks of the store raises, or waits. Its
tasks run on its own host, where they die and sleep with it, or on a cluster, where they outlive it by seconds.
"""

from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from typing import Any, Protocol

from cluster import Done, Failed, NodeJoined, Started, TaskFailure
from jobs.errors import LeaseLostError, StoreError
from jobs.run import scheduler
from jobs.run.driver import DriverLoop
from jobs.run.events import CancelAsked
from jobs.run.packs import Pack
from jobs.store import RENEW_S, Lease, Phase
from support.simulated_store import SimulatedStore

Interval = tuple[float, float]
HANG_S = 1000.0
TICK_S = 1e-6  # of the virtual clock: a shorter wait would not move it on
NODE = "node"


class World(Protocol):
    """The simulated world, as a driver sees it."""

    now_s: float
    store: SimulatedStore
    packs: tuple[Pack, ...]
    slots: int
    retries: int
    is_cluster: bool
    does_wait: bool  # whether what is asked of a store that is away waits, or raises

    def at(self, when_s: float, action: Callable[[], None]) -> None: ...
    def uniform(self, low: float, high: float) -> float: ...
    def end(self, pid: int) -> None: ...
    def does_crash(self) -> bool: ...


class SimulatedDriver:
    """One process that drives the job, from the moment at which it has taken the lease."""

    def __init__(self, world: World, lease: Lease, naps: list[Interval], away: list[Interval], death_s: float) -> None:
        self.world, self.lease, self.number = world, lease, lease.driver.pid
        self.naps, self.away, self.death_s = naps, away, death_s
        self.taken_s, self.planned_s = world.now_s, float("inf")
        self.starts: list[tuple[float, Pack]] = []
        self.tasks: dict[Pack, float] = {}  # that run, and for how much of its sleep each has been held up
        self.left_s: float | None = None  # when it ended by itself
        self.left_tasks = 0  # that ran on after that
        self._loop: Any = None
        self._ready: list[Any] = []
        self._wait = 0
        self._has_lost = self._is_cancelled = False
        self._beat()
        self._later(world.uniform(0, 1), self._plan)

    @property
    def is_alive(self) -> bool:
        return self.left_s is None and self.world.now_s < self.death_s

    def _later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something after a while, once the process is awake and the store does not keep it waiting."""

        def act() -> None:
            if not self.is_alive:
                return
            blocked = self.naps + (self.away if self.world.does_wait else [])
            resumes_s = max((end for begin, end in blocked if begin <= self.world.now_s < end), default=0.0)
            if resumes_s > self.world.now_s:
                self._later(resumes_s - self.world.now_s + self.world.uniform(0, 0.5), action)
            else:
                action()

        self.world.at(self.world.now_s + delay_s, act)

    def _check_store(self) -> None:
        if any(begin <= self.world.now_s < end for begin, end in self.away):
            raise StoreError("the store is away")

    # The heartbeat.

    def _beat(self) -> None:
        begin_s = self.world.now_s
        with suppress(StoreError):
            self._check_store()
            self._renew()
            self._is_cancelled |= self.world.store.cancel_s is not None
        if self.world.now_s > begin_s:  # the heartbeat had to wait, and was of no use meanwhile
            self.naps.append((begin_s, self.world.now_s))
        if not self._has_lost:
            self._later(RENEW_S, self._beat)

    def _renew(self, phase: Phase = "running") -> None:
        self.lease = self.lease.model_copy(update={"counter": self.lease.counter + 1, "phase": phase})
        self._has_lost |= not self.world.store.renew(self.lease)

    def _asked(self) -> CancelAsked | None:
        if self._has_lost:
            raise LeaseLostError("taken over")
        return CancelAsked() if self._is_cancelled else None

    # From the plan to the end.

    def _plan(self) -> None:
        world = self.world
        try:
            self._check_store()
        except StoreError as error:
            self._leave(error)
            return
        self.planned_s = world.now_s
        packs = [
            Pack(left, round=pack.round)
            for pack in world.packs
            if (left := {each: trial for each, trial in pack.trials.items() if each not in world.store.stored})
        ]
        if not packs:
            self._end("finished")
            return
        state = scheduler.begin(packs, scheduler.Rules(world.retries, lambda pack: HANG_S))
        self._loop = DriverLoop(state, self, self._check, lambda event: None, lambda: world.now_s, self._asked)
        self._later(
            world.uniform(0, 8), lambda: self._advance(lambda: self._loop.begin([NodeJoined(NODE, world.slots)]))
        )

    def _check(self, event: Any) -> Any:  # noqa: ANN401
        self._check_store()
        return event

    def _advance(self, step: Callable[[], None]) -> None:
        try:
            step()
        except (LeaseLostError, StoreError) as error:
            self._leave(error)
            return
        if self._loop.state.outcome:
            self._end(self._loop.state.outcome)
            return
        self._wait += 1
        timeout_s, wait = max(self._loop.timeout_s(), TICK_S), self._wait
        self._later(0.0 if self._ready else timeout_s, lambda: self._next_event(wait))

    def _next_event(self, wait: int) -> None:
        if wait == self._wait and self._loop:
            event = self._ready.pop(0) if self._ready else None
            self._advance(lambda: self._loop.handle(event))

    def _end(self, state: str) -> None:
        try:
            self._asked()
            self._check_store()
            self.world.store.finish(state, self.number, self.world.now_s)
            self.close()
        except (LeaseLostError, StoreError) as error:
            self._leave(error)

    def _leave(self, error: Exception) -> None:
        with suppress(StoreError):
            if not isinstance(error, LeaseLostError):
                self._check_store()
                self.world.store.finish("interrupted", self.number, self.world.now_s)
                self._renew("released")
        self.close()

    # The executor.

    def submit(self, pack: Pack) -> None:
        world = self.world
        self.starts.append((world.now_s, pack))
        self.tasks[pack] = 0.0
        started_s = world.now_s
        world.at(started_s + world.uniform(0, 1), lambda: self._report(pack, Started(pack, NODE)))
        world.at(started_s + 1 + world.uniform(1, 25), lambda: self._finish(pack, started_s))

    def cancel(self, pack: Pack) -> None:
        self.tasks.pop(pack, None)
        self._ready = [event for event in self._ready if event.item != pack]

    def exclude(self, node: str) -> None:
        raise AssertionError(node)

    def next_event(self, timeout_s: float) -> Any:  # noqa: ANN401
        raise AssertionError("the loop is handed its events")

    def close(self) -> None:
        self.left_s = self.world.now_s
        self.tasks.clear()
        self.world.end(self.number)

    def _finish(self, pack: Pack, started_s: float) -> None:
        """End a task, unless its host has slept meanwhile: then it takes so much longer."""
        now_s = self.world.now_s
        outlives_s = self.death_s + (self.world.uniform(0, 10) if self.world.is_cluster else 0.0)
        if pack not in self.tasks or now_s >= outlives_s:
            return
        slept_s = 0.0 if self.world.is_cluster else sum(_overlap(nap, started_s, now_s) for nap in self.naps)
        held_up_s = slept_s - self.tasks[pack]
        if held_up_s > 0:
            self.tasks[pack] = slept_s
            self.world.at(now_s + held_up_s, lambda: self._finish(pack, started_s))
            return
        self.left_tasks += self.left_s is not None
        if self.world.does_crash():
            self._report(pack, Failed(pack, TaskFailure("crashed", "simulated", "")))
            return
        try:
            self._check_store()
            self.world.store.commit(list(pack.trials), self.number, now_s)
            self._report(pack, Done(pack, "stored"))
        except StoreError:
            self._report(pack, Failed(pack, TaskFailure("storage", "simulated", "")))

    def _report(self, pack: Pack, event: Any) -> None:  # noqa: ANN401
        if pack not in self.tasks or not self.is_alive:
            return
        if not isinstance(event, Started):
            del self.tasks[pack]
        self._ready.append(event)
        wait = self._wait
        self._later(0.0, lambda: self._next_event(wait))


def _overlap(interval: Interval, begin_s: float, end_s: float) -> float:
    return max(min(interval[1], end_s) - max(interval[0], begin_s), 0.0)


def usable_s(driver: SimulatedDriver, begin_s: float, end_s: float) -> float:
    """Return for how long of a time a driver was awake and could use the store."""
    edges = sorted({begin_s, end_s, *(edge for interval in driver.naps + driver.away for edge in interval)})
    edges = [edge for edge in edges if begin_s <= edge <= end_s]
    return sum(
        later - earlier
        for earlier, later in pairwise(edges)
        if not any(begin <= earlier and later <= end for begin, end in driver.naps + driver.away)
    )
