"""Submit a grid whose tasks can be made to fail, on any place to run."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from cluster.interface import Map, Place, Task
from jobs.grid.grid import load_grid
from jobs.run.driver import JobEvent, make_plan, open_job, run_job
from jobs.run.task import Pack, Shared, Written
from jobs.store.job_models import Job
from jobs.store.parts import open_store
from mnist_core.data.datasets import load_dataset
from support.idx_files import write_idx_folder

GRID = """
name: tiny
dataset: {path: images}
grid: {model: [mlp, cnn], subset_size: [20, 60], adaptive_lr: [false, true], seed: [0, 1]}
train: {epochs: 2, batch_size: 16, learning_rate: 0.01}
"""
FEWER = GRID.replace("subset_size: [20, 60], adaptive_lr: [false, true]", "subset_size: [20], adaptive_lr: [true]")
PackTask = Task[Pack, Shared, int, Written]


def write_grid(folder: Path, text: str = GRID) -> Path:
    """Write a grid of 16 trials, and the folder of 72 and 20 images that it names."""
    write_idx_folder(folder / "images", train_count=72, test_count=20)
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


def submit_with(
    wrap: Callable[[PackTask], PackTask],
    grid: Path,
    store: Path,
    run_map: Map,
    observe: Callable[[JobEvent], None] = lambda event: None,
) -> Job:
    """Run a job whose map applies the real task wrapped in one of ours, which can fail."""

    def substituted(task: Any, packs: Any, shared: Any, patience: Any) -> Any:  # noqa: ANN401
        # Only first attempts are made to hang; on a slow machine the others must not seem to.
        return run_map(wrap(task), packs, shared, lambda pack: patience(pack) if pack.attempt == 1 else math.inf)

    plan = make_plan(load_grid(grid), open_store(store))
    dataset = load_dataset(grid.parent / "images")
    return run_job(open_job(plan), plan, dataset, Place(cast(Map, substituted)), observe)
