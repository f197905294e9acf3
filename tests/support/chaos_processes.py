"""The processes of one submit on a Ray of its own: started in a session, told apart by what they do, and killed.

A session is inherited by all that a process starts, whatever it calls itself later, and Ray's processes stay in theirs:
so it tells this submit's processes from those of other people's Rays on the same machine.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

VICTIMS = {"driver": 1, "group": 1, "worker": 2, "raylet": 1, "gcs": 1}  # with how often each is chosen
OF_RAY = ("worker", "raylet", "gcs")  # which are not there from the beginning


@dataclass(frozen=True)
class Process:
    """One living process, as /proc tells."""

    pid: int
    parent: int
    session: int
    command: str


@dataclass
class Submit:
    """One `mnistjobs submit`, leader of a session and of a process group."""

    process: "subprocess.Popen[bytes]"
    log: Path

    @property
    def session(self) -> int:
        return self.process.pid

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None


@dataclass(frozen=True)
class Driver:
    """The driver of a detached job, leader of a session and of a process group."""

    session: int


def start_submit(grid: Path, store: Path, log: Path, environment: Mapping[str, str]) -> Submit:
    """Start a submit with two workers on a Ray that it starts itself, its output in a file."""
    command = [sys.executable, "-m", "mnistjobs", "submit", str(grid), "--store", str(store), "--workers", "2"]
    outside = ("RAY_ADDRESS", "MNISTJOBS_STORE")
    environment = {name: value for name, value in os.environ.items() if name not in outside} | dict(environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Submit(process, log)


def processes_of(sessions: Sequence[int]) -> list[Process]:
    """List the living processes of these sessions."""
    found = []
    for folder in Path("/proc").iterdir():
        # Most processes end by themselves while one looks.
        with suppress(FileNotFoundError, ProcessLookupError):
            process = _process(folder) if folder.name.isdecimal() else None
            if process and process.session in sessions:
                found.append(process)
    return found


def _process(folder: Path) -> Process | None:
    # The name, in parentheses, may hold anything; behind it: state, parent, group, session.
    state, parent, _, session, *_ = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return None if state in "ZX" else Process(int(folder.name), int(parent), int(session), command)


def kill_one(submit: Submit | Driver, role: str, rng: random.Random) -> bool:
    """SIGKILL a victim of this role, or the driver's whole group; tell whether there was one, and its driver alive."""
    found = _victims(submit).get(role)
    if not found:
        return False
    chosen = rng.choice(found)
    try:
        if role == "group":
            os.killpg(chosen.pid, signal.SIGKILL)
        else:
            os.kill(chosen.pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def has_worker(submit: Submit) -> bool:
    """Tell whether Ray has come so far."""
    return "worker" in _victims(submit)


def _victims(submit: Submit | Driver) -> dict[str, list[Process]]:
    """Sort the living processes of a submit by what they do; nothing once its driver has ended."""
    processes = processes_of([submit.session])
    raylets = [process for process in processes if "/raylet/raylet " in process.command]
    # The driver is our child: its pid cannot be another's until we have waited for it.
    driver = [process for process in processes if process.pid == submit.session]
    found = {
        "driver": driver,
        "group": driver,
        "raylet": raylets,
        "gcs": [process for process in processes if "/gcs/gcs_server " in process.command],
        "worker": [
            process
            for process in processes
            if process.parent in {raylet.pid for raylet in raylets} and _is_worker(process.command)
        ],
    }
    return {role: candidates for role, candidates in found.items() if candidates} if driver else {}


def _is_worker(command: str) -> bool:
    """Tell a worker, at work, idle or starting, from Ray's agents, which are the raylet's children too."""
    return "default_worker.py" in command or (command.startswith("ray::") and not command.endswith("Agent"))


def await_end(sessions: Sequence[int], timeout_s: float) -> list[Process]:
    """Wait until no process of these sessions lives; return those that still do, at the end of one's patience."""
    deadline = time.monotonic() + timeout_s
    while (left := processes_of(sessions)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def end_all(sessions: Sequence[int]) -> None:
    """SIGKILL whatever lives of these sessions."""
    for process in processes_of(sessions):
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)


def shared_memory() -> set[str]:
    """Name the segments of shared memory that no living process has open or mapped.

    Segments are files. Folders there are other tests' temporary files: `make test` puts those into memory.
    """
    segments = Path("/dev/shm")
    names = {path.name for path in segments.iterdir() if path.is_file()} if segments.is_dir() else set()
    in_use = subprocess.run(
        ["sh", "-c", "cat /proc/[0-9]*/maps 2>/dev/null; ls -l /proc/[0-9]*/fd 2>/dev/null"],
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    ).stdout
    return {name for name in names if f"/dev/shm/{name}" not in in_use}
