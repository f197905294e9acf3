"""Measure the time and memory of the commands plan, summary and compact on studies of up to 100,000 trials.

For 10, 100, ... trials of 100 epochs it fills a store through the function with which tasks write their parts: 100
trials a part, with plausible random numbers, in the order in which `submit` starts trials. Then it runs each command
several times, each time in a new process. Nothing is trained, and no weights are written. Run as
`python benchmarks/scale.py` (some minutes and 1 GB of disk), or `python benchmarks/scale.py 10 1000` for these sizes,
which must be multiples of ten.
"""

import argparse
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import print_machine
from numpy.typing import NDArray

from jobs.grid.grid import load_grid
from jobs.run import Plan, make_plan, open_job
from jobs.store.job_models import JobState
from jobs.store.job_record import end_job
from jobs.store.layout import open_store
from jobs.store.parts import write_part
from jobs.store.schemas import EPOCH, PART, SETTINGS
from mnist_core.trial import Trial

EPOCHS = 100
SEEDS = 10
IMAGES = 5000  # of the validation set, as of the test set
LIMITS = {"plan": (5.0, 500), "summary": (10.0, 2000)}  # seconds and MB, at MAX_TRIALS
MAX_TRIALS = 100_000
# A small process in between, because a child's memory includes that of the process it was forked from.
LAUNCHER = """
import json, resource, subprocess, sys, time
started = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([code, time.perf_counter() - started, usage.ru_utime + usage.ru_stime, usage.ru_maxrss]))
"""


@dataclass(frozen=True)
class Cost:
    """Hold the time and memory of one command."""

    seconds: float
    cpu_seconds: float  # less disturbed by other processes than `seconds`
    megabytes: float  # peak resident memory


