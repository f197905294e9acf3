"""Detached jobs, as real processes: terminals that close, drivers that are killed, cancels and resumes that race."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pytest
from support.command_line import finish, run, said
from support.failing_tasks import ONE_CONFIGURATION, write_grid
from support.s3_servers import BUCKET, S3Server
from support.wall_clock import without_wall_clock
from support.warm_processes import WarmProcess

import mnistjobs
from cluster import usable_cpus
from jobs.api.handle import JobHandle
from jobs.errors import LeaseLostError
from jobs.store.job_record import read_job
from jobs.store.layout import Store, open_store
from jobs.store.lease import new_lease, read_lease, succeed
from jobs.store.processes import is_running

pytestmark = [pytest.mark.medium, pytest.mark.usefixtures("figures_drawn_once")]
PATIENCE_S = 240.0  # with what must happen, however slow the machine
ENDLESS = ONE_CONFIGURATION.replace("epochs: 2", "epochs: 1000000") + "resources: {checkpoint_seconds: 1}\n"
SECONDS_LONG = ONE_CONFIGURATION.replace("epochs: 2, batch_size: 16", "epochs: 2000, batch_size: 1") + (
    "resources: {checkpoint_seconds: 1}\n"
)
# Each takes all cores of the machine.
WHOLE_MACHINE = ENDLESS.replace("checkpoint_seconds: 1", f"checkpoint_seconds: 1, cpus_per_trial: {usable_cpus()}")
KEYS = {"job_id", "state", "counts", "running", "last_sign_s", "seconds_left"}


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A store, whose drivers do not outlive the test."""
    store = tmp_path / "store"
    monkeypatch.setenv("MNISTJOBS_STORE", str(store))
    yield store
    for job in mnistjobs.list_jobs(store):
        driver = read_job(Store(store), job.job_id).driver
        if driver and driver.pid != os.getpid() and is_running(driver):
            with suppress(ProcessLookupError):
                os.kill(driver.pid, signal.SIGKILL)


def detach(grid: Path, *words: object) -> str:
    """Submit a grid as a detached job, and return its id."""
    return said("submit", grid, "--detach", "--in-process", "--quiet", *words).strip()


def status(job: str = "") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(said("status", *[job] * bool(job), "--json"))
    return found


