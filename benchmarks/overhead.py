"""Measure what a trial costs beyond its arithmetic, from plan to results on disk, beside Ray Tune on the same trials.

Trains 400 trials of next to no work on the digits, on one local Ray with a worker per core: with mnistjobs, with Tune
as it is, and with Tune's `reuse_actors=True`; Tune as it is gets fewer trials, for it takes a second for each. Tune's
trials call the same train() and report its result. All have to find the numbers that train() finds in this process.
A trial's arithmetic is the seconds that it reports itself, divided among the workers. Starting Ray is not counted;
mnistjobs runs twice a round, first on workers that have yet to start and to import what they need, for Tune leaves
none behind. Run as `python benchmarks/overhead.py` with the extra `bench`; takes some minutes.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import median

from measure import Times, one_thread, print_machine

import mnistjobs
from cluster.interface import Place
from cluster.ray_session import ray_place
from jobs.grid.grid import load_grid
from jobs.run.driver import open_job, run_job
from mnist_core.data import Dataset, load_dataset
from mnist_core.training import TrialResult, train
from mnist_core.trial import Trial

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's tables
TRIALS = 400
TRIALS_OF_PLAIN_TUNE = 24
LIMIT_MS, LIMIT_PLAIN, LIMIT_REUSED = 10.0, 100.0, 10.0
GRID = """
name: overhead
dataset: digits
grid: {{model: [mlp], subset_size: [20], adaptive_lr: [false, true], seeds: {seeds}}}
train: {{epochs: 2, batch_size: 16, learning_rate: 0.01, hidden_units: 4}}
"""
Found = dict[Trial, tuple[float | None, float | None]]  # test loss and accuracy


@dataclass(frozen=True)
class Run:
    """What one way took and found."""

    seconds: float
    arithmetic: float  # seconds that the trials report, in all
    found: Found

    def overhead_ms(self, workers: int) -> float:
        """Take what a trial cost beyond its arithmetic."""
        return 1000 * (self.seconds - self.arithmetic / workers) / len(self.found)


class Study:
    """The trials, and the ways to train them."""

    def __init__(self, folder: Path, place: Place, dataset: Dataset) -> None:
        self._folder, self._place, self._dataset = folder, place, dataset
        self._numbers = count()
        self._grid = folder / "overhead.yaml"
        self._grid.write_text(GRID.format(seeds=TRIALS // 2))
        self.trials: Sequence[Trial] = load_grid(self._grid).trials()

    def ours(self) -> Run:
        """Submit all trials into a new store."""
        started = time.perf_counter()
        plan = mnistjobs.plan_grid(self._grid, self._new_folder())
        job = run_job(open_job(plan), plan, self._dataset, self._place, lambda event: None)
        seconds = time.perf_counter() - started
        assert job.state == "finished", job.failures
        rows = mnistjobs.read_trials(plan.store.root, job.job_id).to_pylist()
        names = Trial.__dataclass_fields__
        found = {Trial(**{name: row[name] for name in names}): (row["test_loss"], row["test_accuracy"]) for row in rows}
        return Run(seconds, sum(row["seconds"] for row in rows), found)

    def tune(self, trials: Sequence[Trial], *, reuse_actors: bool) -> Run:
        """Train trials with Ray Tune, each reporting its result."""
        from ray import tune

        def train_one(config: dict[str, Trial], dataset: Dataset) -> None:
            *_, result = train([config["trial"]], dataset)
            assert isinstance(result, TrialResult)
            loss, accuracy = result.test_loss, result.test_accuracy
            tune.report({"test_loss": loss, "test_accuracy": accuracy, "seconds": result.seconds})

        started = time.perf_counter()
        tuner = tune.Tuner(
            tune.with_parameters(train_one, dataset=self._dataset),
            param_space={"trial": tune.grid_search(list(trials))},
            tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=str(self._new_folder()), verbose=0),
        )
        results = tuner.fit()
        seconds = time.perf_counter() - started
        metrics = [results[place].metrics or {} for place in range(len(results))]
        found = {each["config"]["trial"]: (each["test_loss"], each["test_accuracy"]) for each in metrics}
        return Run(seconds, sum(each["seconds"] for each in metrics), found)

    def here(self) -> Found:
        """Train all trials in this process and keep nothing."""
        with one_thread():
            results = [list(train([trial], self._dataset))[-1] for trial in self.trials]
        return {each.trial: (each.test_loss, each.test_accuracy) for each in results if isinstance(each, TrialResult)}

    def _new_folder(self) -> Path:
        return self._folder / str(next(self._numbers))


def main() -> int:
    """Measure, check the results and print; return 1 where a limit is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--without-tune", action="store_true", help="measure mnistjobs alone")
    chosen = options.parse_args()
    dataset = load_dataset("digits")
    with tempfile.TemporaryDirectory() as folder, ray_place() as place:
        study = Study(Path(folder), place, dataset)
        few = study.trials[:TRIALS_OF_PLAIN_TUNE]
        ways: dict[str, Callable[[], Run]] = {"mnistjobs, new workers": study.ours, "mnistjobs": study.ours}
        if not chosen.without_tune:
            ways["Tune, reuse_actors"] = lambda: study.tune(study.trials, reuse_actors=True)
            ways["Tune"] = lambda: study.tune(few, reuse_actors=False)
        expected = study.here()
        runs: dict[str, list[Run]] = {name: [] for name in ways}
        for _ in range(chosen.rounds):
            for name, way in ways.items():
                run = way()
                assert run.found == {trial: expected[trial] for trial in run.found}, name
                runs[name].append(run)
    print_machine(("ray", "numpy"))
    return print_costs(runs, place.workers)


def print_costs(runs: Mapping[str, Sequence[Run]], workers: int) -> int:
    """Print milliseconds a trial beyond the arithmetic, and how many times as many Tune takes."""
    arithmetic = median(run.arithmetic / len(run.found) for run in runs["mnistjobs"])
    print(f"arithmetic: {1000 * arithmetic:.2f} ms a trial; {workers} workers")
    print(
        f"{'ms a trial beyond it':<26}{'n':>3}{'trials':>8}{'median':>9}{'min':>9}{'max':>9}{'x ours':>9}{'limit':>9}"
    )
    costs = {name: Times(tuple(run.overhead_ms(workers) for run in each)) for name, each in runs.items()}
    limits = {"Tune, reuse_actors": LIMIT_REUSED, "Tune": LIMIT_PLAIN}
    missed = 0
    for name, cost in costs.items():
        ratio = costs["mnistjobs"].ratio(cost)
        missed += ratio <= limits[name] if name in limits else cost.median > LIMIT_MS
        limit = f"> {limits[name]:.0f}x" if name in limits else f"{LIMIT_MS:.0f} ms"
        figures = "".join(f"{figure:9.2f}" for figure in (cost.median, min(cost.seconds), max(cost.seconds)))
        print(f"{name:<26}{len(cost.seconds):>3}{len(runs[name][0].found):>8}{figures}{ratio:9.1f}{limit:>9}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
