"""The queue of one machine: who starts, who waits behind whom, and that the dead block nobody."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cluster import usable_cpus
from jobs.service import queue
from jobs.service.queue import Ticket, receive_ticket, take_ticket

ALL = usable_cpus()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(queue.FOLDER_VARIABLE, str(tmp_path / "queue"))
    return tmp_path / "queue"


def waits_behind(ticket: Ticket) -> str:
    ahead = ticket.try_start()
    return ahead.job_id if ahead else ""


@pytest.mark.usefixtures("folder")
def test_a_job_that_does_not_fit_waits_in_the_order_of_submission() -> None:
    first, second, third = (take_ticket("study", ALL, name) for name in ("first", "second", "third"))
    assert waits_behind(first) == ""
    assert waits_behind(third) == "second"  # although it came to look before the second
    assert waits_behind(second) == "first"
    first.close()
    assert waits_behind(third) == "second"
    assert waits_behind(second) == ""
    second.close()
    assert waits_behind(third) == ""
    third.close()


@pytest.mark.usefixtures("folder")
def test_jobs_that_fit_run_together_and_none_overtakes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "usable_cpus", lambda: 4)
    wide, half, all_, small = (take_ticket("study", cores, str(cores)) for cores in (2, 1, 4, 1))
    assert [waits_behind(each) for each in (wide, half, all_, small)] == ["", "", "1", "4"]
    wide.close()
    assert [waits_behind(each) for each in (all_, small)] == ["1", "4"]
    half.close()
    assert [waits_behind(each) for each in (all_, small)] == ["", "4"]
    all_.close()
    assert waits_behind(small) == ""
    small.close()


@pytest.mark.usefixtures("folder")
def test_a_job_that_wants_more_than_there_is_runs_alone() -> None:
    small, large = take_ticket("study", 1, "small"), take_ticket("study", 10 * ALL, "large")
    assert (waits_behind(small), waits_behind(large)) == ("", "small")
    small.close()
    assert waits_behind(large) == ""
    large.close()


@pytest.mark.usefixtures("folder")
def test_jobs_on_other_cpus_do_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    tickets = []
    for cpus in ((0, 1), (2, 3), (1, 2)):
        monkeypatch.setattr(queue, "_allowed_cpus", lambda cpus=cpus: cpus)
        tickets.append(take_ticket("study", ALL, str(cpus)))
    assert [waits_behind(each) for each in tickets] == ["", "", "(2, 3)"]
    for each in tickets:
        each.close()


HOLDER = "from jobs.service.queue import take_ticket; t = take_ticket('study', 99, 'killed'); {}; print(1, flush=True)"


@pytest.mark.medium
@pytest.mark.parametrize("state", ["t.try_start()", "pass"], ids=["running", "waiting"])
def test_a_killed_holder_blocks_nobody(folder: Path, state: str) -> None:
    code = HOLDER.format(state) + "; input()"
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout
    assert holder.stdout.readline() == b"1\n"
    ticket = take_ticket("study", 1, "next")
    assert waits_behind(ticket) == "killed"
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    assert waits_behind(ticket) == ""
    assert list(folder.glob("*.ticket")) == [ticket.path]
    ticket.close()
    assert list(folder.glob("*.ticket")) == []


@pytest.mark.usefixtures("folder")
def test_a_ticket_is_handed_over_to_the_driver() -> None:
    ticket = take_ticket("study", ALL)
    assert ticket.claim.title == "a job 'study' that was submitted before"
    ticket.name_job("study-1")
    copy = os.dup(ticket.descriptor)
    ticket.hand_over()
    received = receive_ticket(f"{copy}:{ticket.path}")
    assert received
    assert (received.claim.job_id, waits_behind(received)) == ("study-1", "")
    assert not os.get_inheritable(copy)
    other = take_ticket("study", 1)
    assert waits_behind(other) == "study-1"
    received.close()
    assert waits_behind(other) == ""
    other.close()


def test_a_folder_that_others_can_write_is_refused(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(PermissionError):
        take_ticket("study", 1)
