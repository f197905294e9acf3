"""Measure how well `mnistjobs submit --within` keeps its budget, on a study that takes about five times as long.

Each run submits the study to a new store, in a new process that starts its own Ray. It has to end within 5 % of its
budget, and its summary has to have the same n in every row. With --complete, the last run's grid is submitted again
without a budget, and its tables have to equal those of a run that never had one; that takes ten more minutes.
Run as `python benchmarks/within.py`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from measure import print_machine

TOLERANCE = 0.05  # of the budget
GRID = """
name: within
dataset: digits
grid: {{model: [mlp, cnn], subset_size: [400, 1200], adaptive_lr: [false, true], seeds: {seeds}}}
train: {{epochs: 30, batch_size: 32, learning_rate: 0.002}}
"""
WALL_CLOCK = {"seconds", "epoch_seconds", "host", "attempt", "finished_at"}
TABLES = ("trials", "metrics", "confusion", "predictions", "summary", "contrasts", "effects")


def submit(grid: Path, store: Path, *options: str) -> tuple[float, str]:
    """Submit a grid; return the seconds that it took, and the last line that was printed."""
    command = [sys.executable, "-m", "mnistjobs", "submit", str(grid), "--store", str(store), "--quiet", *options]
    started = time.monotonic()
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return time.monotonic() - started, (done.stdout.splitlines() or done.stderr.splitlines() or [""])[-1]


def latest_job(store: Path) -> Path:
    """Return the folder of the latest job of a store."""
    return max((store / "jobs").iterdir(), key=lambda folder: (folder / "job.json").stat().st_mtime_ns)


def differing_tables(one: Path, other: Path) -> list[str]:
    """Name the tables of two jobs that differ, apart from wall-clock times."""
    found = []
    for name in TABLES:
        first, second = (pq.read_table(folder / f"{name}.parquet") for folder in (one, other))
        dropped = WALL_CLOCK & set(first.column_names)
        if not first.drop_columns(dropped).equals(second.drop_columns(dropped)):
            found.append(name)
    return found


def main() -> int:
    """Measure and print; return 1 if a budget is missed, or n differs, or the completed study does."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10)
    options.add_argument("--within", type=int, default=60, metavar="SECONDS")
    options.add_argument("--seeds", type=int, default=50)
    options.add_argument("--complete", action="store_true")
    chosen = options.parse_args()
    print_machine(("ray", "torch"))
    print(f"{'run':>3}{'seconds':>9}{'of budget':>11}  n of the rows; what was said")
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder, "grid.yaml")
        grid.write_text(GRID.format(seeds=chosen.seeds))
        for run in range(chosen.runs):
            store = Path(folder, f"run-{run}")
            seconds, line = submit(grid, store, "--within", f"{chosen.within}s")
            n = sorted(set(pq.read_table(latest_job(store) / "summary.parquet")["n"].to_pylist()))
            is_kept = abs(seconds - chosen.within) <= TOLERANCE * chosen.within and len(n) == 1 and n[0] > 0
            missed += not is_kept
            print(f"{run:3}{seconds:9.1f}{seconds / chosen.within:10.1%}{'' if is_kept else ' !'}  {n}; {line}")
        if chosen.complete:
            submit(grid, store)
            submit(grid, Path(folder, "alone"))
            differing = differing_tables(latest_job(store), latest_job(Path(folder, "alone")))
            print(f"completed without a budget: {', '.join(differing) or 'nothing'} differs from a run that had none")
            missed += bool(differing)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
