"""Measure the overhead of a trial, from plan to results on disk, and that of Ray Tune on the same trials.

Trains 400 tiny trials on the digits, on one local Ray with a worker per core: with mnistjobs, with Tune, and with Tune
and `reuse_actors=True`. Tune without it takes about a second for each trial, so it gets fewer trials. Tune's trials
call the same train() and report its result. All variants must find the numbers that train() finds in this process.
The overhead is the wall time less the seconds that the trials report, divided among the workers. Starting Ray is not
counted. mnistjobs runs twice in every round, first on workers that must start and import their modules, because Tune
leaves no workers running. Run as `python benchmarks/overhead.py` with the extra `bench`; takes some minutes.
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
from cluster import Session
from cluster.ray_session import ray_session
from jobs.grid.grid import load_grid
from jobs.run import open_job, run_job
from mnist_core.data import Dataset, load_dataset
from mnist_core.training import TrialResult, train
from mnist_core.trial import Trial

os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # no tables from Tune
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
    """Hold the time of one variant, and the results of its trials."""

    seconds: float
    arithmetic: float  # seconds that the trials report, in all
    found: Found

    def overhead_ms(self, workers: int) -> float:
        """Return the milliseconds for each trial beyond its arithmetic."""
        return 1000 * (self.seconds - self.arithmetic / workers) / len(self.found)


class Study:
    """Hold the trials, and train them in each variant."""

    def __init__(self, folder: Path, session: Session, dataset: Dataset) -> None:
        self._folder, self._session, self._dataset = folder, session, dataset
        self._numbers = count()
        self._grid = folder / "overhead.yaml"
        self._grid.write_text(GRID.format(seeds=TRIALS // 2))
        self.trials: Sequence[Trial] = load_grid(self._grid).trials()

    def mnistjobs(self) -> Run:
        """Submit all trials to a new store."""
        started = time.perf_counter()
        plan = mnistjobs.plan_grid(self._grid, self._new_folder())
        job = run_job(open_job(plan), plan, self._dataset, self._session, lambda event: None)
        seconds = time.perf_counter() - started
        assert job.state == "finished", job.failures
        rows = mnistjobs.read_trials(plan.store.root, job.job_id).to_pylist()
        names = Trial.__dataclass_fields__
        found = {Trial(**{name: row[name] for name in names}): (row["test_loss"], row["test_accuracy"]) for row in rows}
        return Run(seconds, sum(row["seconds"] for row in rows), found)

    def tune(self, trials: Sequence[Trial], *, reuse_actors: bool) -> Run:
        """Train trials with Ray Tune."""
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
        metrics = [results[index].metrics or {} for index in range(len(results))]
        found = {each["config"]["trial"]: (each["test_loss"], each["test_accuracy"]) for each in metrics}
        return Run(seconds, sum(each["seconds"] for each in metrics), found)

    def here(self) -> Found:
        """Train all trials in this process, and store nothing."""
        with one_thread():
            results = [list(train([trial], self._dataset))[-1] for trial in self.trials]
        return {each.trial: (each.test_loss, each.test_accuracy) for each in results if isinstance(each, TrialResult)}

    def _new_folder(self) -> Path:
        return self._folder / str(next(self._numbers))


def main() -> int:
    """Measure, check the results and print; return 1 if a limit is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--without-tune", action="store_true", help="measure mnistjobs alone")
    chosen = options.parse_args()
    dataset = load_dataset("digits")
    with tempfile.TemporaryDirectory() as folder, ray_session() as session:
        study = Study(Path(folder), session, dataset)
        few = study.trials[:TRIALS_OF_PLAIN_TUNE]
        variants: dict[str, Callable[[], Run]] = {
            "mnistjobs, new workers": study.mnistjobs,
            "mnistjobs": study.mnistjobs,
        }
        if not chosen.without_tune:
            variants["Tune, reuse_actors"] = lambda: study.tune(study.trials, reuse_actors=True)
            variants["Tune"] = lambda: study.tune(few, reuse_actors=False)
        expected = study.here()
        runs: dict[str, list[Run]] = {name: [] for name in variants}
        for _ in range(chosen.rounds):
            for name, variant in variants.items():
                run = variant()
                assert run.found == {trial: expected[trial] for trial in run.found}, name
                runs[name].append(run)
    print_machine(("ray", "numpy"))
    return print_costs(runs, sum(node.slots for node in session.nodes))


def print_costs(runs: Mapping[str, Sequence[Run]], workers: int) -> int:
    """Print the overhead of a trial in milliseconds, and Tune's as a multiple of it."""
    arithmetic = median(run.arithmetic / len(run.found) for run in runs["mnistjobs"])
    print(f"arithmetic: {1000 * arithmetic:.2f} ms a trial; {workers} workers")
    print(f"{'overhead, ms a trial':<26}{'n':>3}{'trials':>8}{'median':>9}{'min':>9}{'max':>9}{'ratio':>9}{'limit':>9}")
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
