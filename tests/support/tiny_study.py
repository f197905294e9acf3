"""Train tiny trials into a store, for tests of what is written and read there."""

from pathlib import Path

import pyarrow as pa

import mnistjobs
from cluster import Done, InProcessSession
from jobs.run import Pack, TaskContext, TaskResult, run_pack
from jobs.store.job_models import Job
from jobs.store.layout import Store
from jobs.store.parts import read_parts
from mnist_core.data.datasets import Dataset
from mnist_core.trial import Trial, trial_id
from support.executors import run_all
from support.idx_files import write_idx_folder

DIVERGING = 1e38  # a learning rate after whose first step the loss is not a number
GRID = """\
name: {name}
dataset: {{path: images}}
grid: {{model: {model}, subset_size: {subset_size}, adaptive_lr: [false], seed: {seed}}}
train: {{epochs: 2, batch_size: 16, learning_rate: {learning_rate}, hidden_units: 4, numerics: {numerics}}}
"""


def tiny_trial(seed: int = 0, learning_rate: float = 0.01, **settings: str | float | bool) -> Trial:
    """Make a trial that trains in milliseconds."""
    defaults = {"model": "mlp", "subset_size": 20, "adaptive_lr": False, "epochs": 2, "hidden_units": 4}
    return Trial(**{**defaults, **settings}, seed=seed, learning_rate=learning_rate)  # type: ignore[arg-type]


def run(store: Store, dataset: Dataset, *packs: Pack) -> list[TaskResult]:
    """Run packs in this process, each into a part of its own."""
    events = list(run_all(InProcessSession(), run_pack, packs, TaskContext(dataset, store.root)))
    done = [event for event in events if isinstance(event, Done)]
    assert len(done) == len(packs), events
    return [event.result for event in done]


def pack_of(dataset: Dataset, *trials: Trial, attempt: int = 1) -> Pack:
    """Put trials into one pack."""
    return Pack({trial_id(trial, dataset.fingerprint): trial for trial in trials}, attempt)


def run_trials(store: Store, dataset: Dataset, *trials: Trial) -> list[str]:
    """Run each trial by itself and return the trials' ids."""
    run(store, dataset, *(pack_of(dataset, trial) for trial in trials))
    return [trial_id(trial, dataset.fingerprint) for trial in trials]


def part_rows(dataset: Dataset, folder: Path, *trials: Trial) -> pa.Table:
    """Train trials elsewhere and return their rows (schema PART), to be put into a store by hand."""
    store = Store(folder / "elsewhere")
    return read_parts(store, run_trials(store, dataset, *trials)).table


def submit_tiny(
    folder: Path,
    name: str = "tiny",
    model: str = "[mlp]",
    subset_size: str = "[20]",
    seed: str = "[0, 1]",
    learning_rate: str = "0.01",
    numerics: str = "pinned",
) -> tuple[Store, Job]:
    """Submit a grid on a dataset of 72 and 20 images, and train it in this process."""
    write_idx_folder(folder / "images", train_count=72, test_count=20)
    grid = folder / f"{name}.yaml"
    axes = {"model": model, "subset_size": subset_size, "seed": seed}
    grid.write_text(GRID.format(name=name, **axes, learning_rate=learning_rate, numerics=numerics))
    return Store(folder / "results"), mnistjobs.submit_grid(grid, folder / "results", in_process=True)
