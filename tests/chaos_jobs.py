"""Kill detached jobs again and again, at random moments: their drivers, what runs under them, and who watches them.

Somebody looks at the job every second, and no look may show a false state: a job whose driver is gone does not run, one
whose driver lives is not lost, and one that has finished has all of its trials. What is lost or interrupted is resumed.
In the end nothing may be lost, nothing trained again that had finished, and the tables must equal those of a study that
nothing happened to. Ends with exit code 1 otherwise.

    .venv/bin/python tests/chaos_jobs.py --kills 100 --seed 0
"""

import argparse
import json
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

from support.chaos_checks import Seen, check_store, compare_stores, look
from support.chaos_processes import await_end, end_all, kill_one

from jobs.store import Store, open_store, read_job

NAME = "chaos"
GRID = """\
name: chaos
dataset: digits
grid: {{model: [mlp, cnn], subset_size: [60, 120], adaptive_lr: [false, true], seeds: {seeds}}}
exclude: [{{model: cnn, subset_size: 60}}, {{model: cnn, adaptive_lr: false}}]
train: {{epochs: 50, batch_size: 20, learning_rate: 0.01, hidden_units: 16}}
"""
VICTIMS = {"driver": 3, "group": 1, "client": 1, "worker": 2, "raylet": 1, "gcs": 1}
WITHOUT_RAY = ("driver", "group", "client")
KILLS_PER_ROUND = 10
LOOK_EVERY_S = 1.0
PATIENCE_S = 600.0  # with a job, or a command, before it counts as hanging
RAY_PATIENCE_S = 15.0  # for which Ray waits for a GCS that has gone
OPEN = ("queued", "running")


@dataclass
class Chaos:
    """The settings of a run, and what has happened in it."""

    folder: Path
    rng: random.Random
    say: Callable[[str], None]
    options: tuple[str, ...]
    typical_s: float = 0.0  # how long a study takes that nothing happens to
    kills: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)  # by the state that they showed
    sessions: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def fault(self, where: str, faults: list[str]) -> None:
        for fault in faults:
            self.wrong.append(f"{where}: {fault}")
            self.say(f"WRONG {self.wrong[-1]}")

    def command(self, *words: object) -> list[str]:
        return [sys.executable, "-m", "mnistjobs", *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        outside = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "MNISTJOBS_STORE")
        kept = {name: value for name, value in os.environ.items() if name not in outside}
        ray = {"RAY_TMPDIR": str(self.folder), "RAY_gcs_rpc_server_reconnect_timeout_s": f"{RAY_PATIENCE_S:.0f}"}
        return kept | ray | {"MNISTJOBS_QUEUE_DIR": str(self.folder / "queue")}

    def ask(self, *words: object) -> str:
        """Run a command to its end; return its standard output."""
        done = subprocess.run(
            self.command(*words), env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode not in (0, 1):
            self.fault(" ".join(map(str, words[:2])), [f"exit code {done.returncode}: {done.stderr[-300:]}"])
        return done.stdout


def drivers(job_id: str) -> set[int]:
    """Return the pids of a job's living drivers, as /proc tells; each leads a session."""
    found = set()
    for folder in Path("/proc").iterdir():
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0") if folder.name.isdecimal() else []
            state = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] if words else "X"
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"drive" in words and job_id.encode() in words and state not in "ZX":
            found.add(int(folder.name))
    return found


class Watched:
    """A detached job at which somebody looks every second."""

    def __init__(self, chaos: Chaos, store: Store, job_id: str) -> None:
        self.chaos, self.store, self.job_id = chaos, store, job_id
        self._held: set[int] = set()  # drivers that have been seen to run the job
        self.client = self._start_client()

    def _start_client(self) -> "subprocess.Popen[bytes]":
        command = self.chaos.command("watch", self.job_id, "--store", self.store.root)
        silent = subprocess.DEVNULL
        return subprocess.Popen(command, env=self.chaos.environment, stdin=silent, stdout=silent, stderr=silent)

    def look(self) -> str:
        """Look at the job once, and compare what is shown with what is so; return the state that it shows."""
        before = drivers(self.job_id)
        state = read_job(self.store, self.job_id).state.value
        after = drivers(self.job_id)
        self.chaos.looks[state] += 1
        self.chaos.sessions += before - set(self.chaos.sessions)
        if state == "running" and not before:
            self.chaos.fault("look", ["running is shown, and no driver lives"])
        if state == "lost" and (living := self._held & before & after):
            self.chaos.fault("look", [f"lost is shown, and its driver {living} lives"])
        if state == "running" and len(before) == 1:
            self._held |= before & after
        return state

    def kill(self, victim: str) -> bool:
        """Kill one of those who have to do with the job; return whether there was one."""
        if victim == "client":
            is_alive = self.client.poll() is None
            self.client.kill()
            self.client.wait()
            self.client = self._start_client()
            return is_alive
        return any(kill_one(session, victim, self.chaos.rng) for session in drivers(self.job_id))

    def resume(self) -> None:
        """Go on with the job, under the same id or as a new job."""
        said = self.chaos.ask("resume", self.job_id, "--store", self.store.root, "--detach", "--json")
        lines = [line for line in said.splitlines() if line.startswith("{")]
        if lines and (job_id := json.loads(lines[-1])["job_id"]) != self.job_id:
            self.end_client()
            self.job_id, self._held = job_id, set()
            self.client = self._start_client()

    def end_client(self) -> None:
        self.client.kill()
        self.client.wait()


