"""How a submit ends early: by signals at any moment, by readers that go away, and by a kill that nothing can catch."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.chaos_processes import await_end, end_all, processes_of, shared_memory
from support.failing_tasks import GRID, ONE_CONFIGURATION, write_grid
from support.warm_processes import COMMAND_LINE, WarmProcess

import mnistjobs
from jobs.cli.exit_codes import BAD_INPUT, INTERRUPTED

pytestmark = pytest.mark.medium
PATIENCE_S = 240.0  # with what must end, however slow the machine
GENEROUS_S = 20.0  # five are promised; the machine may have other things to do
LONG = GRID.replace("[mlp, cnn]", "[cnn]").replace("epochs: 2", "epochs: 100000")
FIRST_SEED_SHORT = LONG + "overrides: [{when: {seed: 0}, set: {epochs: 2}}]\n"  # four of the eight trials
CODE = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "signal.signal(signal.SIGHUP, signal.SIG_DFL); import jobs.cli.app as c; c.main()"
)
WITHOUT_OUTPUT = (
    "import os, sys; os.close(1); os.close(2); "
    "os.execv(sys.executable, [sys.executable, '-m', 'mnistjobs', *sys.argv[1:]])"
)
PROGRAMS = {"gcs_server": "/gcs/gcs_server ", "raylet": "/raylet/raylet "}
STARTED: list[subprocess.Popen[str]] = []


def start(
    grid: Path, *words: object, code: str = CODE, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    """Start a submit as a terminal would: in a session of its own, its signals as they are by default."""
    command = [sys.executable, "-c", code, "submit", str(grid), "--store", str(grid.parent / "store")]
    command += map(str, words)
    STARTED.append(subprocess.Popen(command, text=True, start_new_session=True, stdout=stdout, stderr=stderr))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def _leave_nothing_running() -> Iterator[None]:
    """Kill what a failed test has left."""
    yield
    for process in STARTED:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    STARTED.clear()


def await_worker(process: subprocess.Popen[str], condition: Callable[[], bool] = lambda: True) -> None:
    """Wait until a worker has been at work for a moment, and a condition is met, while the submit lasts."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and process.poll() is None:
        at_work = (each for each in processes_of([process.pid]) if each.command.startswith("ray::run_if_admitted"))
        if condition() and any(at_work):
            break
        time.sleep(0.1)
    time.sleep(1.0)


def signal_it(process: subprocess.Popen[str], number: signal.Signals, to_all: bool) -> None:
    """Signal the driver, or, as a terminal does, the whole group of processes."""
    (os.killpg if to_all else os.kill)(process.pid, number)


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path, LONG)


@pytest.mark.ray
@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        (signal.SIGINT, False),
        pytest.param(signal.SIGTERM, False, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, True, marks=pytest.mark.chaos),
        pytest.param(signal.SIGTERM, True, marks=pytest.mark.chaos),
        pytest.param(signal.SIGHUP, True, marks=pytest.mark.chaos),
    ],
)
def test_a_signal_keeps_finished_trials_and_leaves_nothing_behind_within_seconds(
    number: signal.Signals, to_all: bool, grid: Path
) -> None:
    grid.write_text(FIRST_SEED_SHORT)
    before, store = shared_memory(), grid.parent / "store"
    process = start(grid, "--workers", 2)
    await_worker(process, lambda: len(mnistjobs.plan_grid(grid, store).stored) == 4)
    signal_it(process, number, to_all)
    _, err = process.communicate(timeout=GENEROUS_S)
    assert process.returncode == INTERRUPTED, err
    assert err.endswith("submit the same grid again to train the rest.\n")
    assert "Traceback" not in err
    assert await_end([process.pid], GENEROUS_S) == []
    assert not list(grid.parent.rglob("*.tmp"))
    assert shared_memory() <= before
    assert [job.state for job in mnistjobs.list_jobs(store)] == ["interrupted"]
    assert len(mnistjobs.plan_grid(grid, store).stored) == 4  # the next submit goes on from there


@pytest.mark.ray
@pytest.mark.chaos
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("after_s", [2.0, 3.0, 4.0, 5.0])
def test_a_signal_while_ray_starts_ends_the_submit_as_well(number: signal.Signals, after_s: float, grid: Path) -> None:
    process = start(grid, "--workers", 2)
    assert process.stdout
    process.stdout.readline()  # the plan: from here on signals are taken
    time.sleep(after_s - 2.0)
    signal_it(process, number, to_all=False)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.splitlines()[-1:]) == (
        INTERRUPTED,
        ["Interrupted. What has finished is stored; submit the same grid again to train the rest."],
    )
    assert await_end([process.pid], GENEROUS_S) == []