def write_grid(folder: Path, n: int) -> Path:
    """Write a grid of n trials: n / 10 configurations with ten seeds each."""
    configurations = n // SEEDS
    rates = [round(0.0001 * (rate + 1), 4) for rate in range(min(configurations, 100))]
    widths = [16 + width for width in range(configurations // len(rates))]
    axes = f"{{model: [mlp], subset_size: [2000], adaptive_lr: [true], learning_rate: {rates}, hidden_units: {widths}"
    path = folder / f"scale-{n}.yaml"
    path.write_text(f"name: scale-{n}\ndataset: mnist\ngrid: {axes}, seeds: {SEEDS}}}\ntrain: {{epochs: {EPOCHS}}}\n")
    return path


def fill_store(plan: Plan, trials_per_part: int) -> None:
    """Write a row for every trial of the plan, and its job."""
    rng, store, job = np.random.default_rng(0), plan.store, open_job(plan)
    for start in range(0, len(plan.missing), trials_per_part):
        ids = plan.missing[start : start + trials_per_part]
        write_part(store, part_table(ids, [plan.trials[each] for each in ids], rng))
    end_job(store, job, JobState.finished)


def part_table(ids: Sequence[str], trials: Sequence[Trial], rng: np.random.Generator) -> pa.Table:
    """Make rows of schema PART, with plausible learning curves."""
    n = len(ids)
    curves = _curves(trials, rng)
    last = {name: values[:, -1] for name, values in curves.items()}
    records = pa.StructArray.from_arrays([pa.array(curves[field.name].ravel()) for field in EPOCH], fields=EPOCH)
    settings = pa.array([asdict(trial) for trial in trials], pa.struct(SETTINGS))
    labels = np.random.default_rng(1).integers(0, 10, IMAGES, np.uint8)
    test = np.round(last["validation_accuracy"] * IMAGES + rng.integers(-40, 40, n)) / IMAGES
    same = {
        "status": "finished",
        "dataset": "mnist",
        "dataset_fingerprint": "0" * 64,
        "epochs_run": EPOCHS,
        "collapsed": False,
        "device": "cpu",
        "kernels": "any",
        "host": platform.node(),
        "attempt": 1,
        "finished_at": datetime.now(UTC),
        "mnistjobs_version": "0",
        "python_version": platform.python_version(),
        "numpy_version": np.__version__,
        "torch_version": "0",
    }
    measured = ("train_accuracy", "train_loss", "validation_accuracy", "validation_loss")
    columns = {
        "trial_id": ids,
        "settings": settings,
        "test_accuracy": test,
        "test_loss": rng.gamma(2, 0.1, n),
        **{name: last[name] for name in measured},
        "seconds": curves["epoch_seconds"].sum(axis=1),
        "epochs": pa.ListArray.from_arrays(np.arange(0, (n + 1) * EPOCHS, EPOCHS, dtype=np.int32), records),
        "confusion": list(rng.multinomial(IMAGES // 10, _confusion(), (n, 10)).reshape(n, 100)),
        "actual": [labels.tobytes()] * n,
        "predicted": [np.where(rng.random(IMAGES) < 0.95, labels, 0).astype(np.uint8).tobytes() for _ in ids],
        "weights_sha256": [rng.bytes(32).hex() for _ in ids],
        **{name: pa.repeat(value, n) for name, value in same.items()},
    }
    return pa.table({name: columns[name] for name in PART.names}).cast(PART)


def _curves(trials: Sequence[Trial], rng: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Make the columns of schema EPOCH, each of shape (trials, epochs)."""
    shape = (len(trials), EPOCHS)
    rates = np.array([trial.learning_rate for trial in trials])
    loss = 2.3 * np.exp(-np.arange(EPOCHS) / 30) + rng.gamma(2, 0.01, shape)
    train = 1 - loss / 4
    return {
        "epoch": np.broadcast_to(np.arange(1, EPOCHS + 1), shape),
        "epoch_learning_rate": rates[:, None] * 0.97 ** np.arange(EPOCHS),
        "train_loss": loss,
        "train_accuracy": np.round(train * 2000) / 2000,
        "validation_loss": loss + rng.gamma(2, 0.01, shape),
        "validation_accuracy": np.round((train - 0.02) * IMAGES) / IMAGES,
        "epoch_seconds": rng.gamma(9, 0.001, shape),
    }


def _confusion() -> NDArray[np.float64]:
    """Return the probability of each prediction for each digit, (10, 10)."""
    chances: NDArray[np.float64] = np.full((10, 10), 0.005) + np.eye(10) * 0.95
    return chances


def run_command(*words: object) -> Cost:
    """Run a command of mnistjobs in a new process."""
    command = [sys.executable, "-I", "-c", LAUNCHER, sys.executable, "-m", "mnistjobs", *map(str, words)]
    code, seconds, of_cpu, kilobytes = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
    if code:
        sys.exit(f"mnistjobs {' '.join(map(str, words))}: exit code {code}")
    return Cost(seconds, of_cpu, kilobytes * 1024 / 1e6)


def measure(n: int, folder: Path, repeats: int, trials_per_part: int) -> None:
    """Make a store of n trials, run every command on it, and print the costs."""
    grid, store, name = write_grid(folder, n), folder / "store", f"scale-{n}"
    subprocess.run([sys.executable, __file__, "--fill", grid, store, str(trials_per_part)], check=True)
    print(f"\n{n} trials: {_shape(store)}")
    _repeat(n, "plan, nothing stored", "plan", repeats, "plan", grid, "--store", folder / "none")
    _repeat(n, "plan, all stored", "plan", repeats, "plan", grid, "--store", store)
    _repeat(n, "summary", "summary", repeats, "summary", name, "--store", store)
    compacted = folder / "compacted"
    costs = []
    for _ in range(repeats):
        shutil.rmtree(compacted, ignore_errors=True)
        shutil.copytree(store, compacted)
        costs.append(run_command("compact", "--store", compacted))
    _print_cost(n, "compact", "compact", costs)
    _repeat(n, "compact, nothing to do", "compact", repeats, "compact", "--store", compacted)
    print(f"compacted: {_shape(compacted)}")
    _repeat(n, "plan, all stored", "plan", repeats, "plan", grid, "--store", compacted)
    _repeat(n, "summary", "summary", repeats, "summary", name, "--store", compacted)


def _repeat(n: int, title: str, limit: str, repeats: int, *words: object) -> None:
    _print_cost(n, title, limit, [run_command(*words) for _ in range(repeats)])


def _print_cost(n: int, title: str, limit: str, costs: Sequence[Cost]) -> None:
    seconds = [cost.seconds for cost in costs]
    is_limited = limit in LIMITS and n == MAX_TRIALS
    allowed = f"  (limit {LIMITS[limit][0]:.0f} s, {LIMITS[limit][1]} MB)" if is_limited else ""
    spread = f"{median(seconds):7.2f} s [{min(seconds):.2f}, {max(seconds):.2f}]"
    of_cpu = median(cost.cpu_seconds for cost in costs)
    used = f"CPU {of_cpu:6.2f} s {1000 * of_cpu / n:8.3f} ms a trial {max(cost.megabytes for cost in costs):5.0f} MB"
    print(f"  {title:<22} {spread:<25} {used}{allowed}", flush=True)


def _shape(store: Path) -> str:
    """Return a description of the parts of a store."""
    files = [pq.read_metadata(path) for path in (store / "parts").iterdir()]
    groups = [file.row_group(number) for file in files for number in range(file.num_row_groups)]
    columns = [group.column(number) for group in groups for number in range(group.num_columns)]
    epochs = [column.num_values for column in columns if column.path_in_schema == "epochs.list.element.epoch"]
    size = sum(path.stat().st_size for path in (store / "parts").iterdir()) / 1e6
    groups_of = f"{len(groups)} row groups of {min(epochs)} to {max(epochs)} rows of epochs"
    return f"{sum(epochs)} rows of epochs, {len(files)} parts, {groups_of}, {size:.1f} MB"


def main() -> None:
    """Make the stores, run the commands and print the costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("trials", type=int, nargs="*", default=[10, 100, 1000, 10_000, MAX_TRIALS])
    parser.add_argument("--repeats", type=int, default=3, help="of every command")
    parser.add_argument("--trials-per-part", type=int, default=100)
    parser.add_argument(
        "--fill", nargs=3, help=argparse.SUPPRESS
    )  # runs in a new process, because filling takes memory
    given = parser.parse_args()
    if given.fill:
        grid, store, trials_per_part = given.fill
        fill_store(make_plan(load_grid(Path(grid)), open_store(Path(store))), int(trials_per_part))
        return
    print_machine(("numpy", "pyarrow"))
    print(f"{given.repeats} repeats: median [min, max] of the time, median CPU time, peak memory over all repeats")
    for n in given.trials:
        with tempfile.TemporaryDirectory() as folder:
            measure(n, Path(folder), given.repeats, given.trials_per_part)


if __name__ == "__main__":
    main()
