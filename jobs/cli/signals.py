"""Ctrl-C, SIGTERM and a closed terminal: all three stop the job and keep what is finished."""

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
from jobs.cli.exit_codes import INTERRUPTED
from jobs.cli.output import echo

HOW_TO_CONTINUE = "Interrupted. What has finished is stored; submit the same grid again to train the rest."
_SHUTDOWN_S = 3.0  # to record the end of the job and shut Ray down, before the shutdown is forced
_SAME_S = 0.3  # a terminal and a wrapper script may both deliver the same request
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# The reader is gone, or the log's disk is full: neither is a reason to stop a study.
_UNREAD = (errno.EPIPE, errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SHOW_CURSOR = "\x1b[?25h"


@contextmanager
def interruptible(shutdown_s: float = _SHUTDOWN_S) -> Iterator[None]:
    """Treat SIGTERM and a closed terminal like Ctrl-C: the first raises KeyboardInterrupt, the second exits at once.

    A shutdown that takes longer is forced. Signals that are already ignored (nohup) stay ignored.
    """
    handled = [number for number in _SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    ending = threading.Timer(shutdown_s, end_now)
    ending.daemon = True

    first_s: list[float] = []  # when the first signal came

    def interrupt(number: int, frame: FrameType | None) -> None:
        if not first_s:
            first_s.append(time.monotonic())
            ending.start()
            raise KeyboardInterrupt
        if time.monotonic() - first_s[0] > _SAME_S:
            end_now()

    before = {number: signal.signal(number, interrupt) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        ending.cancel()


def end_now() -> NoReturn:
    """Exit at once, and end the Ray of this process; the next submit cleans up what is left behind."""
    kill_own_ray()
    with suppress(OSError, ValueError):
        echo(HOW_TO_CONTINUE, err=True)
        if sys.stderr.isatty():
            sys.stderr.write(_SHOW_CURSOR)
            sys.stderr.flush()
    os._exit(INTERRUPTED)


@contextmanager
def unread_output_dropped() -> Iterator[None]:
    """Continue when stdout or stderr cannot be written: a closed pipe, a closed terminal, a full disk."""
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
    """A file that drops what cannot be written for want of a reader or of room."""

    def write(self, data: Any, /) -> int:  # noqa: ANN401
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in _UNREAD:
                raise
            return memoryview(data).nbytes
