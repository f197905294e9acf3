"""The store of a simulated service: finished trials, the leases of a job, the request to cancel it, and its end.

Leases are taken, renewed and released by the real functions of jobs.store, which here write into memory, by a virtual
clock, and learn from the simulation which processes run. Before any of their steps a process may have to wait, or be
killed: whatever else is due happens meanwhile.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import cast

import pytest

from jobs.errors import JobHeldError, LeaseLostError
from jobs.store import Lease, Store, StoreUrl
from jobs.store import lease as real_lease
from jobs.store import liveness as real_liveness
from jobs.store.backends import Backend, Entry, Refused, Version
from jobs.store.processes import Process

JOB = "simulated-20260101-000000-abcd"
WRITTEN = Version("written")


class Killed(BaseException):
    """The process that takes a step is killed before it."""


@dataclass
class MemoryBackend:
    """Implement as much of `jobs.store.backends.interface.Backend` as leases need."""

    clock: Callable[[], float]
    step: Callable[[], None]  # called before whatever a process asks for
    objects: dict[str, tuple[bytes, float]] = field(default_factory=dict)  # by key: the content, and when it was put

    def put(self, key: str, content: bytes, *, create_only: bool = False) -> Version | Refused:
        self.step()
        if create_only and key in self.objects:
            return Refused.exists
        self.objects[key] = (content, self.clock())
        return WRITTEN

    def get(self, key: str) -> tuple[bytes, Version] | None:
        self.step()
        found = self.objects.get(key)
        return found and (found[0], WRITTEN)

    def head(self, key: str) -> Entry | None:
        found = self.objects.get(key)
        return found and Entry(key, len(found[0]), WRITTEN, found[1])

    def now_s(self, beside: str) -> float:
        return self.clock()

    def has_folder(self, prefix: str) -> bool:
        return True


@dataclass(frozen=True)
class StoreInMemory(Store):
    """A store whose objects are in this process."""

    memory: MemoryBackend

    @property
    def backend(self) -> Backend:
        return cast(Backend, self.memory)


@dataclass
class SimulatedStore:
    """What several drivers share.

    Args:
        clock: Returns the time.
        step: Called before each step of a process on its lease.
        is_running: Returns whether a simulated process runs.
        lease, liveness: The modules of jobs.store, or mutants of them.
    """

    clock: Callable[[], float] = field(compare=False)
    step: Callable[[], None] = field(compare=False)
    is_running: Callable[[Process], bool] = field(compare=False)
    lease: ModuleType = field(default=real_lease, compare=False)
    liveness: ModuleType = field(default=real_liveness, compare=False)
    stored: dict[str, tuple[float, int]] = field(default_factory=dict)  # trial_id -> when first, and by which driver
    cancel_s: float | None = None  # when somebody asked for it
    end: tuple[str, int, float] | None = None  # state, author and time of final.json
    ends: int = 0  # how often that was written

    def __post_init__(self) -> None:
        self._memory = MemoryBackend(self.clock, self._before_step)
        self._store = StoreInMemory(StoreUrl("s3", "memory", ""), self._memory)
        self._acting = Process("", "", 0, 0, 0)

    def _before_step(self) -> None:
        self.step()
        if not self.is_running(self._acting):
            raise Killed

    @contextmanager
    def _as(self, process: Process) -> Iterator[None]:
        """Let a process act, which may have to wait while others do."""
        before, self._acting = self._acting, process
        try:
            yield
        finally:
            self._acting = before

    @contextmanager
    def surroundings(self) -> Iterator[None]:
        """Let the functions of jobs.store see the simulated processes instead of those of this machine."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.lease, "this_process", lambda: self._acting)
            patch.setattr(self.liveness, "is_here", lambda process: process.host == self._acting.host)
            patch.setattr(self.liveness, "is_running", lambda process, thread: self.is_running(process))
            yield

    def take(self, process: Process) -> Lease | None:
        """Let a process become the driver; return None where the job has one, or the process has been killed."""
        try:
            with self._as(process):
                taken: Lease = self.liveness.take_lease(self._store, JOB)
                return taken
        except (JobHeldError, Killed):
            return None

    def renew(self, lease: Lease) -> bool:
        """Renew a lease; return False where somebody else has taken it over."""
        try:
            with self._as(lease.driver):
                self.lease.renew_lease(self._store, lease)
        except LeaseLostError:
            return False
        except Killed:
            pass
        return True

    def change_s(self, lease: Lease) -> float | None:
        """Return when a lease was taken over from its owner."""
        found = self._memory.objects.get(f"jobs/{JOB}/lease.{lease.owner}.next")
        return found and found[1]

    def commit(self, trial_ids: list[str], author: int, now_s: float) -> None:
        for trial_id in trial_ids:
            self.stored.setdefault(trial_id, (now_s, author))

    def finish(self, state: str, author: int, now_s: float) -> None:
        """Write how the job ended, unless that is written."""
        if self.end is None:
            self.end = (state, author, now_s)
            self.ends += 1
