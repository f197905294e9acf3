"""Measure the speed-up of a second worker, the effect of OMP_NUM_THREADS, idle time, and the driver's memory.

Every value is measured in a new process with its own Ray. `speed_up` is the ratio of the times of eight equal CNN
trials on one worker and on two, alternating, on workers that have trained before. `equal` is the time of these trials
on two workers, to be compared between processes. `busy` is the fraction of the workers' time spent in training, from
the first pack of a mixed grid to the start of its last. `memory` is the growth of the driver from the 2,000th of many
empty items to the last. Run as `python benchmarks/workers.py`.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
from measure import interleaved, print_machine

import mnistjobs
from cluster import Done, Session
from cluster.ray_session import ray_session
from jobs.run import open_job, run_job
from mnist_core.data import load_dataset

EQUAL = """
name: equal
dataset: digits
grid: {model: [cnn], subset_size: [1200], adaptive_lr: [true], seeds: 8}
train: {epochs: 10, batch_size: 32, learning_rate: 0.002}
"""
WARM_UP = EQUAL.replace("epochs: 10", "epochs: 1").replace("seeds: 8", "seed: [98, 99]")
MIXED = """
name: mixed
dataset: digits
grid: {model: [mlp, cnn], subset_size: [200, 1200], adaptive_lr: [false, true], seeds: 6}
train: {epochs: 5, batch_size: 32, learning_rate: 0.002}
"""
ITEMS, SETTLED = 20_000, 2_000
SPEED_UP, BUSY, GROWTH_MB = 1.9, 0.95, 20.0
WORKERS, ROUNDS = 2, 7
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def train(grid: str, session: Session, workers: int = WORKERS) -> tuple[float, list[tuple[float, float]]]:
    """Train a grid to a new store; return the seconds, and the start and end of each pack in seconds, sorted."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "grid.yaml")
        path.write_text(grid)
        plan = mnistjobs.plan_grid(path, Path(folder, "results"))
        dataset = load_dataset("digits")
        began, started = time.time(), time.perf_counter()
        job = run_job(open_job(plan), plan, dataset, session, lambda event: None, workers)
        seconds = time.perf_counter() - started
        assert job.state == "finished", job.failures
        parts = [pq.read_table(part).to_pylist() for part in plan.store.parts.iterdir()]
    ends = [max(row["finished_at"].timestamp() for row in rows) - began for rows in parts]
    spans = [(end - sum(row["seconds"] for row in rows), end) for rows, end in zip(parts, ends, strict=True)]
    return seconds, sorted(spans)


def speed_up() -> list[float]:
    """Return, for each round, the time of eight equal trials on one worker divided by that on two."""
    with ray_session(workers=WORKERS) as session:
        train(WARM_UP, session)
        times = interleaved({"one": lambda: train(EQUAL, session, 1), "two": lambda: train(EQUAL, session)}, ROUNDS)
    return [one / two for one, two in zip(times["one"].seconds, times["two"].seconds, strict=True)]


def equal() -> list[float]:
    """Return the seconds of eight equal trials on two workers, three times."""
    with ray_session(workers=WORKERS) as session:
        train(WARM_UP, session)
        return [train(EQUAL, session)[0] for _ in range(3)]


def busy() -> list[float]:
    """Return the fraction of the workers' time spent in training, from the first pack to the start of the last."""
    with ray_session(workers=WORKERS) as session:
        train(WARM_UP, session)
        _, spans = train(MIXED, session)
    first, tail = spans[0][0], spans[-1][0]
    return [sum(min(end, tail) - start for start, end in spans) / (tail - first) / WORKERS]


def memory() -> list[float]:
    """Return the MB by which the driver grows over a long queue."""

    def nothing(item: int, shared: None) -> Generator[None, None, int]:
        return item
        yield

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    with ray_session(workers=WORKERS) as session:
        executor = session.executor(nothing, None)
        submitted = done = 0
        while done < ITEMS:
            while submitted < min(done + WORKERS, ITEMS):
                executor.submit(submitted)
                submitted += 1
            if isinstance(executor.next_event(1.0), Done):
                done += 1
                if done == SETTLED:
                    settled = resident_mb()
        return [resident_mb() - settled]


MEASURES: dict[str, Callable[[], list[float]]] = {"speed_up": speed_up, "equal": equal, "busy": busy, "memory": memory}


def measured(what: str, **environment: str) -> list[float]:
    """Run one measurement in a new process."""
    command = [sys.executable, __file__, "--only", what]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, **environment})
    figures: list[float] = json.loads(done.stdout)
    return figures


def main() -> int:
    """Measure and print; return 1 if a limit is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", choices=MEASURES, help="run one measurement in this process")
    chosen = options.parse_args()
    if chosen.only:
        print(json.dumps(MEASURES[chosen.only]()))
        return 0
    print_machine(("ray", "numpy", "torch"))
    figures = {"one / two workers": measured("speed_up"), "OMP_NUM_THREADS=64 / unset": [], "busy until the tail": []}
    for _ in range(3):
        unset, preset = measured("equal"), measured("equal", **dict.fromkeys(THREADS, "64"))
        figures["OMP_NUM_THREADS=64 / unset"].append(median(preset) / median(unset))
        figures["busy until the tail"] += measured("busy")
    (grown,) = measured("memory")
    print(f"{'':<28}{'n':>3}{'median':>8}{'min':>8}{'max':>8}  limit")
    limits = {"one / two workers": SPEED_UP, "busy until the tail": BUSY}
    for name, values in figures.items():
        of_values = "".join(f"{value:8.2f}" for value in (median(values), min(values), max(values)))
        print(f"{name:<28}{len(values):>3}{of_values}  {f'>= {limits[name]}' if name in limits else 'about 1'}")
    print(f"driver, items {SETTLED:,} to {ITEMS:,}: {grown:+.1f} MB; limit {GROWTH_MB:.0f} MB")
    missed = [name for name, limit in limits.items() if median(figures[name]) < limit]
    return 1 if missed or grown > GROWTH_MB else 0


if __name__ == "__main__":
    sys.exit(main())
