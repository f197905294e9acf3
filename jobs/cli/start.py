"""Start the command line: imports nothing that takes time before an interrupt is handled."""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

from jobs.cli.exit_codes import INTERRUPTED


class Interrupted(BaseException):
    """Ctrl-C; unlike KeyboardInterrupt it passes the command-line library, which would exit with another code."""


def main() -> NoReturn:
    """Run the command line; Ctrl-C ends it without a traceback at any moment."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a background job ignores it
        signal.signal(signal.SIGINT, _interrupt)
    _take_standard_descriptors()
    try:
        from jobs.cli.app import main as run

        run()
    except Interrupted:
        sys.exit(INTERRUPTED)
    finally:
        if signal.getsignal(signal.SIGINT) is _interrupt:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # also while the interpreter shuts down


def _take_standard_descriptors() -> None:
    """Open the null device where a standard stream is closed: else a file of the store would get its number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise Interrupted; during an import, which many modules do not survive half-way, end the process."""
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise Interrupted
