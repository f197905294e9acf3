"""Why a task has no result: what happened to it, as far as its place to run can tell.

| kind          | what happened                                                                    |
|---------------|----------------------------------------------------------------------------------|
| crashed       | its process died, or its node, or the way there                                  |
| hung          | it gave no sign of life for longer than it was allowed to, and was killed        |
| storage       | a file could not be read or written for now: a full disk, a server that is away  |
| out_of_memory | its process or its node had no memory left                                       |
| raised        | it raised anything else                                                          |
"""

import errno
import resource
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["crashed", "hung", "storage", "out_of_memory", "raised"]

# What may be over a minute later. Not EACCES, EROFS or ENOENT: somebody has to do something about those.
_PASSING = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.ENOLCK, errno.EMFILE, errno.ENFILE),
    *(errno.EAGAIN, errno.EBUSY, errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED),
    *(errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH),
}
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in what getrusage counts


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    kind: Kind
    message: str  # one line
    traceback: str  # as the task's process saw it; empty where that died

    @classmethod
    def from_exception(cls, error: Exception) -> "Failure":
        """Describe the exception that is being handled."""
        kind = _kind(error)
        message = " ".join(f"{type(error).__name__}: {error}".split())
        if kind == "out_of_memory":
            message += f"; its process had {gigabytes(_peak_bytes())} at its peak"
        return cls(kind, message, traceback.format_exc())


def gigabytes(size: float) -> str:
    """Write a number of bytes for a person."""
    return f"{size / 1e9:.2f} GB"


def _kind(error: BaseException) -> Kind:
    for each in _causes(error):
        if isinstance(each, MemoryError) or (isinstance(each, OSError) and each.errno == errno.ENOMEM):
            return "out_of_memory"
        if isinstance(each, OSError) and (isinstance(each, TimeoutError) or each.errno in _PASSING):
            return "storage"
    return "raised"


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Walk from an exception to those that it was raised from."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RSS_UNIT
