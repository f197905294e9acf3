"""The processes of a Ray that was started here: marked by their environment, so that none outlives its driver for long.

Ray ends most of them with the driver, however that ends, but its agents look for it for a minute more.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MARK = "MNISTJOBS_RAY_OF"
_PROC = Path("/proc")


@contextmanager
def marked() -> Iterator[None]:
    """Mark what is started meanwhile, and all that it starts, as this process's; a terminal that closes spares it.

    It is for this process to end what it has started: a Ray that loses some of its processes while it starts keeps
    its driver waiting for half a minute.
    """
    # Ray's processes write their titles over their environment unless told not to.
    marks = {_MARK: _name_of(os.getpid()) or "", "SPT_NOENV": "1"}
    before = {name: os.environ[name] for name in marks if name in os.environ}
    os.environ.update(marks)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # which those started inherit
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for name in marks:
            del os.environ[name]
        os.environ.update(before)


def end_own() -> None:
    """Kill the processes that this one has marked."""
    mine = _name_of(os.getpid())
    _kill_marked(lambda driver: driver == mine)


def end_orphans() -> None:
    """Kill the marked processes of this user whose driver runs no more."""
    space = _space_of("self")
    _kill_marked(lambda driver: driver.startswith(f"{space}:") and _name_of(driver.split(":")[1]) != driver)


def _kill_marked(is_chosen: Callable[[str], bool]) -> None:
    for folder in _PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            for variable in (folder / "environ").read_bytes().split(b"\0"):
                name, _, driver = os.fsdecode(variable).partition("=")
                if name == _MARK and driver and int(folder.name) != os.getpid() and is_chosen(driver):
                    os.kill(int(folder.name), signal.SIGKILL)


def _name_of(pid: int | str) -> str | None:
    """Name a process so that no other has the name, also of other containers; None where it runs no more."""
    with suppress(OSError, IndexError):
        # The name of the program, in parentheses, may itself hold spaces and parentheses.
        state, *numbers = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if state in "ZX" else f"{_space_of(pid)}:{pid}:{numbers[18]}"
    return None


def _space_of(pid: int | str) -> str:
    return os.readlink(_PROC / str(pid) / "ns" / "pid").strip("pid:[]")
