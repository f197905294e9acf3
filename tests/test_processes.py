"""A process is known to be gone, or it is not: never taken for another one with its number."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest

from jobs.store.processes import Process, is_gone, this_process

NAME = "from jobs.store.processes import this_process; print(repr(this_process()), flush=True)"


@pytest.fixture
def running() -> Iterator[subprocess.Popen[str]]:
    """A process that waits for the end of its standard input."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"{NAME}; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process
        process.kill()


def named(process: subprocess.Popen[str]) -> Process:
    assert process.stdout
    found = eval(process.stdout.readline(), {"Process": Process})
    assert isinstance(found, Process)
    return found


def test_a_process_that_runs_is_not_gone_and_one_that_was_killed_is(running: subprocess.Popen[str]) -> None:
    process = named(running)
    assert process.pid == running.pid
    assert not is_gone(process)
    assert not is_gone(this_process())
    running.kill()
    os.waitid(os.P_PID, running.pid, os.WEXITED | os.WNOWAIT)  # nobody has taken its exit code: it is a zombie
    assert is_gone(process)
    running.wait()
    assert is_gone(process)


@pytest.mark.skipif(this_process().started == 0, reason="the system does not tell when a process was started")
def test_a_later_process_with_the_same_pid_is_another_one() -> None:
    here = this_process()
    assert is_gone(replace(here, started=max(1, here.started - 1000)))
    assert not is_gone(replace(here, started=here.started - 10))  # the boot time is known to the second
    assert not is_gone(replace(here, started=0))


@pytest.mark.skipif(not this_process().boot, reason="the system does not tell one boot from the next")
def test_whatever_ran_before_the_host_was_started_anew_is_gone() -> None:
    assert is_gone(replace(this_process(), boot="00000000"))
    assert not is_gone(replace(this_process(), boot=""))


def test_of_another_host_or_container_nothing_is_known() -> None:
    for other in (replace(this_process(), host="elsewhere"), replace(this_process(), space=1)):
        assert not is_gone(replace(other, pid=2**22 + 1))
        assert not other.is_from_here()
    assert this_process().is_from_here()


def test_a_fork_has_a_name_of_its_own() -> None:
    reading, writing = os.pipe()
    mine = this_process()
    if (pid := os.fork()) == 0:
        os.write(writing, str(this_process().pid).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert int(os.read(reading, 100)) == pid != mine.pid
    os.close(reading)
    os.close(writing)


def test_numbers_that_no_process_has_are_gone_and_do_not_raise() -> None:
    for pid in (2**22 + 1, 2**70):
        assert is_gone(replace(this_process(), pid=pid))
