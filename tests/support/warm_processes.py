"""Processes that start at once: forked from a server that has already imported what a study needs.

Importing takes most of the second that a short command lives. A test about imports, about the environment or about how
the interpreter ends starts a fresh interpreter instead.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from multiprocessing import forkserver
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

import pytest

from support.drawings import draw_once_if_told

COMMAND_LINE = "from jobs.cli.app import main; main()"
_CONTEXT = multiprocessing.get_context("forkserver")
WARM = "support.warm_imports"
_CONTEXT.set_forkserver_preload([WARM])


@cache
def _start_server() -> None:
    """Start the server with our import path: Python 3.11 does not hand it over, and ignores what cannot be imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()


class WarmProcess:
    """A process with those members of subprocess.Popen that the tests use."""

    def __init__(
        self, *words: object, code: str = COMMAND_LINE, folder: Path | None = None, terminal: int | None = None
    ) -> None:
        """Start Python code, `words` its arguments, in a folder; with pipes, or with a terminal, for its output."""
        self.stdout, out = _stream(terminal)
        self.stderr, err = _stream(terminal)
        surroundings = str(folder or Path.cwd()), dict(os.environ)
        arguments = (code, [*map(str, words)], *surroundings, DupFd(out), DupFd(err))
        _start_server()
        self._process = _CONTEXT.Process(target=_run, args=arguments)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid
        if terminal is None:
            os.close(out)
            os.close(err)

    @property
    def returncode(self) -> int | None:
        """Tell the exit code: None while the process runs, minus the signal that ended it."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Tell the exit code, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; raise TimeoutExpired after `timeout` seconds."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a warm process", timeout or 0.0)
        return self._process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """Read all output and wait for the end; raise TimeoutExpired after `timeout` seconds."""
        with ThreadPoolExecutor(2) as threads:
            reading = [threads.submit(_read, stream) for stream in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            out, err = (each.result() for each in reading)
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal to the process."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End the process as nothing can catch."""
        self._process.kill()


def _stream(terminal: int | None) -> tuple[IO[str] | None, int]:
    """Give the end to read from, if there is one, and the end to write to."""
    if terminal is not None:
        return None, terminal
    reading, writing = os.pipe()
    return open(reading, encoding="utf-8"), writing


def _read(stream: IO[str] | None) -> str:
    if stream is None:
        return ""
    with stream:
        return stream.read()


def _run(code: str, words: list[str], folder: str, environment: dict[str, str], *outputs: Any) -> None:  # noqa: ANN401
    """Run Python code in the forked process as `python -c` would."""
    assert WARM in sys.modules, "the server of warm processes is cold"
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, stream in enumerate(outputs, start=1):
        os.dup2(stream.detach(), number)
    sys.stdout, sys.stderr = (os.fdopen(1, "w", encoding="utf-8"), os.fdopen(2, "w", buffering=1, encoding="utf-8"))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = ["-c", *words]
    draw_once_if_told()
    exec(compile(code, "<a test>", "exec"), {"__name__": "__main__"})  # noqa: S102 - the tests' own code
