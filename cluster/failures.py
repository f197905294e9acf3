"""Why a task has no result, as its executor knows it.

| kind          | what happened                                                                     |
|---------------|-----------------------------------------------------------------------------------|
| crashed       | its process died, or the connection to it                                         |
| hung          | it reported nothing for longer than allowed, and was killed                       |
| storage       | a file could not be read or written for now: a full disk, an unreachable server   |
| out_of_memory | its process or its node ran out of memory                                         |
| node_lost     | its node died or became unreachable                                               |
| raised        | it raised any other exception                                                     |
"""

import errno
import resource
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

FailureKind = Literal["crashed", "hung", "storage", "out_of_memory", "node_lost", "raised"]

# Errors that may be over a minute later. Not EACCES, EROFS or ENOENT: a person has to act on those.
_TRANSIENT_ERRORS = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOLCK, errno.EMFILE, errno.ENFILE),
    *(errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
}
_MAXRSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class TaskFailure:
    """Why a task has no result."""

    kind: FailureKind
    message: str  # one line
    traceback: str  # as the task's process saw it; empty where that process died

    @classmethod
    def from_exception(cls, error: Exception) -> "TaskFailure":
        """Describe the exception that is being handled."""
        kind = _classify(error)
        message = " ".join(f"{type(error).__name__}: {error}".split())
        if kind == "out_of_memory":
            message += f"; its process had {format_gigabytes(_peak_memory_bytes())} at its peak"
        return cls(kind, message, traceback.format_exc())


def format_gigabytes(size: float) -> str:
    """Format a number of bytes for a person."""
    return f"{size / 1e9:.2f} GB"


def _classify(error: BaseException) -> FailureKind:
    for each in _causes(error):
        if isinstance(each, MemoryError) or (isinstance(each, OSError) and each.errno == errno.ENOMEM):
            return "out_of_memory"
        if isinstance(each, OSError) and (isinstance(each, TimeoutError) or each.errno in _TRANSIENT_ERRORS):
            return "storage"
    return "raised"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Follow an exception to those it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__


def _peak_memory_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT_BYTES
