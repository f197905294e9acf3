"""A job that somebody asks to cancel: at the start, in the middle, while a retry waits, at the end, and not at all."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.idx_files import write_idx_folder
from support.tiny_study import tiny_trial

import mnistjobs
from cluster import Done, Failed, InProcessSession, NodeJoined, Started, TaskFailure
from jobs.errors import LeaseLostError
from jobs.run import Pack, open_job, run_job
from jobs.run.driver import drive
from jobs.run.events import CancelAsked
from jobs.run.scheduler import Rules, begin
from jobs.store.job_record import find_job
from jobs.store.layout import Store
from mnist_core.data.datasets import load_dataset

NODE = NodeJoined("n", 2)
PACKS = [Pack({f"{seed}": tiny_trial(seed)}) for seed in range(3)]


class Scripted:
    """An executor that reports given events, one a second, and then nothing more."""

    def __init__(self, *events: Any) -> None:  # noqa: ANN401
        self.events = list(events)
        self.now_s = 0.0
        self.submitted: list[Pack] = []
        self.cancelled: list[Pack] = []

    def submit(self, item: Pack) -> None:
        self.submitted.append(item)

    def next_event(self, timeout_s: float) -> Any:  # noqa: ANN401
        self.now_s += 1.0
        return self.events.pop(0) if self.events else None

    def cancel(self, item: Pack) -> None:
        self.cancelled.append(item)

    def exclude(self, node: str) -> None:
        raise AssertionError(node)

    def close(self) -> None:
        pass


def outcome(executor: Scripted, asked_from_s: float, retries: int = 1) -> str | None:
    """Drive the packs; somebody asks to cancel from a moment on."""
    state = drive(
        begin(PACKS, Rules(retries, lambda pack: 600.0)),
        [NODE],
        executor,
        lambda event: event,
        lambda event: None,
        clock=lambda: executor.now_s,
        asked=lambda: CancelAsked() if executor.now_s >= asked_from_s else None,
    )
    return state.outcome


def test_a_job_cancelled_before_its_start_starts_nothing() -> None:
    executor = Scripted()
    assert outcome(executor, 0.0) == "cancelled"
    assert executor.submitted == []


def test_a_job_cancelled_in_the_middle_ends_its_running_trials() -> None:
    executor = Scripted(Started(PACKS[0], "n"))
    assert outcome(executor, 3.0) == "cancelled"
    assert executor.cancelled == executor.submitted == PACKS[:2]
    assert executor.now_s == 3.0


def test_a_retry_that_waits_is_never_started() -> None:
    executor = Scripted(Failed(PACKS[0], TaskFailure("crashed", "its process died", "")))
    assert outcome(executor, 1.0, retries=3) == "cancelled"
    assert [pack.attempt for pack in executor.submitted] == [1, 1, 1]


def test_a_job_whose_last_trial_has_ended_is_finished() -> None:
    done = [Done(pack, "part") for pack in PACKS]
    assert outcome(Scripted(*done), 3.0) == "finished"
    assert outcome(Scripted(*done), 2.0) == "cancelled"


def run(folder: Path, asked: Callable[[], CancelAsked | None]) -> None:
    """Run a job of four trials in this process, to an end or to an error."""
    write_idx_folder(folder / "images", train_count=72, test_count=20)
    grid = folder / "grid.yaml"
    grid.write_text(
        "name: tiny\ndataset: {path: images}\n"
        "grid: {model: [mlp], subset_size: [20], adaptive_lr: [false], seeds: 4}\n"
        "train: {epochs: 2, batch_size: 16, hidden_units: 4}\n"
    )
    plan = mnistjobs.plan_grid(grid, folder / "store")
    dataset = load_dataset(folder / "images")
    run_job(open_job(plan), plan, dataset, InProcessSession(), lambda event: None, asked=asked)


def test_how_a_cancelled_job_ended_is_written_once(tmp_path: Path) -> None:
    run(tmp_path, CancelAsked)
    assert find_job(Store(tmp_path / "store"), "tiny").state == "cancelled"


def test_a_driver_whose_job_was_taken_over_writes_no_end(tmp_path: Path) -> None:
    """Another driver writes how the job ends."""

    def lost() -> None:
        raise LeaseLostError("the lease is another driver's")

    with pytest.raises(LeaseLostError, match="another driver"):
        run(tmp_path, lost)
    assert find_job(Store(tmp_path / "store"), "tiny").end is None


def test_a_driver_that_is_interrupted_while_it_asks_writes_its_end(tmp_path: Path) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, interrupted)
    assert find_job(Store(tmp_path / "store"), "tiny").state == "interrupted"