def await_status(job: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_S
    while not condition(found := status(job)):
        assert found["state"] in ("queued", "running"), found
        assert time.monotonic() < deadline, found
        time.sleep(0.2)
    return found


def await_training(job: str | None = None) -> str:
    """Wait until a trial trains, and return the job's id; commands would look too seldom on a busy machine."""
    handle, deadline = mnistjobs.get_job(os.environ["MNISTJOBS_STORE"], job), time.monotonic() + PATIENCE_S
    while not ((found := handle.status()).running and found.running[0].epoch):
        assert found.state in ("queued", "running"), found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found.job_id


def kill_driver(store: Path, job: str, number: signal.Signals = signal.SIGKILL) -> None:
    lease = read_lease(Store(store), job)
    assert lease
    driver = psutil.Process(lease.driver.pid)
    driver.send_signal(number)
    if number == signal.SIGKILL:
        driver.wait(PATIENCE_S)  # on a busy machine a killed process lives for a moment


def trials(store: Path, job: str) -> pa.Table:
    return without_wall_clock(mnistjobs.read_trials(store, job))


def test_a_detached_job_outlives_its_terminal(store: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, ONE_CONFIGURATION.replace("epochs: 2", "epochs: 300"))
    told = tmp_path / "told"
    on_done = f'echo "$MNISTJOBS_JOB $MNISTJOBS_STATE $MNISTJOBS_SUMMARY" >> {told}; exit 3'
    words = [sys.executable, "-m", "mnistjobs", "submit", str(grid), "--detach", "--in-process", "--on-done", on_done]
    terminal = subprocess.Popen(
        ["sh", "-c", '"$@"; exec sleep 1000', "sh", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert terminal.stdout
    job = terminal.stdout.readline().strip()
    os.killpg(terminal.pid, signal.SIGHUP)
    terminal.communicate(timeout=PATIENCE_S)
    assert status()["job_id"] == job
    watched = run("watch")
    report = store / "jobs" / job / "report.html"
    assert (watched.code, watched.out.splitlines()[-2:]) == (0, ["2 trials: 2 finished", f"Report: {report}"])
    assert report.is_file()
    log = await_line("failed with exit code 3")
    assert status(job).keys() >= KEYS
    assert (status(job)["state"], status(job)["counts"]["finished"]) == ("finished", 2)
    (line,) = told.read_text().splitlines()
    assert line.startswith(f"{job} finished tiny finished, 2 of 2 trials; model MLP, ")
    assert f"job {job}: finished" in log
    first = mnistjobs.read_trials(store, job)["trial_id"][0].as_py()
    of_first = said("logs", job, "--trial", first[:8]).splitlines()
    assert [each.partition(f"trial {first}: ")[2] for each in of_first] == [
        "started on this process, attempt 1",
        "finished",
    ]


def await_line(text: str) -> str:
    """Wait until the latest job's log has a line with this text; return the log."""
    deadline = time.monotonic() + PATIENCE_S
    while text not in (log := said("logs")):
        assert time.monotonic() < deadline, log
        time.sleep(0.2)
    return log


@pytest.mark.slow
def test_a_killed_driver_is_lost_at_once_and_one_of_two_resumes_goes_on(store: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, SECONDS_LONG)
    job = detach(grid)
    await_training(job)
    kill_driver(store, job, signal.SIGSTOP)
    assert run("resume", job).err.startswith(f"job {job}: ")  # it has a driver
    kill_driver(store, job)
    found = status(job)
    assert (found["state"], found["running"], found["seconds_left"]) == ("lost", [], None)
    assert found["last_sign_s"] < PATIENCE_S
    assert "`mnistjobs resume" in said("status", job)
    starting = [WarmProcess("resume", job, "--detach") for _ in range(2)]
    codes = sorted(finish(each).code for each in starting)
    assert codes == [0, 2]
    assert run("watch", job).code == 0
    mnistjobs.submit_grid(grid, tmp_path / "undisturbed", in_process=True)
    assert trials(store, job) == trials(tmp_path / "undisturbed", "tiny")
    again = run("resume", job, "--attach", "--json")
    assert "The job had ended" in again.err
    assert (again.code, json.loads(again.out)["state"]) == (0, "finished")
    assert len(mnistjobs.list_jobs(store)) == 2


@pytest.mark.slow
def test_a_job_waits_for_its_turn_which_a_killed_driver_does_not_hold_up(store: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, WHOLE_MACHINE)
    other = grid.with_name("other.yaml")
    other.write_text(WHOLE_MACHINE.replace("name: tiny", "name: other"))
    last = grid.with_name("last.yaml")
    last.write_text(WHOLE_MACHINE.replace("name: tiny", "name: last"))
    first, second, third = detach(grid), detach(other), detach(last)
    await_training(first)
    assert await_status(second, lambda found: bool(found["waits_for"]))["waits_for"] == first
    waiting = await_status(third, lambda found: bool(found["waits_for"]))
    assert (waiting["state"], waiting["waits_for"]) == ("queued", second)
    assert f"queued behind {second}" in said("status", third)
    assert said("cancel", second) == f"{second}: cancelled\n"
    assert await_status(third, lambda found: found["waits_for"] != second)["waits_for"] == first
    kill_driver(store, first)
    await_training(third)
    assert status(first)["state"] == "lost"


@pytest.mark.slow
def test_of_many_who_cancel_a_job_all_find_it_cancelled(store: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, ENDLESS)
    job = detach(grid)
    await_training(job)
    asked_s = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        cancelled = list(pool.map(lambda _: JobHandle(store, job).cancel().state, range(4)))
    assert cancelled == ["cancelled"] * 4
    assert time.monotonic() - asked_s < PATIENCE_S
    assert run("watch", job).code == 1
    assert json.loads(said("cancel", job, "--json")) == {"job_id": job, "state": "cancelled", "has_ended": True}
    assert status("tiny")["counts"]["waiting"] == 2


def test_an_attached_submit_is_cancelled_from_elsewhere(store: Path, tmp_path: Path) -> None:
    submit = WarmProcess("submit", write_grid(tmp_path, ENDLESS), "--in-process")
    deadline = time.monotonic() + PATIENCE_S
    while not mnistjobs.list_jobs(store):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    job = await_training()
    assert said("cancel") == f"{job}: cancelled\n"
    ended = finish(submit)
    assert ended.code == 1
    assert f"{job} was cancelled; submit the same grid again to train the rest" in ended.err


def test_a_driver_that_was_taken_for_gone_stops_and_writes_no_end(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.service.heartbeat.RENEW_S", 0.1)
    grid = write_grid(tmp_path, ENDLESS)
    with ThreadPoolExecutor(1) as pool:
        driving = pool.submit(mnistjobs.submit_grid, grid, store, in_process=True)
        deadline = time.monotonic() + PATIENCE_S
        while not mnistjobs.list_jobs(store):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        job = await_training()
        lease = read_lease(Store(store), job)
        assert lease
        taken = succeed(Store(store), lease, new_lease(job))
        with pytest.raises(LeaseLostError, match="has taken it over"):
            driving.result(PATIENCE_S)
    assert taken
    assert not (store / "jobs" / job / "final.json").exists()


def test_a_job_without_a_driver_is_cancelled_in_place_of_it(store: Path, tmp_path: Path) -> None:
    job = detach(write_grid(tmp_path, ENDLESS))
    await_training(job)
    kill_driver(store, job)
    assert said("cancel") == f"{job}: cancelled\n"
    log = subprocess.run([sys.executable, "-m", "mnistjobs", "drive", job], capture_output=True, text=True, check=False)
    assert log.returncode == 2
    assert log.stderr == f"job {job}: has ended: cancelled\n"


def test_a_driver_that_cannot_train_says_why(store: Path, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, ONE_CONFIGURATION)
    told = tmp_path / "told"
    job = detach(grid, "--on-done", f"echo $MNISTJOBS_STATE > {told}")
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    watched = run("watch", job)
    assert watched.code == 130
    assert "a dataset folder holds" in watched.out
    assert "`mnistjobs resume" in watched.out
    assert await_text(told) == "interrupted"


def test_a_driver_that_is_terminated_ends_its_job(store: Path, tmp_path: Path) -> None:
    told = tmp_path / "told"
    job = detach(write_grid(tmp_path, ENDLESS), "--on-done", f"echo $MNISTJOBS_STATE > {told}")
    await_training(job)
    kill_driver(store, job, signal.SIGTERM)
    assert run("watch", job).code == 130
    assert await_text(told) == "interrupted"


def await_text(path: Path) -> str:
    deadline = time.monotonic() + PATIENCE_S
    while not (path.exists() and (text := path.read_text().strip())):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return text


@pytest.mark.slow
@pytest.mark.usefixtures("store")
def test_a_detached_job_in_a_bucket_is_looked_at_and_resumed_alike(
    moto_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    moto_server.use(monkeypatch)
    monkeypatch.setenv("MNISTJOBS_STORE", f"s3://{BUCKET}/detached")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    job = detach(write_grid(tmp_path, SECONDS_LONG))
    await_training(job)
    lease = read_lease(open_store(f"s3://{BUCKET}/detached"), job)
    assert lease
    os.kill(lease.driver.pid, signal.SIGKILL)
    assert status(job)["state"] == "lost"
    assert run("resume", "--detach").code == 0
    moto_server.process.send_signal(signal.SIGSTOP)  # a store that does not answer for a while
    time.sleep(8.0)
    moto_server.process.send_signal(signal.SIGCONT)
    assert run("watch").code == 0
    assert f"job {job}: finished" in await_line(f"job {job}: finished")
    assert said("cancel") == f"{job}: finished\n"


def test_a_notebook_has_an_object_for_its_job(store: Path, tmp_path: Path) -> None:
    job = mnistjobs.submit(write_grid(tmp_path, ONE_CONFIGURATION), store, in_process=True)
    assert job.wait(timeout_s=0).state in ("queued", "running", "finished")
    assert job.wait(PATIENCE_S).state == "finished"
    assert job.summary().num_rows == 1
    assert job.cancel().state == "finished"
    assert f"<caption>{job.job_id}</caption>" in job._repr_html_()
    assert repr(mnistjobs.get_job(store)) == repr(job)
