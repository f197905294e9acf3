"""Read the text of a grid: from a file, or from a pipe, which may never deliver it."""

import os
import select
import sys
import time
from pathlib import Path
from stat import S_ISBLK, S_ISCHR, S_ISFIFO
from typing import BinaryIO

from jobs.errors import InputError, InputFault
from jobs.grid.yaml_document import MAX_BYTES, fault_after, too_large
from mnist_core.paths import describe_missing, existing_path

STDIN = "stdin"  # the name of the standard input in faults
PIPE_TIMEOUT_S = 10.0  # without a byte from a named pipe


def read_text(path: Path) -> str:
    """Read a UTF-8 text file, or what a named pipe delivers.

    Raises:
        InputError: The file is missing, unreadable, not UTF-8, or larger than MAX_BYTES; or it is a device, or a pipe
            that delivers nothing.
    """
    try:
        content = _read_bytes(existing_path(path))
    except FileNotFoundError:
        raise _refusal(path, describe_missing(path) or "no such file") from None
    except IsADirectoryError:
        raise _refusal(path, "is a folder; pass the path of a grid file") from None
    except (OSError, ValueError) as error:
        raise _refusal(path, describe_missing(path) or f"cannot be read: {_reason(error)}") from None
    return _decode(content, str(path))


def read_stdin() -> str:
    """Read the standard input to its end, as UTF-8 text.

    Raises:
        InputError: It is closed, cannot be read, is not UTF-8, or is larger than MAX_BYTES.
    """
    stream: BinaryIO | None = getattr(sys.stdin, "buffer", None)
    if stream is None:
        raise _refusal(STDIN, "is closed; allowed: a grid on the standard input, or the path of a grid file")
    try:
        content = stream.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise _refusal(STDIN, f"cannot be read: {_reason(error)}") from None
    return _decode(content, STDIN)


def _read_bytes(path: Path) -> bytes:
    """Read a file up to one byte more than allowed; raise OSError, ValueError or InputError."""
    # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    with os.fdopen(descriptor, "rb", closefd=True) as file:
        mode = os.fstat(descriptor).st_mode
        if S_ISCHR(mode) or S_ISBLK(mode):
            raise _refusal(path, "is a device; allowed: a grid file, or - for the standard input")
        return _read_pipe(path, descriptor) if S_ISFIFO(mode) else file.read(MAX_BYTES + 1)


def _read_pipe(path: Path, descriptor: int) -> bytes:
    """Read what is written to a pipe, to its end; wait for its writer, but not for ever."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    content, until_s = b"", time.monotonic() + PIPE_TIMEOUT_S
    while len(content) <= MAX_BYTES:
        ready = poll.poll(max(until_s - time.monotonic(), 0.0) * 1000)
        if not ready:
            raise _refusal(
                path, f"is a pipe to which nothing was written for {PIPE_TIMEOUT_S:.0f} s; write a grid to it"
            )
        piece = os.read(descriptor, MAX_BYTES)
        if not piece:
            break
        content, until_s = content + piece, time.monotonic() + PIPE_TIMEOUT_S
    return content


def _decode(content: bytes, file: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if len(content) > MAX_BYTES:
            raise too_large(file) from None
        before = error.object[: error.start].decode()
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8 text; a grid file is YAML in UTF-8"
        raise InputError([fault_after(file, before, message)]) from None


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


def _refusal(path: Path | str, message: str) -> InputError:
    return InputError([InputFault(str(path), 0, 0, "", message)])
