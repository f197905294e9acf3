"""Measure what workers are worth: two beside one, with OMP_NUM_THREADS preset, how busy they are, the driver's memory.

Every figure is taken in a process with a Ray of its own, by turns. `equal` is the time of eight equal CNN trials on
workers that have trained before. `busy` is the share of the workers' time, from the first pack of a mixed grid until
the last one has started, in which they train. `memory` is how much the driver grows from the 2,000th of many items
that do nothing to the last. Run as `python benchmarks/workers.py`.
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
from measure import print_machine

import jobs
from cluster.on_ray import ray_place
from cluster.port import Place
from jobs.submit import open_job, run_job
from mnist_core.datasets import load_dataset

EQUAL = """
name: equal
dataset: digits
grid: {model: [cnn], subset_size: [1200], adaptive_lr: [true], seed: SEEDS}
train: {epochs: 10, batch_size: 32, learning_rate: 0.002}
"""
MIXED = """
name: mixed
dataset: digits
grid: {model: [mlp, cnn], subset_size: [200, 1200], adaptive_lr: [false, true], seeds: 6}
train: {epochs: 5, batch_size: 32, learning_rate: 0.002}
"""
ITEMS, SETTLED = 20_000, 2_000
SPEED_UP, BUSY, GROWTH_MB = 1.9, 0.95, 20.0


def train(grid: str, place: Place) -> tuple[float, list[tuple[float, float]]]:
    """Train a grid into a new store; return the seconds and from when to when each pack trained, from its start."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "grid.yaml")
        path.write_text(grid)
        plan = jobs.plan_grid(path, Path(folder, "results"))
        dataset = load_dataset("digits")
        began, started = time.time(), time.perf_counter()
        job = run_job(open_job(plan), plan, dataset, place, lambda event: None)
        seconds = time.perf_counter() - started
        assert job["status"] == "finished", job["failures"]
        parts = [pq.read_table(part).to_pylist() for part in plan.store.parts.iterdir()]
    ends = [max(row["finished_at"].timestamp() for row in rows) - began for rows in parts]
    spans = [(end - sum(row["seconds"] for row in rows), end) for rows, end in zip(parts, ends, strict=True)]
    return seconds, sorted(spans)


def equal(workers: int) -> float:
    """Time eight equal trials."""
    with ray_place(workers=workers) as place:
        train(EQUAL.replace("SEEDS", "[98, 99]"), place)
        return train(EQUAL.replace("SEEDS", "[0, 1, 2, 3, 4, 5, 6, 7]"), place)[0]


def busy(workers: int) -> float:
    """Take the share of training in the workers' time from the first pack to the start of the last."""
    with ray_place(workers=workers) as place:
        train(EQUAL.replace("SEEDS", "[98, 99]"), place)
        _, spans = train(MIXED, place)
    first, tail = spans[0][0], spans[-1][0]
    return sum(min(end, tail) - start for start, end in spans) / (tail - first) / workers


def memory(workers: int) -> float:
    """Take the MB that the driver grows by between two moments of a long queue."""

    def nothing(item: int, shared: None) -> Generator[None, None, int]:
        return item
        yield

    def resident_mb() -> float:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    with ray_place(workers=workers) as place:
        for done, _ in enumerate(place.map(nothing, range(ITEMS), None), start=1):
            if done == SETTLED:
                settled = resident_mb()
        return resident_mb() - settled


MEASURES: dict[str, Callable[[int], float]] = {"equal": equal, "busy": busy, "memory": memory}


def measured(what: str, workers: int, **environment: str) -> float:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, "--only", what, "--workers", str(workers)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, **environment})
    return float(json.loads(done.stdout))


def main() -> int:
    """Measure and print; return 1 where a limit is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--only", choices=MEASURES, help="one figure of this process")
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--rounds", type=int, default=3)
    chosen = options.parse_args()
    if chosen.only:
        print(json.dumps(MEASURES[chosen.only](chosen.workers)))
        return 0
    print_machine(("ray", "numpy", "torch"))
    rounds = []
    for _ in range(chosen.rounds):
        one, two, preset = (
            measured("equal", 1),
            measured("equal", 2),
            measured("equal", 2, OMP_NUM_THREADS="64", MKL_NUM_THREADS="64", OPENBLAS_NUM_THREADS="64"),
        )
        rounds.append({"one / two workers": one / two, "OMP_NUM_THREADS=64 / unset": preset / two})
        rounds[-1]["busy until the tail"] = measured("busy", 2)
    grown = measured("memory", 2)
    print(f"{'':<28}{'n':>3}{'median':>8}{'min':>8}{'max':>8}  limit")
    limits = {"one / two workers": f">= {SPEED_UP}", "busy until the tail": f">= {BUSY}"}
    for name in rounds[0]:
        values = [each[name] for each in rounds]
        figures = "".join(f"{value:8.2f}" for value in (median(values), min(values), max(values)))
        print(f"{name:<28}{len(values):>3}{figures}  {limits.get(name, 'about 1')}")
    print(f"driver, items {SETTLED:,} to {ITEMS:,}: {grown:+.1f} MB; limit {GROWTH_MB:.0f} MB")
    met = [
        median(each["one / two workers"] for each in rounds) >= SPEED_UP,
        median(each["busy until the tail"] for each in rounds) >= BUSY,
        grown <= GROWTH_MB,
    ]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
