"""The queue of one machine: a job that does not fit beside those that run waits its turn, in the order of submission.

Each job has a ticket, a file in a folder of this user, whose lock its driver holds for as long as it lives. The
system drops the lock of a driver that was killed, and the next process to look removes the ticket. No server has to
answer, and nothing has to be cleaned up.
"""

import fcntl
import json
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from cluster import usable_cpus

FOLDER_VARIABLE = "MNISTJOBS_QUEUE_DIR"
_LOCK_FILE, _SUFFIX = "lock", ".ticket"
_MAX_WAIT_S = 10.0  # for a lock that is held for milliseconds, unless its holder is suspended
_POLL_S = 0.02


@dataclass(frozen=True)
class Claim:
    """The content of a ticket: how many cores a job needs, and whether it has them."""

    job_id: str  # "" of a job that is not in its store yet
    name: str
    cores: int
    allowed: tuple[int, ...] = ()  # the CPUs that its processes may run on; () where the system does not tell
    has_started: bool = False

    def meets(self, other: "Claim") -> bool:
        """Return whether two jobs may run on the same CPUs, unlike those of two allocations of a batch system."""
        return not self.allowed or not other.allowed or bool({*self.allowed} & {*other.allowed})

    @property
    def title(self) -> str:
        """The job as a person would name it."""
        return self.job_id or f"a job {self.name!r} that was submitted before"


class Ticket:
    """The place of a job in the queue of this machine; it ends with the process that holds it, or with `close`."""

    def __init__(self, path: Path, descriptor: int, claim: Claim) -> None:
        self.path = path
        self.descriptor = descriptor
        self.claim = claim

    def try_start(self) -> Claim | None:
        """Take the cores for the job, unless it has to wait; return the job behind which it waits."""
        if self.claim.has_started:
            return None
        total = usable_cpus()
        with _locked(self.path.parent):
            met = [(path, claim) for path, claim in _living(self.path.parent) if self.claim.meets(claim)]
            before = [claim for path, claim in met if path.name < self.path.name]
            after = [claim for path, claim in met if path.name > self.path.name]
            taken = sum(min(claim.cores, total) for claim in (*before, *after) if claim.has_started)
            has_turn = all(claim.has_started for claim in before)
            if has_turn and (not taken or taken + min(self.claim.cores, total) <= total):
                self._write(replace(self.claim, has_started=True))
                return None
            return (before or after)[-1]

    def name_job(self, job_id: str) -> None:
        """Enter the job's id, for those who wait behind it."""
        self._write(replace(self.claim, job_id=job_id))

    def close(self) -> None:
        """Leave the queue."""
        self.path.unlink(missing_ok=True)
        with suppress(OSError):
            os.close(self.descriptor)

    def hand_over(self) -> None:
        """Leave the ticket to a process that was started with its descriptor."""
        os.close(self.descriptor)

    def _write(self, claim: Claim) -> None:
        self.claim = claim
        content = json.dumps(asdict(claim)).encode()
        os.pwrite(self.descriptor, content.ljust(os.fstat(self.descriptor).st_size), 0)


def take_ticket(name: str, cores: int, job_id: str = "") -> Ticket:
    """Queue up behind the jobs that were submitted before on this machine.

    Args:
        name: The grid's name.
        cores: How many cores the job uses.
        job_id: The job, where it has an id already.

    Raises:
        OSError: The folder of the queue cannot be used.
    """
    folder = _folder()
    claim = Claim(job_id, name, cores, _allowed_cpus())
    path = folder / f"{time.monotonic_ns():020d}-{secrets.token_hex(4)}{_SUFFIX}"
    with _locked(folder):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        ticket = Ticket(path, descriptor, claim)
        try:
            ticket._write(claim)
        except OSError:
            ticket.close()
            raise
    return ticket


def _allowed_cpus() -> tuple[int, ...]:
    return tuple(sorted(os.sched_getaffinity(0))) if hasattr(os, "sched_getaffinity") else ()


def receive_ticket(text: str) -> Ticket | None:
    """Go on with the ticket that the process which started this one took.

    Args:
        text: Its descriptor and its path, as `NUMBER:PATH`.
    """
    number, _, path = text.partition(":")
    os.set_inheritable(int(number), False)
    claim = _read(Path(path))
    return Ticket(Path(path), int(number), claim) if claim else None


def _folder() -> Path:
    """Return the folder of the queue, made for this user alone.

    It lies among the temporary files: the folder $XDG_RUNTIME_DIR is removed when the user logs out, and jobs go on.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE) or Path(tempfile.gettempdir()) / f"mnistjobs-queue-{os.getuid()}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(1, "is not a folder that only you can write", str(folder))
    return folder


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the lock of the queue, which others hold for milliseconds; after some seconds go on without it."""
    descriptor = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + _MAX_WAIT_S
        while not _try_lock(descriptor) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _living(folder: Path) -> list[tuple[Path, Claim]]:
    """Return the tickets whose holders live, in the order of submission; remove the others."""
    found = []
    for path in sorted(folder.glob(f"*{_SUFFIX}")):
        if _is_held(path) and (claim := _read(path)):
            found.append((path, claim))
    return found


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        if _try_lock(descriptor):
            path.unlink(missing_ok=True)
            return False
        return True
    finally:
        os.close(descriptor)


def _read(path: Path) -> Claim | None:
    try:
        fields = json.loads(path.read_text())
        return Claim(**{**fields, "allowed": tuple(fields["allowed"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None  # it was removed, or is being written
