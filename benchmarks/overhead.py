"""Measure what a trial costs beyond its arithmetic, from plan to results on disk, beside Ray Tune on the same trials.

Trains 400 trials of next to no work on the digits, on one local Ray with a worker per core: with mnistjobs, with Tune
as it is, and with Tune's `reuse_actors=True`; Tune as it is gets fewer trials, for it takes a second for each. Tune's
trials call the same train() and report its result. Before anything is timed, all three have to find the same numbers.
The arithmetic is that of train() in this process, divided among the workers; starting Ray is not counted, but the
first row shows mnistjobs on a fresh Ray, whose workers have yet to import what they need. Run as
`python benchmarks/overhead.py` with the extra `bench`; takes some minutes.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path

from measure import Times, interleaved, one_thread, print_machine

import jobs
from cluster.on_ray import ray_place
from cluster.port import Place
from jobs.grid import load_grid
from jobs.submit import open_job, run_job
from mnist_core.datasets import Dataset, load_dataset
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


class Study:
    """The trials, and the ways to train them."""

    def __init__(self, folder: Path, place: Place, dataset: Dataset) -> None:
        self._folder, self._place, self._dataset = folder, place, dataset
        self._numbers = count()
        self._grid = folder / "overhead.yaml"
        self._grid.write_text(GRID.format(seeds=TRIALS // 2))
        self.trials: Sequence[Trial] = load_grid(self._grid).trials()

    def ours(self) -> Found:
        """Submit all trials into a new store."""
        plan = jobs.plan_grid(self._grid, self._new_folder())
        job = run_job(open_job(plan), plan, self._dataset, self._place, lambda event: None)
        assert job["status"] == "finished", job["failures"]
        self._job = plan.store.root, job["job_id"]
        return {}

    def found_by_ours(self) -> Found:
        """Read what the last submission has stored."""
        rows = jobs.read_trials(*self._job).to_pylist()
        settings = Trial.__dataclass_fields__
        return {
            Trial(**{name: row[name] for name in settings}): (row["test_loss"], row["test_accuracy"]) for row in rows
        }

    def tune(self, trials: Sequence[Trial], *, reuse_actors: bool) -> Found:
        """Train trials with Ray Tune, each reporting its result."""
        from ray import tune

        def train_one(config: dict[str, Trial], dataset: Dataset) -> None:
            *_, result = train([config["trial"]], dataset)
            assert isinstance(result, TrialResult)
            tune.report({"test_loss": result.test_loss, "test_accuracy": result.test_accuracy})

        tuner = tune.Tuner(
            tune.with_parameters(train_one, dataset=self._dataset),
            param_space={"trial": tune.grid_search(list(trials))},
            tune_config=tune.TuneConfig(reuse_actors=reuse_actors),
            run_config=tune.RunConfig(storage_path=str(self._new_folder()), verbose=0),
        )
        results = tuner.fit()
        metrics = [results[place].metrics or {} for place in range(len(results))]
        return {each["config"]["trial"]: (each["test_loss"], each["test_accuracy"]) for each in metrics}

    def arithmetic(self) -> Found:
        """Train all trials in this process and keep nothing."""
        with one_thread():
            results = [list(train([trial], self._dataset))[-1] for trial in self.trials]
        return {each.trial: (each.test_loss, each.test_accuracy) for each in results if isinstance(each, TrialResult)}

    def _new_folder(self) -> Path:
        return self._folder / str(next(self._numbers))


def main() -> int:
    """Check the results, measure and print; return 1 where a limit is missed."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--without-tune", action="store_true", help="measure mnistjobs alone")
    chosen = options.parse_args()
    dataset = load_dataset("digits")
    with tempfile.TemporaryDirectory() as folder, ray_place() as place:
        study = Study(Path(folder), place, dataset)
        few = study.trials[:TRIALS_OF_PLAIN_TUNE]
        started = time.perf_counter()
        study.ours()
        fresh = time.perf_counter() - started
        ways: dict[str, tuple[int, Callable[[], Found]]] = {
            "arithmetic": (TRIALS, study.arithmetic),
            "mnistjobs": (TRIALS, study.ours),
        }
        if not chosen.without_tune:
            ways["Tune, reuse_actors"] = TRIALS, lambda: study.tune(study.trials, reuse_actors=True)
            ways["Tune"] = TRIALS_OF_PLAIN_TUNE, lambda: study.tune(few, reuse_actors=False)
        check_equal(study, ways)
        times = interleaved({name: way for name, (_, way) in ways.items()}, chosen.rounds, warm_up=0)
    print_machine(("ray", "numpy"))
    return print_costs(times, {name: trials for name, (trials, _) in ways.items()}, fresh, place.workers)


def check_equal(study: Study, ways: Mapping[str, tuple[int, Callable[[], Found]]]) -> None:
    """Run every way once and compare what it finds, to the bit."""
    expected = study.arithmetic()
    for name, (trials, way) in ways.items():
        found = way()
        found = study.found_by_ours() if name == "mnistjobs" else found
        assert found == {trial: expected[trial] for trial in study.trials[:trials]}, name


def print_costs(times: Mapping[str, Times], trials: Mapping[str, int], fresh: float, workers: int) -> int:
    """Print milliseconds a trial beyond the arithmetic, and how many times as many Tune takes."""
    arithmetic = times["arithmetic"].median / TRIALS / workers
    print(f"arithmetic: {1000 * arithmetic:.2f} ms a trial with {workers} workers")
    print(
        f"{'ms a trial beyond it':<26}{'n':>3}{'trials':>8}{'median':>9}{'min':>9}{'max':>9}{'x ours':>9}{'limit':>9}"
    )

    def cost(name: str) -> list[float]:
        return [1000 * (seconds / trials[name] - arithmetic) for seconds in times[name].seconds]

    ours = Times(tuple(cost("mnistjobs")))
    rows = {"mnistjobs, fresh Ray": [1000 * (fresh / TRIALS - arithmetic)]}
    rows |= {name: cost(name) for name in times if name != "arithmetic"}
    limits = {"Tune, reuse_actors": LIMIT_REUSED, "Tune": LIMIT_PLAIN}
    missed = 0
    for name, costs in rows.items():
        way = Times(tuple(costs))
        ratio = ours.ratio(way) if name in limits else 0.0
        limit = f"> {limits[name]:.0f}x" if name in limits else f"{LIMIT_MS:.0f} ms"
        missed += ratio <= limits[name] if name in limits else way.median > LIMIT_MS
        figures = "".join(f"{figure:9.2f}" for figure in (way.median, min(costs), max(costs)))
        shown = f"{ratio:.0f}" if ratio else ""
        print(f"{name:<26}{len(costs):>3}{trials.get(name, TRIALS):>8}{figures}{shown:>9}{limit:>9}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
