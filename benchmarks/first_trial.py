"""Measure the time from `mnistjobs submit` to the start of the first trial.

Each run submits a small grid of both models to a new store, in a new process that starts its own Ray. The trials of a
part began to train when its first trial finished, less the seconds of all its trials. The earliest of these times
counts, and the earliest of the CNN, which must import torch first. Run as `python benchmarks/first_trial.py`.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq
from measure import print_machine

LIMIT_S = 6.0
GRID = """
name: first
dataset: {dataset}
grid: {{model: [mlp, cnn], subset_size: [1000], adaptive_lr: [false, true], seeds: 2}}
train: {{epochs: 3, batch_size: 32, learning_rate: 0.002}}
"""


def first_starts(dataset: str) -> dict[str, float]:
    """Submit the grid; return the seconds until the first trial of any model and the first CNN began to train."""
    with tempfile.TemporaryDirectory() as folder:
        grid = Path(folder, "grid.yaml")
        grid.write_text(GRID.format(dataset=dataset))
        store = Path(folder, "results")
        started = time.time()
        command = [sys.executable, "-m", "mnistjobs", "submit", str(grid), "--store", str(store), "--quiet"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        parts = [pq.read_table(path).to_pylist() for path in (store / "parts").iterdir()]
    starts: dict[str, list[float]] = {"mlp": [], "cnn": []}
    for rows in parts:
        began = min(row["finished_at"].timestamp() for row in rows) - sum(row["seconds"] for row in rows)
        starts[rows[0]["settings"]["model"]].append(began - started)
    return {"any trial": min(map(min, starts.values())), "CNN": min(starts["cnn"])}


def main() -> int:
    """Measure and print; return 1 if the limit is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--dataset", choices=["digits", "mnist"], default="digits")
    chosen = options.parse_args()
    runs = [first_starts(chosen.dataset) for _ in range(chosen.runs)]
    print_machine(("ray", "torch"))
    print(f"{'seconds until training':<24}{'n':>3}{'median':>8}{'min':>8}{'max':>8}{'limit':>8}")
    for name in runs[0]:
        seconds = [run[name] for run in runs]
        figures = "".join(f"{figure:8.2f}" for figure in (median(seconds), min(seconds), max(seconds)))
        print(f"{f'{chosen.dataset}, {name}':<24}{len(runs):>3}{figures}{LIMIT_S:8.1f}")
    return 1 if median(run["any trial"] for run in runs) > LIMIT_S else 0


if __name__ == "__main__":
    sys.exit(main())
