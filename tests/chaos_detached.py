"""Kill the drivers of detached jobs, their Rays, watchers and S3 server; look at their states every second meanwhile.

Every other store is a bucket of rclone's server. No look may show a state that is false: `queued` or `running` without
a driver, `lost` with one. A lost job is resumed by two at once, of which one succeeds; in a bucket by one, since rclone
ignores conditions on writes. At the end the tables are those of an undisturbed study, and the report is there unless
its driver was killed while it wrote it.

    .venv/bin/python tests/chaos_detached.py --kills 30 --seed 0
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.chaos_checks import Seen, check_store, compare_stores
from support.chaos_processes import VICTIMS, Driver, await_end, end_all, kill_one, processes_of
from support.s3_servers import BUCKET, MortalServer

from jobs.api import job_status, report_job
from jobs.service import queue
from jobs.store.job_models import Job
from jobs.store.job_record import find_job
from jobs.store.layout import Store, open_store
from jobs.store.lease import read_lease
from jobs.store.processes import Process, is_running

NAME = "chaos"
GRID = """\
name: chaos
dataset: digits
grid: {model: [mlp, cnn], subset_size: [60, 120], adaptive_lr: [false, true], seeds: 3}
exclude: [{model: cnn, subset_size: 60}, {model: cnn, adaptive_lr: false}]
train: {epochs: 50, batch_size: 20, learning_rate: 0.01, hidden_units: 16}
"""
KILLS_PER_JOB = 5
LOOK_S = 1.0
PATIENCE_S = 300.0  # with a job that nothing happens to
GAP_S = 10.0  # between two kills, at most
OUTAGE_S = 15.0  # of the S3 server, at most
FATAL = ("driver", "group")  # to the driver itself


@dataclass
class Run:
    """What has happened so far."""

    folder: Path
    rng: random.Random
    say: Callable[[str], None]
    looks: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)  # as they were seen
    killed: set[int] = field(default_factory=set)  # drivers, by pid
    reports_again: int = 0  # that a killed driver had not finished
    sessions: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def fault(self, where: str, faults: list[str]) -> None:
        for fault in faults:
            self.wrong.append(f"{where}: {fault}")
            self.say(f"WRONG {self.wrong[-1]}")


@dataclass(frozen=True)
class Place:
    """A store as the commands know it, and the folder in which its files are."""

    name: str
    store: Store
    files: Store

    @property
    def is_bucket(self) -> bool:
        return self.store.is_remote


def run_chaos(kills: int, seed: int, say: Callable[[str], None]) -> Run:
    """Run rounds of one store each until there were so many kills; return what happened."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ |= {"RAY_TMPDIR": str(folder), queue.FOLDER_VARIABLE: str(folder / "queue")}
    run = Run(folder, random.Random(seed), say)
    (folder / "grid.yaml").write_text(GRID)
    server = MortalServer(folder / "s3")
    os.environ |= server.server.environment()
    try:
        clean = _place(run, "clean", None)
        _submit(run, clean)
        if _watch(run, clean, 0, server) != "finished":
            run.fault("clean", ["an undisturbed job does not finish"])
        rounds = 0
        while run.kills.total() < kills and not run.wrong:
            _round(run, _place(run, f"round-{rounds}", server if rounds % 2 else None), clean, server)
            rounds += 1
        left = await_end(run.sessions, 90.0)
        run.fault("leftovers", [f"process {each.pid}: {each.command[:100]}" for each in left])
    finally:
        server.kill()
        end_all(run.sessions)
    say(f"kills: {dict(run.kills)}; looks: {run.looks}, {dict(run.states)}; {len(run.wrong)} faults")
    say(f"reports that a killed driver left unfinished: {run.reports_again}")
    if not run.wrong:
        shutil.rmtree(folder)
    return run


def _place(run: Run, name: str, server: MortalServer | None) -> Place:
    if server is None:
        store = open_store(run.folder / name)
        return Place(name, store, store)
    return Place(name, open_store(f"s3://{BUCKET}/{name}"), open_store(server.bucket / name))


def _round(run: Run, place: Place, clean: Place, server: MortalServer) -> None:
    """Submit a study, kill and resume it until it has finished, and compare."""
    job_id, before = _submit(run, place), Seen({}, {})
    left = KILLS_PER_JOB
    while (state := _watch(run, place, left, server)) != "finished":
        if run.wrong:
            return
        before, wrong = check_store(place.files, before)
        run.fault(place.name, wrong)
        left = max(0, left - 1)
        # Of two that resume a lost job one succeeds; a job that the end of its Ray has interrupted makes a new one.
        expected = [0, 2] if state == "lost" and not place.is_bucket else [0]
        resumes = [_command("resume", job_id, "--detach", "--store", place.store.locate()) for _ in expected]
        codes = sorted(each.wait(PATIENCE_S) for each in resumes)
        if codes != expected:
            run.fault(place.name, [f"resuming a job that was {state} ends with {codes}"])
        job_id = find_job(place.store, NAME).job_id
    _, wrong = check_store(place.files, before)
    run.fault(place.name, wrong + _check_report(run, place, clean))
    run.say(f"{place.name}: {run.kills.total()} kills so far, {run.looks} looks")


