"""Which process wrote something: told apart from one that has been given its number since, and from other hosts'."""

import os
import re
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PROC = Path("/proc")
_DEAD = ("Z", "X")  # states: a zombie writes no more


@dataclass(frozen=True)
class Process:
    """Name a process for as long as what it wrote may lie somewhere."""

    host: str
    boot: str  # of the host's system, eight hexadecimal digits; "" where it does not tell
    space: int  # of process numbers, of which every container has its own; 0 where the system does not tell
    pid: int
    started: int  # in the system's ticks after its boot; 0 where it does not tell

    def is_from_here(self) -> bool:
        """Tell whether this process would know if that one runs."""
        here = this_process()
        return self.host == here.host and (self.space == here.space or self.boot != here.boot)


def this_process() -> Process:
    """Name the process that asks."""
    return _name_process(os.getpid())  # its number, as a fork has another


@cache
def _name_process(pid: int) -> Process:
    host = re.sub(r"[^A-Za-z0-9-]", "_", socket.gethostname())[:64] or "_"
    boot, space = "", 0
    with suppress(OSError):
        boot = (_PROC / "sys/kernel/random/boot_id").read_text()[:8]
    with suppress(OSError, ValueError):
        space = int(os.readlink(_PROC / "self/ns/pid").strip("pid:[]"))
    return Process(host, boot if re.fullmatch("[0-9a-f]{8}", boot) else "", space, pid, _started(pid) or 0)


def is_gone(process: Process) -> bool:
    """Tell whether a process is known to run no more; of other hosts and other containers nothing is known."""
    here = this_process()
    if not process.is_from_here():
        return False
    if process.boot != here.boot:
        return bool(process.boot and here.boot)  # the host has been started anew
    return _started(process.pid) not in (process.started, 0)


def read_process(fields: object) -> Process | None:
    """Take a process from the fields that `vars` gave, or None where they are not such."""
    if not isinstance(fields, Mapping) or fields.keys() != Process.__dataclass_fields__.keys():
        return None
    kinds: dict[str, Any] = dict.fromkeys(fields, int) | {"host": str, "boot": str}
    if any(type(fields[name]) is not kind for name, kind in kinds.items()):
        return None
    return Process(**fields)


def _started(pid: int) -> int | None:
    """Return when a process was started, 0 where it runs and the system does not tell, None where it does not run."""
    try:
        # The name of the program, in parentheses, may itself hold spaces and parentheses.
        state, *numbers = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if state in _DEAD else int(numbers[18])
    except (OSError, ValueError, IndexError):
        return 0 if _answers(pid) else None  # not Linux, or others' processes are hidden


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
