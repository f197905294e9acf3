"""Simulate a job whose drivers die, sleep and take over from each other, on one store and one virtual clock.

One integer seed decides everything: the packs, what becomes of each driver, when the store is away, when somebody
resumes the job and whether somebody cancels it. `violations` names every invariant that a study has broken.
"""

import heapq
import itertools
import random
from collections.abc import Callable
from types import ModuleType

from jobs.run.packs import Pack
from jobs.store import RENEW_S, Lease
from jobs.store import lease as real_lease
from jobs.store import liveness as real_liveness
from jobs.store.processes import Process
from support.simulated_driver import Interval, SimulatedDriver, usable_s
from support.simulated_store import SimulatedStore
from support.tiny_study import tiny_trial

MAX_S = 5_000.0  # of a study: a service that needs more is not live
RESUME_EVERY_S = 20.0  # once faults have ended
KNOWS_AFTER_S = RENEW_S + 1.0 + 1.0  # a renewal, a poll, and what a process needs to wake up
STOPS_AFTER_S = 10.0  # after a request to cancel
WAIT_RATE = 0.03  # of the steps on a lease before which a process has to wait, while faults last
TRIALS = [tiny_trial(seed) for seed in range(16)]


class Service:
    """The world of one job."""

    def __init__(self, seed: int, lease: ModuleType = real_lease, liveness: ModuleType = real_liveness) -> None:
        """Draw a world from a seed; the modules may be mutants of those of jobs.store."""
        self._rng = rng = random.Random(seed)
        self.now_s, self.drivers = 0.0, list[SimulatedDriver]()
        self.store = SimulatedStore(
            lambda: self.now_s, self._wait_before_step, self._is_running, lease=lease, liveness=liveness
        )
        self.leases: dict[int, Lease] = {}  # by the pids of their owners
        self._deaths_s: list[float] = []  # by pid, of those that are killed
        self._ended: set[int] = set()  # pids
        self._last_host, self._is_host_used_again = "", rng.random() < 0.5
        ids = itertools.count()
        sizes = [rng.choice((1, 1, 1, 2)) for _ in range(rng.randint(1, 8))]
        self.packs = tuple(Pack({f"t{(n := next(ids))}": TRIALS[n] for _ in range(size)}) for size in sizes)
        self.slots, self.retries = rng.randint(1, 3), 1_000
        self.is_cluster, self.does_wait = rng.random() < 0.5, rng.random() < 0.5
        self.faults_end_s = rng.choice((0.0, 100.0, 300.0))
        self._crash_rate = rng.choice((0.0, 0.0, 0.2))
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.at(0.0, self._resume)
        for _ in range(rng.randint(0, 12)):
            self.at(rng.uniform(0, self.faults_end_s), self._resume)
        self.at(self.faults_end_s, self._resume_until_ended)
        if rng.random() < 0.3:
            self.at(rng.uniform(0, 120), self._cancel)

    def at(self, when_s: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (when_s, next(self._order), action))

    def uniform(self, low: float, high: float) -> float:
        return self._rng.uniform(low, high)

    def does_crash(self) -> bool:
        return self.now_s < self.faults_end_s and self._rng.random() < self._crash_rate

    def run(self) -> "Service":
        """Run until the job has ended and no driver is left, or for too long."""
        with self.store.surroundings():
            while self._agenda and self.now_s < MAX_S:
                if self.store.end and not any(driver.is_alive for driver in self.drivers):
                    break
                self._do_next()
        return self

    def _do_next(self) -> None:
        self.now_s, _, action = heapq.heappop(self._agenda)
        action()

    def _wait_before_step(self) -> None:
        """Let whoever is about to take a step on a lease wait now and then, and everybody else go on meanwhile."""
        if self.now_s >= self.faults_end_s or self._rng.random() >= WAIT_RATE:
            return
        until_s = self.now_s + self._rng.uniform(0, self._rng.choice((1, 60)))
        while self._agenda and self._agenda[0][0] <= until_s:
            self._do_next()
        self.now_s = max(self.now_s, until_s)

    def _is_running(self, process: Process) -> bool:
        return process.pid not in self._ended and self.now_s < self._deaths_s[process.pid]

    def change_s(self, pid: int) -> float | None:
        """Return when the lease of a process was taken over."""
        return self.store.change_s(self.leases[pid]) if pid in self.leases else None

    def _new_process(self, death_s: float) -> Process:
        """Make a process, on the host of the last driver or on another one."""
        pid = len(self._deaths_s)
        self._deaths_s.append(death_s)
        is_there = self._is_host_used_again and self._rng.random() < 0.5
        host = self._last_host if is_there else f"host{pid}"
        return Process(host, boot="", space=0, pid=pid, started=0)

    def _resume(self) -> None:
        """Let somebody start a driver."""
        if self.store.end:
            return
        does_die = self.now_s < self.faults_end_s and self._rng.random() < 0.4
        death_s = self.now_s + self._rng.uniform(0, self._rng.choice((1, 80, 80))) if does_die else float("inf")
        process, begin_s = self._new_process(death_s), self.now_s
        if lease := self.store.take(process):
            naps, away = self._intervals(0.5, 90), self._intervals(0.3, 60)
            naps += [(begin_s, self.now_s)] * (self.now_s > begin_s)
            self.leases[process.pid], self._last_host = lease, process.host
            self.drivers.append(SimulatedDriver(self, lease, naps, away, death_s))

    def end(self, pid: int) -> None:
        """Note that a process has ended by itself."""
        self._ended.add(pid)

    def _intervals(self, chance: float, longest_s: float) -> list[Interval]:
        if self.now_s >= self.faults_end_s or self._rng.random() >= chance:
            return []
        begin_s = self.now_s + self._rng.uniform(0, 60)
        return [(begin_s, begin_s + self._rng.uniform(1, longest_s))]

    def _resume_until_ended(self) -> None:
        if not self.store.end:
            self._resume()
            self.at(self.now_s + RESUME_EVERY_S, self._resume_until_ended)

    def _cancel(self) -> None:
        """Ask for the end, and end the job in place of a driver where there is none."""
        if self.store.end:
            return
        if self.store.cancel_s is None:
            self.store.cancel_s = self.now_s
        process = self._new_process(float("inf"))
        if lease := self.store.take(process):
            self.leases[process.pid] = lease
            self.store.finish("cancelled", process.pid, self.now_s)
        elif self.now_s < self.store.cancel_s + 30:
            self.at(self.now_s + 5, self._cancel)


