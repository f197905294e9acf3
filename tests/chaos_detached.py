"""Kill the drivers of detached jobs, their Rays and their watchers; look at their states every second meanwhile.

No look may show a state that is false: `queued` or `running` without a driver, `lost` with one. A lost job is resumed
by two at once, of which one succeeds. At the end the tables are those of an undisturbed study.

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

import mnistjobs
from jobs.service import queue
from jobs.store.job_models import Job
from jobs.store.job_record import find_job
from jobs.store.layout import Store, open_store
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


@dataclass
class Run:
    """What has happened so far."""

    folder: Path
    rng: random.Random
    say: Callable[[str], None]
    looks: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)  # as they were seen
    sessions: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def fault(self, where: str, faults: list[str]) -> None:
        for fault in faults:
            self.wrong.append(f"{where}: {fault}")
            self.say(f"WRONG {self.wrong[-1]}")


def run_chaos(kills: int, seed: int, say: Callable[[str], None]) -> Run:
    """Run rounds of one store each until there were so many kills; return what happened."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    os.environ |= {"RAY_TMPDIR": str(folder), queue.FOLDER_VARIABLE: str(folder / "queue")}
    run = Run(folder, random.Random(seed), say)
    (folder / "grid.yaml").write_text(GRID)
    try:
        clean = open_store(folder / "clean")
        _submit(run, clean)
        if _watch(run, clean, kills=0) != "finished":
            run.fault("clean", ["an undisturbed job does not finish"])
        while run.kills.total() < kills and not run.wrong:
            _round(run, open_store(folder / f"round-{run.kills.total()}"), clean)
        left = await_end(run.sessions, 90.0)
        run.fault("leftovers", [f"process {each.pid}: {each.command[:100]}" for each in left])
    finally:
        end_all(run.sessions)
    say(f"kills: {dict(run.kills)}; looks: {run.looks}, {dict(run.states)}; {len(run.wrong)} faults")
    if not run.wrong:
        shutil.rmtree(folder)
    return run


def _round(run: Run, store: Store, clean: Store) -> None:
    """Submit a study, kill and resume it until it has finished, and compare."""
    job_id, before = _submit(run, store), Seen({}, {})
    left = KILLS_PER_JOB
    while (state := _watch(run, store, left)) != "finished":
        before, wrong = check_store(store, before)
        run.fault(store.root.name, wrong)
        left = max(0, left - 1)
        # Of two that resume a lost job one succeeds; a job that the end of its Ray has interrupted makes a new one.
        expected = [0, 2] if state == "lost" else [0]
        resumes = [_command("resume", job_id, "--detach", "--store", store.root) for _ in expected]
        codes = sorted(each.wait(PATIENCE_S) for each in resumes)
        if codes != expected:
            run.fault(store.root.name, [f"resuming a job that was {state} ends with {codes}"])
        job_id = find_job(store, NAME).job_id
    _, wrong = check_store(store, before)
    mnistjobs.report_job(store.root, job_id)  # where the driver was killed while it wrote the report
    run.fault(store.root.name, wrong + compare_stores(clean, store, NAME))
    run.say(f"{store.root.name}: {run.kills.total()} kills so far, {run.looks} looks")


def _submit(run: Run, store: Store) -> str:
    grid = run.folder / "grid.yaml"
    process = _command("submit", grid, "--detach", "--quiet", "--workers", 2, "--store", store.root)
    out, _ = process.communicate(timeout=PATIENCE_S)
    return out.strip()


def _command(*words: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mnistjobs", *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _watch(run: Run, store: Store, kills: int) -> str:
    """Look at the latest job every second until it does not run any longer, killing now and then; return its state."""
    deadline = time.monotonic() + PATIENCE_S
    due_s = time.monotonic() + run.rng.uniform(0, 30)
    driver: Process | None = None
    watcher = _command("watch", "--store", store.root)
    while time.monotonic() < deadline:
        job = _look(run, store)
        if job.state not in ("queued", "running"):
            while driver and is_running(driver) and time.monotonic() < deadline:  # it writes the report
                time.sleep(LOOK_S)
            _kill(watcher)
            return str(job.state.value)
        driver = job.driver
        if kills and time.monotonic() >= due_s and job.driver:
            kills, due_s = kills - 1, time.monotonic() + run.rng.uniform(0, 30)
            victim = run.rng.choices([*VICTIMS, "client"], [*VICTIMS.values(), 1])[0]
            if victim == "client":
                run.kills[victim] += _kill(watcher)
                watcher = _command("watch", "--store", store.root)
            else:
                run.kills[victim] += kill_one(Driver(job.driver.pid), victim, run.rng)
        time.sleep(LOOK_S)
    _kill(watcher)
    run.fault(store.root.name, ["a job hangs"])
    return "hangs"


def _kill(process: "subprocess.Popen[str]") -> bool:
    """SIGKILL a command; tell whether it was still there."""
    is_alive = process.poll() is None
    process.kill()
    process.communicate()
    return is_alive


def _look(run: Run, store: Store) -> Job:
    """Read the latest job's state, and hold it against the driver's process just before and just after."""
    before = _driver(run, find_job(store, NAME))
    job = find_job(store, NAME)
    after = _driver(run, job)
    run.looks += 1
    run.states[str(job.state.value)] += 1
    if job.state in ("queued", "running") and not before and not after:
        run.fault(store.root.name, [f"a job is {job.state} without a driver"])
    if job.state == "lost" and before and after:
        run.fault(store.root.name, ["a job is lost with a driver"])
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
