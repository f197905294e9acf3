"""Kill a study again and again, at random moments; submitting again must finish it, as if nothing had happened.

Three phases: a clean run; runs under faults, in rounds of a store each; and the comparison. Ends with exit code 1
where anything was lost, trained twice, left over or different.

    .venv/bin/python tests/chaos.py --kills 100 --seed 0
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.chaos_checks import Seen, check_store, compare_stores, look
from support.chaos_processes import (
    OF_RAY,
    VICTIMS,
    Submit,
    await_end,
    end_all,
    has_worker,
    kill_one,
    shared_memory,
    start_submit,
)

from jobs.store.layout import Store, open_store

NAME = "chaos"
GRID = """\
name: chaos
dataset: digits
grid: {{model: [mlp, cnn], subset_size: [60, 120], adaptive_lr: [false, true], seeds: {seeds}}}
exclude: [{{model: cnn, subset_size: 60}}, {{model: cnn, adaptive_lr: false}}]
train: {{epochs: 50, batch_size: 20, learning_rate: 0.01, hidden_units: 16}}
"""
KILLS_PER_ROUND = 10
KILLS_PER_SUBMIT = 3  # at most; what survives one may meet the next
PATIENCE_S = 300.0  # with a submit that has lost something, before it counts as hanging
RAY_PATIENCE_S = 15.0  # for which Ray waits for a GCS that has gone: a minute, unless told otherwise


@dataclass
class Chaos:
    """The settings of a run, and what has happened in it."""

    folder: Path
    rng: random.Random
    say: Callable[[str], None]
    environment: dict[str, str]
    ray_patience_s: float
    typical_s: float = 0.0  # how long a clean run takes
    ray_s: float = 0.0  # until its first worker is there
    trials: int = 0  # of the study
    kills: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)  # how the submits ended that had all been killed into
    sessions: list[int] = field(default_factory=list)
    twice: int = 0  # trials that two submits, or two attempts, trained at once
    tracebacks: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    @property
    def grid(self) -> Path:
        return self.folder / "grid.yaml"

    def start(self, store: Store) -> Submit:
        log = self.folder / f"submit-{len(self.sessions)}.log"
        submit = start_submit(self.grid, store.root, log, self.environment)
        self.sessions.append(submit.session)
        return submit

    def fault(self, where: str, faults: list[str]) -> None:
        for fault in faults:
            self.wrong.append(f"{where}: {fault}")
            self.say(f"WRONG {self.wrong[-1]}")


def run_chaos(
    kills: int,
    seed: int,
    say: Callable[[str], None],
    *,
    seeds: int = 3,
    kills_per_round: int = KILLS_PER_ROUND,
    ray_patience_s: float = RAY_PATIENCE_S,
) -> Chaos:
    """Run all three phases with at least `kills` kills; return what happened. Cleans up unless something is wrong."""
    # Not below a test's folder: the path of a Unix socket has 107 bytes at most.
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    environment = {"RAY_TMPDIR": str(folder), "RAY_gcs_rpc_server_reconnect_timeout_s": f"{ray_patience_s:.0f}"}
    chaos = Chaos(folder, random.Random(seed), say, environment, ray_patience_s)
    chaos.grid.write_text(GRID.format(seeds=seeds))
    before = shared_memory()
    started = time.monotonic()
    say(f"seed {seed}, {kills} kills, in {folder}")
    try:
        clean = _clean_run(chaos)
        rounds = 0
        while chaos.kills.total() < kills and rounds < kills + 5:
            count = min(kills_per_round, kills - chaos.kills.total())
            _round(chaos, open_store(folder / f"round-{rounds}"), count, clean)
            rounds += 1
        _check_leftovers(chaos, before)
        if chaos.kills.total() < kills:
            chaos.fault("kills", [f"only {chaos.kills.total()} of {kills} hit in {rounds} rounds"])
    finally:
        end_all(chaos.sessions)
    _conclude(chaos, rounds, time.monotonic() - started)
    if not chaos.wrong:
        shutil.rmtree(folder)
    return chaos


def _clean_run(chaos: Chaos) -> Store:
    """Run the study with nothing in its way, and learn how long it takes."""
    store = open_store(chaos.folder / "clean")
    started = time.monotonic()
    submit = chaos.start(store)
    while submit.is_running and not has_worker(submit):
        time.sleep(0.1)
    chaos.ray_s = time.monotonic() - started
    _check_end(chaos, submit, "clean run")
    chaos.typical_s = time.monotonic() - started
    chaos.trials = len(look(store)[0].rows)
    chaos.say(f"clean run: {chaos.trials} trials in {chaos.typical_s:.1f} s, a worker after {chaos.ray_s:.1f} s")
    return store


def _check_end(chaos: Chaos, submit: Submit, where: str) -> None:
    """Wait for an undisturbed submit; nothing else than the exit code of success will do."""
    code = _wait(submit, PATIENCE_S)
    if code is None:
        chaos.fault(where, [f"an undisturbed submit hangs, see {submit.log}"])
    elif code != 0:
        chaos.fault(where, [f"an undisturbed submit ends with exit code {code}, see {submit.log}"])


def _round(chaos: Chaos, store: Store, kills: int, clean: Store) -> None:
    """Submit a study under fire until it has taken so many kills or is done, then once in peace; compare."""
    where, before = store.root.name, Seen({}, {})
    so_far = chaos.kills.total()
    code: int | None = None
    while chaos.kills.total() - so_far < kills and code != 0:
        code = _submit_under_fire(chaos, store, kills - (chaos.kills.total() - so_far))
        before, wrong = check_store(store, before)
        chaos.fault(where, wrong)
    _check_end(chaos, chaos.start(store), where)
    after, wrong = check_store(store, before)
    chaos.fault(where, wrong + compare_stores(clean, store, NAME))
    chaos.twice += sum(count - 1 for count in after.rows.values())
    chaos.say(f"{where}: {chaos.kills.total()} kills so far, {len(after.rows)} trials, {dict(chaos.kills)}")


def _submit_under_fire(chaos: Chaos, store: Store, most: int) -> int | None:
    """Submit and kill at random moments of its length, at most so often; return the driver's exit code."""
    missing = 1 - len(look(store)[0].rows) / chaos.trials
    submit, started = chaos.start(store), time.monotonic()
    taken = 0
    for moment, victim in _moments(chaos, most, missing):
        if _wait(submit, max(0.0, started + moment - time.monotonic())) is not None:
            break
        if kill_one(submit, victim, chaos.rng):
            chaos.kills[victim] += 1
            taken += 1
    code = _wait(submit, PATIENCE_S)
    if code is None:
        chaos.fault(store.root.name, [f"a submit hangs after a kill, see {submit.log}"])
        end_all([submit.session])
        submit.process.wait()
    elif taken:
        chaos.codes[code] += 1
    elif code == 0 and missing == 1:
        # Faster than the clean run: the machine was busy then, and moments have to hit.
        chaos.typical_s = min(chaos.typical_s, time.monotonic() - started)
    elif code != 0:
        chaos.fault(store.root.name, [f"a submit that nothing happened to ends with {code}, see {submit.log}"])
    if b"Traceback (most recent call last)" in submit.log.read_bytes():
        chaos.tracebacks.append(submit.log.name)
    return code