def violations(service: Service) -> list[str]:
    """Name every invariant that a simulated service has broken."""
    store = service.store
    if store.end is None:
        return ["the job does not end"]
    found = [f"final.json was written {store.ends} times"] if store.ends != 1 else []
    owners = [pid for pid in service.leases if service.change_s(pid) is None]
    found += [f"processes {owners} own the lease at the same time"] if len(owners) > 1 else []
    for driver in service.drivers:
        found += [f"driver {driver.number} {what}" for what in _driver_violations(service, driver)]
        found += [f"{driver.left_tasks} tasks outlived driver {driver.number}"] if driver.left_tasks else []
    return found + _wrong_end(service)


def _driver_violations(service: Service, driver: SimulatedDriver) -> list[str]:
    store, found = service.store, []
    change_s, cancel_s = service.change_s(driver.number), store.cancel_s
    for start_s, pack in driver.starts:
        for trial_id in pack.trials:
            stored_s, author = store.stored.get(trial_id, (float("inf"), -1))
            if stored_s < start_s and (author == driver.number or stored_s <= driver.planned_s):
                found.append(f"trained {trial_id} again")
        if change_s is not None and start_s > change_s and usable_s(driver, change_s, start_s) > KNOWS_AFTER_S:
            found.append("started work although it could know that its lease was lost")
        if cancel_s is not None and start_s > cancel_s and usable_s(driver, cancel_s, start_s) > KNOWS_AFTER_S:
            found.append("started work although the job was cancelled")
    ends_s = store.end[2] if store.end else float("inf")
    is_undisturbed = not driver.naps and not driver.away and driver.death_s == float("inf")
    if is_undisturbed and change_s is not None and change_s < (driver.left_s or ends_s):
        found.append("lost its lease although nothing had happened to it")
    if cancel_s is not None and is_undisturbed and change_s is None and driver.left_s is not None:
        since_s = max(cancel_s, driver.taken_s)
        if driver.left_s > since_s + STOPS_AFTER_S + 8 * (driver.taken_s > cancel_s) and ends_s > since_s:
            found.append(f"ended {driver.left_s - since_s:.0f} s after the job was cancelled")
    return found


def _wrong_end(service: Service) -> list[str]:
    store = service.store
    assert store.end
    state, author, end_s = store.end
    trials = [trial_id for pack in service.packs for trial_id in pack.trials]
    left = [trial_id for trial_id in trials if trial_id not in store.stored]
    found = []
    if state == "cancelled" and store.cancel_s is None:
        found.append("the job was cancelled although nobody asked for it")
    if state == "finished" and left:
        found.append(f"the job finished without {left}")
    if state == "failed":
        found.append("the job failed although every trial may be tried again")
    change_s = service.change_s(author)
    if state == "interrupted" and change_s is not None and end_s > change_s:
        found.append("the job is called interrupted although another driver has it")
    by = next((driver for driver in service.drivers if driver.number == author), None)
    if by and change_s is not None and end_s > change_s and usable_s(by, change_s, end_s) > KNOWS_AFTER_S:
        found.append(f"driver {author} ended the job although it could know that its lease was lost")
    return found