def run_chaos(
    kills: int, seed: int, say: Callable[[str], None], *, seeds: int = 3, options: tuple[str, ...] = ("--workers", "2")
) -> Chaos:
    """Kill so often; return what happened. Cleans up unless something is wrong."""
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    chaos = Chaos(folder, random.Random(seed), say, options)
    (folder / "grid.yaml").write_text(GRID.format(seeds=seeds))
    say(f"seed {seed}, {kills} kills of detached jobs, in {folder}")
    try:
        clean, started = open_store(folder / "clean"), time.monotonic()
        chaos.ask("submit", folder / "grid.yaml", "--store", clean.root, "--quiet", *options)
        chaos.typical_s = time.monotonic() - started
        for number in range(kills + 5):
            if chaos.kills.total() >= kills:
                break
            _round(
                chaos, open_store(folder / f"round-{number}"), min(KILLS_PER_ROUND, kills - chaos.kills.total()), clean
            )
        left = await_end(chaos.sessions, RAY_PATIENCE_S + 60)
        chaos.fault("leftovers", [f"process {process.pid}: {process.command[:100]}" for process in left])
        if chaos.kills.total() < kills:
            chaos.fault("kills", [f"only {chaos.kills.total()} of {kills} hit"])
    finally:
        end_all(chaos.sessions)
    shown = ", ".join(f"{state} {count}" for state, count in sorted(chaos.looks.items()))
    say(f"kills: {chaos.kills.total()} ({', '.join(f'{who} {n}' for who, n in sorted(chaos.kills.items()))})")
    say(f"looks: {chaos.looks.total()} ({shown}); false states: {sum('look:' in each for each in chaos.wrong)}")
    say(f"{len(chaos.wrong)} faults; all is left in {folder}" if chaos.wrong else "identical")
    if not chaos.wrong:
        shutil.rmtree(folder)
    return chaos


def _round(chaos: Chaos, store: Store, kills: int, clean: Store) -> None:
    """Submit a detached study, kill it so often at most, resume it whenever it needs that; compare in the end."""
    so_far, before = chaos.kills.total(), Seen({}, {})
    grid = chaos.folder / "grid.yaml"
    said = chaos.ask("submit", grid, "--store", store.root, "--detach", "--quiet", *chaos.options)
    job = Watched(chaos, store, said.split()[-1])
    deadline = time.monotonic() + PATIENCE_S
    kill_at_s = _next_kill_s(chaos)
    while (state := job.look()) != "finished":
        if time.monotonic() > deadline:
            chaos.fault(store.root.name, [f"the job hangs: {state}"])
            break
        if state not in OPEN:
            before, wrong = check_store(store, before)
            chaos.fault(store.root.name, wrong)
            job.resume()
            deadline, kill_at_s = time.monotonic() + PATIENCE_S, _next_kill_s(chaos)
        elif chaos.kills.total() - so_far < kills and time.monotonic() >= kill_at_s:
            victim = chaos.rng.choices([*VICTIMS], [*VICTIMS.values()])[0]
            is_there = "--in-process" not in chaos.options or victim in WITHOUT_RAY
            chaos.kills[victim] += is_there and job.kill(victim)
            kill_at_s = _next_kill_s(chaos)
        time.sleep(LOOK_EVERY_S)
    await_end([*drivers(job.job_id)], PATIENCE_S)  # it writes the report, after its job has finished
    job.end_client()
    after, wrong = check_store(store, before)
    lost = look(clean)[0].rows.keys() - after.rows.keys()
    chaos.fault(store.root.name, [f"trial {each} is missing" for each in lost] + wrong)
    chaos.ask("report", job.job_id, "--store", store.root)  # a driver killed after the last trial has written none
    chaos.fault(store.root.name, compare_stores(clean, store, NAME))
    chaos.say(f"{store.root.name}: {chaos.kills.total()} kills so far, {chaos.looks.total()} looks")


def _next_kill_s(chaos: Chaos) -> float:
    return time.monotonic() + chaos.rng.uniform(0, chaos.typical_s / 2)


def main() -> int:
    """Read the command line, run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (default: %(default)s)")
    parser.add_argument("--in-process", action="store_true", help="train in the drivers, without Ray")
    arguments = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(f"{line}{os.linesep}")
        sys.stdout.flush()

    options = ("--in-process",) if arguments.in_process else ("--workers", "2")
    return 1 if run_chaos(arguments.kills, arguments.seed, say, options=options).wrong else 0


if __name__ == "__main__":
    sys.exit(main())
