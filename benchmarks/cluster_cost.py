"""Estimate how long studies take on clusters that nobody has at hand: 10 to 100,000 trials on 1 to 1,000 cores.

What a task costs the driver is measured here: the real driver and the real Ray executor run empty tasks. Then the real
scheduler and the real driver loop run each study on a virtual clock, on which every trial takes the same time, and the
driver, one process, is busy with each task for the measured time and for as long as the scheduler takes here. Nothing
fails, and the store keeps up.
Run as `python benchmarks/cluster_cost.py`; takes some minutes.
"""

import argparse
import heapq
import time
from collections.abc import Generator, Sequence

from measure import print_machine

from cluster import Done, NodeJoined, Started
from cluster.ray_session import ray_session
from jobs.run import TaskResult
from jobs.run.driver import PackEvent, drive
from jobs.run.packs import Pack, make_packs
from jobs.run.scheduler import Rules, begin
from mnist_core.trial import Trial

TASKS = 2_000  # to measure
CORES_OF_NODE = 16
HEADROOM = 32
WARM_UP_S = 6.0  # until the first trial trains: docs/performance.md


class VirtualCluster:
    """An executor whose tasks take the time of their trials, on a clock that nobody waits for."""

    def __init__(self, nodes: Sequence[NodeJoined], trial_s: float, driver_s: float) -> None:
        self.now_s = 0.0
        self._trial_s = trial_s
        self._driver_s = driver_s
        self._free = [node.node for node in nodes for _ in range(node.slots)]
        self._queue: list[Pack] = []
        self._running: list[tuple[float, int, Pack, str]] = []
        self._started: list[tuple[Pack, str]] = []
        self._count = 0
        self._busy_s = time.process_time()

    def submit(self, pack: Pack) -> None:
        self._queue.append(pack)
        self._place()

    def cancel(self, pack: Pack) -> None:
        raise AssertionError(pack)  # nothing fails

    def exclude(self, node: str) -> None:
        raise AssertionError(node)

    def close(self) -> None:
        pass

    def _place(self) -> None:
        while self._queue and self._free:
            pack, node = self._queue.pop(0), self._free.pop()
            self._count += 1
            end_s = self.now_s + self._trial_s * len(pack.trials)
            heapq.heappush(self._running, (end_s, self._count, pack, node))
            self._started.append((pack, node))

    def next_event(self, timeout_s: float) -> PackEvent | None:
        if self._started:
            return Started(*self._started.pop())
        if not self._running or self._running[0][0] > self.now_s + timeout_s:
            self.now_s += timeout_s
            return None
        end_s, _, pack, node = heapq.heappop(self._running)
        busy_s = time.process_time()  # the scheduler and the loop run in earnest
        self.now_s = max(self.now_s, end_s) + self._driver_s + busy_s - self._busy_s  # what has ended waits for them
        self._busy_s = busy_s
        self._free.append(node)
        self._place()
        return Done(pack, TaskResult("0" * 64, node, ("finished",) * len(pack.trials)))


def make_trials(count: int) -> dict[str, Trial]:
    return {
        f"{seed:08d}": Trial(model="mlp", subset_size=2000, adaptive_lr=False, seed=seed, epochs=100)
        for seed in range(count)
    }


def rules() -> Rules:
    return Rules(2, lambda pack: 1e9, False, None, {}, HEADROOM)


def measure_driver_s() -> float:
    """Return the driver's CPU seconds for a task on a real Ray, in which nothing is done."""

    def task(pack: Pack, shared: None) -> Generator[int, None, TaskResult]:
        yield 1
        return TaskResult("0" * 64, "here", ("finished",))

    packs = [Pack({trial_id: trial}) for trial_id, trial in make_trials(TASKS).items()]
    with ray_session(workers=2, packages=("jobs", "mnist_core")) as session:
        executor = session.executor(task, None)
        begun_s = time.process_time()
        state = drive(begin(packs, rules()), session.nodes, executor, lambda event: event, lambda event: None)
        seconds = time.process_time() - begun_s
        executor.close()
    assert state.outcome == "finished", state.outcome
    return seconds / TASKS


def simulate(trials: int, cores: int, trial_s: float, driver_s: float) -> float:
    """Return how many seconds a study takes on the virtual clock."""
    nodes = [NodeJoined(f"n{first}", min(CORES_OF_NODE, cores - first)) for first in range(0, cores, CORES_OF_NODE)]
    executor = VirtualCluster(nodes, trial_s, driver_s)
    packs = make_packs(make_trials(trials), lambda trial: trial_s, cores)
    state = drive(
        begin(packs, rules()), nodes, executor, lambda event: event, lambda event: None, clock=lambda: executor.now_s
    )
    assert state.outcome == "finished", state.outcome
    return executor.now_s + WARM_UP_S


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trial-seconds", type=float, nargs="+", default=[1.0, 60.0])
    parser.add_argument("--trials", type=int, nargs="+", default=[10, 1_000, 100_000])
    parser.add_argument("--cores", type=int, nargs="+", default=[1, 16, 1_000])
    options = parser.parse_args()
    print_machine()
    driver_s = measure_driver_s()
    print(f"measured: {1000 * driver_s:.2f} ms of the driver's CPU for each task, of {TASKS}")
    print("simulated: seconds for one trial, trials, cores, hours in all, share of the cores' time spent training")
    for trial_s in options.trial_seconds:
        for trials in options.trials:
            for cores in options.cores:
                seconds = simulate(trials, cores, trial_s, driver_s)
                used = trials * trial_s / (seconds * min(cores, trials))
                print(f"{trial_s:6.0f} {trials:8d} {cores:6d} {seconds / 3600:12.3f} h {100 * used:6.1f} %", flush=True)


if __name__ == "__main__":
    main()