def _moments(chaos: Chaos, most: int, missing: float) -> list[tuple[float, str]]:
    """Draw when to kill whom: at any moment of the run, or of the part of it in which Ray is there."""
    # As long as the share of trials that it has to train lets one expect.
    length = chaos.ray_s + missing * max(0.0, chaos.typical_s - chaos.ray_s)
    victims = VICTIMS if missing else {victim: VICTIMS[victim] for victim in VICTIMS if victim not in OF_RAY}
    drawn = chaos.rng.choices([*victims], [*victims.values()], k=min(most, chaos.rng.randint(1, KILLS_PER_SUBMIT)))
    begins = {victim: min(chaos.ray_s, length / 2) if victim in OF_RAY else 0.0 for victim in victims}
    return sorted((chaos.rng.uniform(begins[victim], length), victim) for victim in drawn)


def _wait(submit: Submit, timeout_s: float) -> int | None:
    """Wait for a driver to end; return its exit code, or None where it still runs."""
    try:
        return submit.process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        return None


def _check_leftovers(chaos: Chaos, before: set[str]) -> None:
    """Find processes, temporary files and shared memory that outlived the submits."""
    # Ray's agents outlive a raylet that was killed for as long as that.
    left = await_end(chaos.sessions, chaos.ray_patience_s + 60)
    chaos.fault("leftovers", [f"process {process.pid}: {process.command[:100]}" for process in left])
    chaos.fault("leftovers", [f"file {path}" for path in sorted(chaos.folder.glob("*/**/*.tmp"))])
    chaos.fault("leftovers", [f"/dev/shm/{name}" for name in sorted(shared_memory() - before)])


def _conclude(chaos: Chaos, rounds: int, seconds: float) -> None:
    """Say what happened, and what Ray leaves by itself."""
    victims = ", ".join(f"{name} {count}" for name, count in sorted(chaos.kills.items()))
    codes = ", ".join(f"{code}: {count}" for code, count in sorted(chaos.codes.items()))
    chaos.say(f"kills: {chaos.kills.total()} ({victims}), all of them while the driver lived")
    chaos.say(f"submits: {len(chaos.sessions)} in {rounds} rounds; exit codes of those killed into: {codes}")
    chaos.say(f"trained at the same time by two: {chaos.twice}; submits with a traceback: {chaos.tracebacks}")
    sessions = list(chaos.folder.glob("mnistjobs-*/session_*_*"))
    size = sum(path.lstat().st_size for session in sessions for path in session.rglob("*") if path.is_file())
    chaos.say(f"Ray itself left {len(sessions)} folders of sessions, {size / 1e6:.1f} MB")
    chaos.say(f"wall time: {seconds:.0f} s")
    verdict = f"{len(chaos.wrong)} faults; all is left in {chaos.folder}" if chaos.wrong else "identical"
    chaos.say(verdict)


def main() -> int:
    """Read the command line, run, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="how many at least (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of moments and victims (default: %(default)s)")
    arguments = parser.parse_args()

    # What it has started must not outlive it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))

    def say(line: str) -> None:
        sys.stdout.write(f"{line}{os.linesep}")
        sys.stdout.flush()

    return 1 if run_chaos(arguments.kills, arguments.seed, say).wrong else 0


if __name__ == "__main__":
    sys.exit(main())