@pytest.mark.ray
@pytest.mark.slow
def test_a_second_signal_forces_the_end(grid: Path) -> None:
    process = start(grid, "--workers", 2)
    await_worker(process)
    signal_it(process, signal.SIGINT, to_all=True)
    time.sleep(0.5)
    signal_it(process, signal.SIGINT, to_all=True)
    process.communicate(timeout=GENEROUS_S)
    assert process.returncode == INTERRUPTED
    assert await_end([process.pid], GENEROUS_S) == []


def test_a_signal_that_nohup_ignores_stays_ignored(grid: Path) -> None:
    grid.write_text(ONE_CONFIGURATION)
    nohup = f"import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); {COMMAND_LINE}"
    process = WarmProcess("submit", grid, "--store", grid.parent / "store", "--in-process", code=nohup)
    assert process.stderr
    process.stderr.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


@pytest.mark.parametrize(
    "both", [False, pytest.param(True, marks=pytest.mark.chaos)], ids=["stdout", "stdout and stderr"]
)
def test_a_reader_that_goes_away_does_not_end_a_study(both: bool, grid: Path) -> None:
    grid.write_text(ONE_CONFIGURATION)
    reading, writing = os.pipe()
    os.close(reading)
    process = start(grid, "--in-process", stdout=writing, stderr=writing if both else subprocess.PIPE)
    os.close(writing)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    (job,) = mnistjobs.list_jobs(grid.parent / "store")
    assert job.state == "finished"
    assert not both or err is None
    assert "Traceback" not in (err or "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@pytest.mark.parametrize(
    "both", [pytest.param(False, marks=pytest.mark.chaos), True], ids=["stdout", "stdout and stderr"]
)
def test_a_log_whose_disk_is_full_does_not_end_a_study(both: bool, grid: Path) -> None:
    grid.write_text(ONE_CONFIGURATION)
    with open("/dev/full", "w") as full:
        process = start(grid, "--in-process", stdout=full.fileno(), stderr=full.fileno() if both else subprocess.PIPE)
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert [job.state for job in mnistjobs.list_jobs(grid.parent / "store")] == ["finished"]


def test_a_submit_without_stdout_and_stderr_ends_as_any_other(grid: Path) -> None:
    grid.write_text(ONE_CONFIGURATION)
    process = start(grid, "--in-process", code=WITHOUT_OUTPUT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0
    assert [job.state for job in mnistjobs.list_jobs(grid.parent / "store")] == ["finished"]


@pytest.mark.ray
@pytest.mark.parametrize("victim", [pytest.param("gcs_server", marks=pytest.mark.slow), "raylet"])
def test_a_ray_that_dies_ends_the_submit_with_a_message_and_the_job_as_interrupted(victim: str, grid: Path) -> None:
    process = start(grid, "--workers", 2)
    await_worker(process)
    # A worker that still starts has the raylet's socket in its command line, which ends in the same word.
    (killed,) = (each for each in processes_of([process.pid]) if PROGRAMS[victim] in each.command)
    os.kill(killed.pid, signal.SIGKILL)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == BAD_INPUT, err
    assert f"its {victim} has died; what has finished is stored; submit the same grid again" in err
    assert [job.state for job in mnistjobs.list_jobs(grid.parent / "store")] == ["interrupted"]
    assert await_end([process.pid], GENEROUS_S) == []


@pytest.mark.ray
@pytest.mark.slow
def test_processes_of_a_killed_driver_are_ended_by_the_next_start(grid: Path) -> None:
    process = start(grid, "--workers", 2, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    await_worker(process)
    process.kill()
    process.wait()
    try:
        time.sleep(3.0)  # Ray ends most of its processes by itself, its agents a minute later
        grid.write_text(LONG.replace("epochs: 100000", "epochs: 1"))
        following = start(grid, "--workers", 1)
        _, err = following.communicate(timeout=PATIENCE_S)
        assert following.returncode == 0, err
        assert processes_of([process.pid]) == []
    finally:
        end_all([process.pid])
