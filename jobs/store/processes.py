"""Identify a file's writer, so that a recycled or foreign PID is not mistaken for it."""

import os
import re
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import psutil

# psutil adds the boot time, in whole seconds, to a process's age; the two readings may round differently.
_TOLERANCE = 200  # hundredths of a second
_GONE = (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)  # such a process writes nothing


@dataclass(frozen=True)
class Process:
    """Identify a process, on any host and beyond its end."""

    host: str
    boot: str  # of the host: eight hexadecimal digits; "" where unknown
    space: int  # PID namespace: every container has its own; 0 where unknown
    pid: int
    started: int  # hundredths of a second after the boot; 0 where unknown

    def is_from_here(self) -> bool:
        """Return whether this host and container can tell if the process runs."""
        here = this_process()
        return self.host == here.host and (self.space == here.space or self.boot != here.boot)


def this_process() -> Process:
    """Identify the calling process."""
    return _identify(os.getpid())  # a fork has another PID


def process_of(pid: int) -> Process:
    """Identify a process of this host, such as one that this process has started."""
    return replace(this_process(), pid=pid, started=_started(pid) or 0)


@cache
def _identify(pid: int) -> Process:
    host = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:64] or "_"
    boot, space = "", 0
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
    with suppress(OSError, ValueError):
        space = int(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return Process(host, boot if re.fullmatch("[0-9a-f]{8}", boot) else "", space, pid, _started(pid) or 0)


def is_gone(process: Process) -> bool:
    """Return whether a process is known to have ended; nothing is known of other hosts and containers."""
    here = this_process()
    if not process.is_from_here():
        return False
    if process.boot != here.boot:
        return bool(process.boot and here.boot)  # the host has been rebooted
    started = _started(process.pid)
    if started is None:
        return True
    return bool(started and process.started) and abs(started - process.started) > _TOLERANCE


def is_here(process: Process) -> bool:
    """Return whether a process is or was one of this host, since it was last booted, and of this container.

    Unlike `is_from_here` this takes a process of another boot for one of another machine of the same name.
    """
    here = this_process()
    return bool(here.boot) and (process.host, process.boot, process.space) == (here.host, here.boot, here.space)


def is_running(process: Process, thread: int = 0) -> bool:
    """Return whether a process of this host runs, and a thread of it unless that is 0."""
    if is_gone(process):
        return False
    tasks = Path(f"/proc/{process.pid}/task")
    return not thread or not tasks.is_dir() or (tasks / str(thread)).exists()


def _started(pid: int) -> int | None:
    """Return when a process started, in hundredths of a second after the boot.

    0 where it runs and its start is hidden, None where it does not run.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in _GONE:
            return None
        # Counted from the boot: adjusting the clock moves both times.
        return max(1, round(100 * (process.create_time() - psutil.boot_time())))
    except psutil.AccessDenied:
        return 0
    except (psutil.NoSuchProcess, ValueError, OverflowError):
        return None
