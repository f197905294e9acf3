"""The processes and folders of a local Ray: marked, so that none outlives its driver for long.

Ray ends most of them when the driver ends, however it ends, but its agents keep looking for the driver for a minute.
"""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

FOLDER_PREFIX = "mnistjobs-"
_MARK = "MNISTJOBS_RAY_OF"  # in the environment of a process
_MARK_FILE = "driver"  # in a folder
_CLOCK_TOLERANCE_S = 2.0  # the start time of a process is derived from the boot time, which may be adjusted


@contextmanager
def marked_processes() -> Iterator[None]:
    """Mark every process that is started meanwhile, and its descendants, as belonging to this process.

    They also ignore SIGHUP: this process ends what it has started. A Ray that loses some of its processes during its
    start keeps the driver waiting for half a minute.
    """
    # Ray's processes write their titles over their environment unless told not to.
    marks = {_MARK: _describe(psutil.Process()), "SPT_NOENV": "1"}
    before = {name: os.environ[name] for name in marks if name in os.environ}
    os.environ.update(marks)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})  # inherited by what is started
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        for name in marks:
            del os.environ[name]
        os.environ.update(before)


def kill_own_ray() -> None:
    """Kill the processes that this process has marked."""
    own = _describe(psutil.Process())
    _kill_marked(lambda driver: driver == own)


def kill_orphaned_rays() -> None:
    """Kill the marked processes of this user whose driver does not run any longer."""
    _kill_marked(_is_orphaned)


def mark_folder(folder: Path) -> None:
    """Mark a folder as belonging to this process."""
    (folder / _MARK_FILE).write_text(_describe(psutil.Process()))


def remove_orphaned_folders(base: Path) -> None:
    """Remove the marked folders of this user whose driver does not run any longer."""
    for mark in base.glob(f"{FOLDER_PREFIX}*/{_MARK_FILE}"):
        with suppress(OSError):  # another process removes it, or it belongs to another user
            if mark.stat().st_uid == os.getuid() and _is_orphaned(mark.read_text()):
                shutil.rmtree(mark.parent, ignore_errors=True)


def _kill_marked(is_chosen: Callable[[str], bool]) -> None:
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or belongs to another user
            driver = process.environ().get(_MARK)
            if driver and process.pid != os.getpid() and is_chosen(driver):
                process.kill()


def _is_orphaned(driver: str) -> bool:
    namespace, pid, started = driver.rsplit(":", 2)
    if namespace != _pid_namespace():
        return False  # another container's: its processes cannot be seen from here
    try:
        process = psutil.Process(int(pid))
        is_zombie = process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        return is_zombie or abs(process.create_time() - float(started)) > _CLOCK_TOLERANCE_S
    except psutil.NoSuchProcess:
        return True
    except psutil.AccessDenied:
        return False


def _describe(process: psutil.Process) -> str:
    """Identify a process, so that a recycled or foreign PID is not mistaken for it."""
    return f"{_pid_namespace()}:{process.pid}:{process.create_time()}"


def _pid_namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""  # not Linux
