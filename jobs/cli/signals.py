"""Ctrl-C, SIGTERM and a closed terminal, which all mean the same: end now, and keep what is done."""

import errno
import io
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn, TextIO

from cluster import kill_own_ray
from jobs.cli.output import say

INTERRUPTED = 130  # the exit code, as shells count it: 128 + SIGINT
HOW_TO_GO_ON = "Interrupted. What has finished is stored; submit the same grid again to train the rest."
_CLEAN_END_S = 3.0  # for closing the job and ending Ray; then it is ended by force
_SAME_S = 0.3  # a terminal and a shell, or a wrapper, may both pass on one and the same wish
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Nobody reads any longer, or a log's disk is full: neither is a reason to end a study.
_UNREAD = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def interruptible() -> Iterator[None]:
    """Take SIGTERM and a closed terminal for Ctrl-C: the first raises KeyboardInterrupt, the second ends at once.

    So does the first, if the end takes long. What whoever started this process had it ignore (nohup) stays ignored.
    """
    taken = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    ending = threading.Timer(_CLEAN_END_S, end_now)
    ending.daemon = True

    first_s: list[float] = []  # when the first signal came

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not first_s:
            first_s.append(time.monotonic())
            ending.start()
            raise KeyboardInterrupt
        if time.monotonic() - first_s[0] > _SAME_S:
            end_now()

    before = {number: signal.signal(number, interrupt) for number in taken}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ending.cancel()


def end_now() -> NoReturn:
    """End this process and its Ray on the spot; what is lost is swept up by the next submit."""
    kill_own_ray()
    with suppress(OSError, ValueError):
        say(HOW_TO_GO_ON, err=True)
        if sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)
            sys.stderr.flush()
    os._exit(INTERRUPTED)


@contextmanager
def unread_output_dropped() -> Iterator[None]:
    """Go on when nobody reads stdout or stderr any longer: a closed pipe, a terminal that is gone, a full disk."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = map(_tolerant, before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream:  # None where the process was started without one
                stream.flush()
        sys.stdout, sys.stderr = before


def _tolerant(stream: TextIO) -> TextIO:
    if not isinstance(stream, io.TextIOWrapper):
        return stream
    stream.flush()
    buffer = io.BufferedWriter(_Unread(stream.fileno(), "w", closefd=False))
    return io.TextIOWrapper(buffer, stream.encoding, stream.errors, line_buffering=True)


class _Unread(io.FileIO):
    """Drop what nobody can read."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _UNREAD:
                raise
            return memoryview(data).nbytes
