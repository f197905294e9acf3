"""Submit a grid whose tasks can be made to fail, on any session."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cluster import Device, NodeJoined, Session, Task
from jobs.grid.grid import load_grid
from jobs.run import JobEvent, Pack, TaskContext, TaskResult, make_plan, open_job, run_job
from jobs.store.job_models import Job
from jobs.store.layout import open_store
from mnist_core.data.datasets import load_dataset
from support.idx_files import write_idx_folder

GRID = """
name: tiny
dataset: {path: images}
grid: {model: [mlp, cnn], subset_size: [20, 60], adaptive_lr: [false, true], seed: [0, 1]}
train: {epochs: 2, batch_size: 16, learning_rate: 0.01, hidden_units: 4}
"""
FEWER = GRID.replace("subset_size: [20, 60], adaptive_lr: [false, true]", "subset_size: [20], adaptive_lr: [true]")
# Of four trials without a CNN: no process has to import torch.
MLP_ONLY = GRID.replace("[mlp, cnn]", "[mlp]").replace("[20, 60]", "[20]")
# Of two trials of one configuration, whose report has the fewest figures.
ONE_CONFIGURATION = MLP_ONLY.replace("[false, true]", "[false]")
PackTask = Task[Pack, TaskContext, int, TaskResult]


def write_grid(folder: Path, text: str = GRID) -> Path:
    """Write a grid of 16 trials, and the folder of 72 and 20 images that it names."""
    write_idx_folder(folder / "images", train_count=72, test_count=20)
    path = folder / "grid.yaml"
    path.write_text(text)
    return path


@dataclass(frozen=True)
class WrappingSession:
    """A real session whose executor runs the real task wrapped in one of ours, which can fail."""

    real: Session
    wrap: Callable[[PackTask], PackTask]

    @property
    def device(self) -> Device:
        return self.real.device

    @property
    def nodes(self) -> tuple[NodeJoined, ...]:
        return self.real.nodes

    @property
    def required_facts(self) -> Mapping[str, str]:
        return self.real.required_facts

    @property
    def headroom(self) -> int:
        return self.real.headroom

    def executor(self, task: Any, shared: Any) -> Any:  # noqa: ANN401
        return self.real.executor(self.wrap(task), shared)


def submit_with(
    wrap: Callable[[PackTask], PackTask],
    grid: Path,
    store: Path,
    session: Session,
    observe: Callable[[JobEvent], None] = lambda event: None,
) -> Job:
    """Run a job whose tasks are wrapped."""
    plan = make_plan(load_grid(grid), open_store(store))
    dataset = load_dataset(grid.parent / "images")
    return run_job(open_job(plan), plan, dataset, WrappingSession(session, wrap), observe)


@contextmanager
def unwritable_weights(*trial_ids: str) -> Iterator[None]:
    """Let no file be written that holds the weights of these trials, in this process."""
    replace = os.replace

    def replace_or_fail(source: Path, target: Path) -> None:
        if Path(target).parent.name == "weights" and any(
            each.encode() in Path(source).read_bytes() for each in trial_ids
        ):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replace_or_fail)
        yield