def _check_report(run: Run, place: Place, clean: Place) -> list[str]:
    """Compare the report of a job; write it first where its driver was killed while it did so."""
    status = job_status(place.store.locate())
    lease = read_lease(place.store, status.job_id)
    if status.report is None and lease and lease.driver.pid in run.killed:
        run.reports_again += 1
        report_job(place.store.locate())
    return compare_stores(clean.files, place.files, NAME)


def _submit(run: Run, place: Place) -> str:
    grid = run.folder / "grid.yaml"
    process = _command("submit", grid, "--detach", "--quiet", "--workers", 2, "--store", place.store.locate())
    out, _ = process.communicate(timeout=PATIENCE_S)
    return out.strip()


def _command(*words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mnistjobs", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _watch(run: Run, place: Place, kills: int, server: MortalServer) -> str:
    """Look at the latest job every second until it does not run any longer, killing now and then; return its state."""
    deadline = time.monotonic() + PATIENCE_S
    due_s = time.monotonic() + run.rng.uniform(0, GAP_S)
    watcher = _command("watch", "--store", place.store.locate())
    while time.monotonic() < deadline:
        job = _look(run, place)
        if job.state not in ("queued", "running"):
            lease = read_lease(place.store, job.job_id)
            while lease and is_running(lease.driver) and time.monotonic() < deadline:  # it writes the report
                time.sleep(LOOK_S)
            _kill(watcher)
            return str(job.state.value)
        if kills and time.monotonic() >= due_s and job.driver:
            kills, due_s = kills - 1, time.monotonic() + run.rng.uniform(0, GAP_S)
            chances = {**VICTIMS, "client": 1, **({"server": 2} if place.is_bucket else {})}
            victim = run.rng.choices([*chances], [*chances.values()])[0]
            if victim == "client":
                run.kills[victim] += _kill(watcher)
                watcher = _command("watch", "--store", place.store.locate())
            else:
                run.kills[victim] += _kill_victim(run, victim, job.driver, server)
        time.sleep(LOOK_S)
    _kill(watcher)
    run.fault(place.name, ["a job hangs"])
    return "hangs"


def _kill_victim(run: Run, victim: str, driver: Process, server: MortalServer) -> bool:
    """SIGKILL a victim of this role; tell whether there was one. A server is started again after a while."""
    if victim == "server":
        server.kill()
        time.sleep(run.rng.uniform(0, OUTAGE_S))
        server.start()
        return True
    is_hit = kill_one(Driver(driver.pid), victim, run.rng)
    if is_hit and victim in FATAL:
        run.killed.add(driver.pid)
    return is_hit


def _kill(process: "subprocess.Popen[str]") -> bool:
    """SIGKILL a command; tell whether it was still there."""
    is_alive = process.poll() is None
    process.kill()
    process.communicate()
    return is_alive


def _look(run: Run, place: Place) -> Job:
    """Read the latest job's state, and hold it against the driver's process just before and just after."""
    before = _driver(run, find_job(place.store, NAME))
    job = find_job(place.store, NAME)
    after = _driver(run, job)
    run.looks += 1
    run.states[str(job.state.value)] += 1
    if job.state in ("queued", "running") and not before and not after:
        run.fault(place.name, [f"a job is {job.state} without a driver"])
    if job.state == "lost" and before and after:
        run.fault(place.name, ["a job is lost with a driver"])
    return job


def _driver(run: Run, job: Job) -> bool:
    """Return whether a process drives a job, as /proc tells; it is the first one of its session."""
    if not job.driver:
        return False
    if job.driver.pid not in run.sessions:
        run.sessions.append(job.driver.pid)
    return any(each.pid == job.driver.pid and job.job_id in each.command for each in processes_of([job.driver.pid]))


def main() -> int:
    """Read the command line, run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30, help="how many at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (default: %(default)s)")
    arguments = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(f"{line}{os.linesep}")
        sys.stdout.flush()

    return 1 if run_chaos(arguments.kills, arguments.seed, say).wrong else 0


if __name__ == "__main__":
    sys.exit(main())
