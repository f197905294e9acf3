"""What is done about tasks that fail, with real workers that die, hang, run out of memory and raise."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pytest
from support.executors import run_all
from support.failing_tasks import GRID, PackTask, submit_with, write_grid

import mnistjobs
from cluster import Failed, FailureKind, InProcessSession, Session, TaskFailure
from jobs.run import JobEvent, Pack, Retry, TaskContext, TaskResult
from jobs.store.job_record import find_job
from jobs.store.layout import Store

EIGHT = GRID.replace("[mlp, cnn]", "[mlp]")
# A grid of one trial, which fails only if it is made to.
ONE_TRIAL = GRID.replace("[mlp, cnn]", "[mlp]").replace("[20, 60]", "[20]").replace("[false, true]", "[false]")
ONE_TRIAL = ONE_TRIAL.replace("[0, 1]", "[0]")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path, ONE_TRIAL)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "storage"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "storage"),
        (OSError(errno.EIO, "Input/output error"), "storage"),
        (TimeoutError("the server is away"), "storage"),
        (PermissionError(errno.EACCES, "Permission denied"), "raised"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "raised"),
        (MemoryError("Unable to allocate 2 TiB"), "out_of_memory"),
        (ValueError("no such number"), "raised"),
    ],
)
def test_the_causes_of_an_exception_decide_the_kind_of_failure(error: Exception, kind: FailureKind) -> None:
    try:
        raise RuntimeError("cannot be written") from error
    except RuntimeError as raised:
        failure = TaskFailure.from_exception(raised)
    assert failure.kind == kind
    assert failure.message.startswith("RuntimeError: cannot be written")
    assert ("GB at its peak" in failure.message) == (kind == "out_of_memory")
    assert str(error) in failure.traceback


def test_memory_that_numpy_does_not_get_is_out_of_memory() -> None:
    def hog(item: int, shared: None) -> Generator[None, None, int]:
        import numpy as np

        return len(np.empty((1 << 46,)))
        yield

    _, event = run_all(InProcessSession(), hog, [1])
    assert isinstance(event, Failed)
    assert event.failure.kind == "out_of_memory"


def first_attempt(what: str) -> "type[PackTask]":
    """Wrap the task so that its first attempt does something bad."""

    def wrap(task: PackTask) -> PackTask:
        def failing(pack: Pack, context: TaskContext) -> Generator[int, None, TaskResult]:
            if pack.attempt == 1:
                if what == "die":
                    os.kill(os.getpid(), signal.SIGKILL)
                elif what == "stop":
                    time.sleep(1)  # until the driver has heard where it runs
                    os.kill(os.getpid(), signal.SIGSTOP)
                elif what == "sleep":
                    time.sleep(1000)
                elif what == "fill the disk":
                    raise OSError(errno.ENOSPC, "No space left on device")
            return (yield from task(pack, context))

        return failing

    return wrap  # type: ignore[return-value]


@pytest.mark.ray
@pytest.mark.parametrize(
    ("what", "kind"),
    [
        ("die", "crashed"),
        ("sleep", "hung"),
        pytest.param("stop", "hung", marks=pytest.mark.slow),
        ("fill the disk", "storage"),
    ],
)
def test_a_trial_whose_first_attempt_fails_by_no_fault_of_its_own_is_trained_at_the_second(
    what: str, kind: FailureKind, grid: Path, tmp_path: Path, ray_of_two: Session
) -> None:
    if kind == "hung":
        grid.write_text(ONE_TRIAL + "resources: {hung_after_seconds: 5.0}\n")
    seen: list[JobEvent] = []
    job = submit_with(first_attempt(what), grid, tmp_path / "store", ray_of_two, seen.append)
    assert (job.state, job.failures) == ("finished", ())
    (retried,) = job.retries
    assert (retried.kind, retried.attempt, len(retried.trial_ids)) == (kind, 1, job.trial_count)
    assert [event.failure.kind for event in seen if isinstance(event, Retry)] == [kind]
    assert mnistjobs.read_trials(tmp_path / "store", "tiny")["attempt"].to_pylist() == [2]


@pytest.mark.ray
@pytest.mark.usefixtures("no_wait_before_a_retry")
def test_a_trial_that_always_dies_is_given_up_after_the_retries_and_takes_no_other_along(
    tmp_path: Path, ray_of_two: Session
) -> None:
    def die_for_one(task: PackTask) -> PackTask:
        def dying(pack: Pack, context: TaskContext) -> Generator[int, None, TaskResult]:
            for trial in pack.trials.values():
                if trial.seed == 1 and trial.subset_size == 20 and trial.adaptive_lr:
                    os.kill(os.getpid(), signal.SIGKILL)
            return (yield from task(pack, context))

        return dying

    job = submit_with(die_for_one, write_grid(tmp_path, EIGHT), tmp_path / "store", ray_of_two)
    (failure,) = job.failures
    assert job.state == "failed"
    assert (failure.kind, failure.attempt) == ("crashed", 3)
    statuses = mnistjobs.read_trials(tmp_path / "store", "tiny")["status"].to_pylist()
    assert Counter(statuses) == {"finished": 7, "failed": 1}


def raise_for(seed: int) -> "type[PackTask]":
    def wrap(task: PackTask) -> PackTask:
        def failing(pack: Pack, context: TaskContext) -> Generator[int, None, TaskResult]:
            if any(trial.seed == seed for trial in pack.trials.values()):
                raise ArithmeticError("no such number")
            return (yield from task(pack, context))

        return failing

    return wrap  # type: ignore[return-value]


def test_a_trial_that_raises_is_reported_with_its_traceback_after_one_attempt(grid: Path, tmp_path: Path) -> None:
    job = submit_with(raise_for(0), grid, tmp_path / "store", InProcessSession())
    (failure,) = job.failures
    assert (failure.kind, failure.attempt, job.retries) == ("raised", 1, ())
    assert "in failing" in failure.traceback


def test_with_fail_fast_the_first_trial_that_fails_ends_the_job(tmp_path: Path) -> None:
    grid = write_grid(tmp_path, GRID.replace("[mlp, cnn]", "[mlp]") + "fail_fast: on\n")
    job = submit_with(raise_for(0), grid, tmp_path / "store", InProcessSession())
    assert (job.state, len(job.failures)) == ("failed", 1)
    assert mnistjobs.plan_grid(grid, tmp_path / "store").stored == frozenset()


@pytest.mark.ray
@pytest.mark.slow
def test_a_task_that_ray_kills_for_want_of_memory_is_tried_once_alone_and_reported_with_its_peak(
    grid: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "mnistjobs",
        "submit",
        str(grid),
        "--store",
        str(tmp_path / "store"),
        "--workers=1",
    ]
    # Ray's monitor of memory then finds every task one too many.
    environment = {**os.environ, "RAY_memory_usage_threshold": "0.0001", "RAY_memory_monitor_refresh_ms": "20"}
    grid.write_text(ONE_TRIAL.replace("epochs: 2", "epochs: 1000000"))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert done.returncode == 1, done.stderr
    again, failed = done.stderr.splitlines()[:2]
    assert "out of memory: OutOfMemoryError: killed by Ray at its process had" in again
    assert again.endswith("retried alone, at the end")
    assert "failed: OutOfMemoryError: killed by Ray at its process had" in failed
    (failure,) = find_job(Store(tmp_path / "store"), "tiny").failures
    assert (failure.kind, failure.attempt) == ("out_of_memory", 2)
