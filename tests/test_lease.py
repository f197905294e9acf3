"""The lease of a job: what it tells of the job's driver, and that a job has one driver at a time."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.errors import JobHeldError, LeaseLostError
from jobs.run import CancelAsked
from jobs.service import heartbeat
from jobs.store import liveness
from jobs.store.job_models import Job, JobState
from jobs.store.job_record import create_job, end_job, find_job, job_folder, read_jobs
from jobs.store.layout import Store, open_store
from jobs.store.lease import Lease, create_lease, new_lease, read_lease, renew_lease
from jobs.store.liveness import LEASE_S, take_lease
from jobs.store.processes import Process, process_of, this_process
from jobs.store.progress import JobProgress, ask_to_cancel, read_progress
from jobs.store.schemas import REQUESTED
from mnist_core.data.datasets import NAMED_DATASETS

PATIENCE_S = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results")


@pytest.fixture
def job(store: Store) -> Job:
    dataset = NAMED_DATASETS["mnist"]
    return create_job(store, "study", REQUESTED.empty_table(), grid="", dataset=dataset, options={"detach": True})


@pytest.fixture
def gone() -> Process:
    """A process of this host that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    identity = process_of(child.pid)
    child.communicate()
    return identity


def elsewhere() -> Process:
    return replace(this_process(), host="elsewhere")


def put_lease(store: Store, job: Job, driver: Process, age_s: float = 0.0, **fields: object) -> Lease:
    """Write the lease of a driver that renewed it `age_s` seconds ago."""
    lease = new_lease(job.job_id).model_copy(update={"driver": driver, **fields})
    path = job_folder(store, job.job_id) / "lease.json"
    path.write_bytes(lease.seal().to_bytes())
    then = time.time() - age_s
    os.utime(path, (then, then))
    return lease


def state(store: Store) -> JobState:
    return find_job(store, "study").state


def test_a_job_without_a_lease_is_queued(store: Store, job: Job) -> None:
    assert state(store) is JobState.queued


def test_a_living_driver_of_this_host_runs_however_old_its_lease_is(store: Store, job: Job) -> None:
    put_lease(store, job, this_process(), age_s=1e6)
    assert state(store) is JobState.running
    put_lease(store, job, this_process(), phase="queued")
    assert state(store) is JobState.queued


def test_a_driver_of_this_host_that_is_gone_is_lost_at_once(store: Store, job: Job, gone: Process) -> None:
    put_lease(store, job, gone, age_s=0.0)
    assert state(store) is JobState.lost


def test_a_driver_whose_thread_has_ended_is_lost(store: Store, job: Job) -> None:
    thread = threading.Thread(target=time.sleep, args=(0,))
    thread.start()
    thread.join()
    assert thread.native_id
    for _ in range(1000):  # join returns a little before the thread of the system has ended
        if not Path(f"/proc/self/task/{thread.native_id}").exists():
            break
        time.sleep(0.01)
    put_lease(store, job, this_process(), thread=thread.native_id)
    assert state(store) is JobState.lost
    put_lease(store, job, this_process(), thread=threading.get_native_id())
    assert state(store) is JobState.running


def test_a_released_lease_is_lost(store: Store, job: Job) -> None:
    put_lease(store, job, this_process(), phase="released")
    assert state(store) is JobState.lost


def test_elsewhere_the_age_of_the_lease_decides(store: Store, job: Job) -> None:
    put_lease(store, job, elsewhere(), age_s=LEASE_S - 10)
    assert find_job(store, "study").state_text == "running on elsewhere"
    put_lease(store, job, elsewhere(), age_s=LEASE_S + 100)
    assert find_job(store, "study").state_text == "lost, last sign of life 2 min ago"
    assert not list(store.root.rglob("*.tmp"))


def test_another_boot_may_be_another_machine_of_this_name(store: Store, job: Job) -> None:
    other = replace(this_process(), boot="00000000")
    put_lease(store, job, other, age_s=LEASE_S - 10)
    assert state(store) is JobState.running
    put_lease(store, job, other, age_s=LEASE_S + 10)
    assert state(store) is JobState.lost


@pytest.mark.parametrize(("moves", "expected"), [(True, JobState.running), (False, JobState.lost)])
def test_where_the_age_tells_nothing_the_counter_decides(
    store: Store, job: Job, monkeypatch: pytest.MonkeyPatch, moves: bool, expected: JobState
) -> None:
    monkeypatch.setattr(liveness, "LOOK_AGAIN_S", 0.5)
    monkeypatch.setattr(liveness, "_POLL_S", 0.05)
    lease = put_lease(store, job, elsewhere(), age_s=-3600)  # a store whose clock is another one
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(state, store)
        if moves:
            time.sleep(0.1)
            put_lease(store, job, elsewhere(), age_s=-3600, owner=lease.owner, counter=1)
        assert reading.result(PATIENCE_S) is expected


def test_the_end_counts_whatever_is_in_the_lease(store: Store, job: Job) -> None:
    put_lease(store, job, this_process())
    end_job(store, job, JobState.cancelled)
    assert state(store) is JobState.cancelled


def test_a_damaged_lease_is_judged_by_its_age(store: Store, job: Job) -> None:
    path = job_folder(store, job.job_id) / "lease.json"
    path.write_bytes(b"\0")
    assert state(store) is JobState.running
    os.utime(path, (0, 0))
    assert state(store) is JobState.lost
    assert [each.state for each in read_jobs(store)] == [JobState.lost]
    renew_lease(store, take_lease(store, job.job_id))
    assert state(store) is JobState.running


# One driver at a time


def test_of_many_drivers_one_gets_a_new_job(store: Store, job: Job) -> None:
    assert sum(try_to_take(store, job)) == 1


def test_of_many_drivers_one_takes_over_a_lost_job(store: Store, job: Job, gone: Process) -> None:
    put_lease(store, job, gone)
    assert sum(try_to_take(store, job)) == 1
    assert state(store) is JobState.running


def try_to_take(store: Store, job: Job) -> list[bool]:
    def take(_: int) -> bool:
        try:
            take_lease(store, job.job_id)
        except JobHeldError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(take, range(8)))


def test_a_second_driver_is_told_who_has_the_job(store: Store, job: Job) -> None:
    put_lease(store, job, elsewhere())
    with pytest.raises(JobHeldError, match=rf"^job {job.job_id}: runs under the driver of process \d+ on elsewhere"):
        take_lease(store, job.job_id)


def test_a_driver_that_was_taken_for_gone_finds_out(store: Store, job: Job) -> None:
    asleep = put_lease(store, job, elsewhere(), age_s=LEASE_S + 1)
    taken = take_lease(store, job.job_id)
    with pytest.raises(LeaseLostError, match="has taken it over"):
        renew_lease(store, asleep)
    assert read_lease(store, job.job_id) == taken.seal()


def test_a_driver_that_died_while_it_took_over_blocks_nobody(store: Store, job: Job, gone: Process) -> None:
    first = put_lease(store, job, gone)
    claim = new_lease(job.job_id).model_copy(update={"driver": gone})
    (job_folder(store, job.job_id) / f"lease.{first.owner}.next").write_bytes(claim.seal().to_bytes())
    taken = take_lease(store, job.job_id)
    renew_lease(store, taken)
    with pytest.raises(LeaseLostError):
        renew_lease(store, claim)


# The heartbeat


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"RENEW_S": 0.05, "_PROGRESS_S": 0.05, "_TICK_S": 0.01}.items():
        monkeypatch.setattr(heartbeat, name, seconds)


def await_counter(store: Store, job: Job, above: int) -> int:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        lease = read_lease(store, job.job_id)
        if lease and lease.counter > above:
            return lease.counter
        time.sleep(0.01)
    raise AssertionError(f"the lease was not renewed beyond {above}")


@pytest.mark.usefixtures("fast")
def test_the_heartbeat_goes_on_after_the_store_was_away(store: Store, job: Job, tmp_path: Path) -> None:
    lease = take_lease(store, job.job_id)
    with heartbeat.Heartbeat(store, lease) as heart:
        before = await_counter(store, job, 2)
        store.root.rename(tmp_path / "away")
        time.sleep(0.3)
        assert not store.root.exists()  # nothing is made in place of it
        (tmp_path / "away").rename(store.root)
        await_counter(store, job, before + 2)
        assert heart.asked() is None


@pytest.mark.usefixtures("fast")
def test_the_heartbeat_hears_of_a_cancel_and_tells_the_progress(store: Store, job: Job) -> None:
    told = JobProgress(job_id=job.job_id, finished=3)
    with heartbeat.Heartbeat(store, take_lease(store, job.job_id), lambda: told) as heart:
        assert heart.asked() is None
        assert ask_to_cancel(store, job.job_id)
        assert not ask_to_cancel(store, job.job_id)
        await_counter(store, job, await_counter(store, job, 2) + 2)
        assert heart.asked() == CancelAsked()
    assert read_progress(store, job.job_id) == told.seal()


@pytest.mark.usefixtures("fast")
def test_a_heartbeat_that_lost_its_lease_stops(store: Store, job: Job) -> None:
    lease = take_lease(store, job.job_id)
    with heartbeat.Heartbeat(store, lease) as heart:
        other = new_lease(job.job_id)
        (job_folder(store, job.job_id) / f"lease.{lease.owner}.next").write_bytes(other.seal().to_bytes())
        await_loss(heart)
        with pytest.raises(LeaseLostError):
            heart.asked()


@pytest.mark.usefixtures("fast")
def test_a_mistake_in_the_heartbeat_ends_the_driver(store: Store, job: Job) -> None:
    def progress() -> JobProgress:
        raise ZeroDivisionError

    with heartbeat.Heartbeat(store, take_lease(store, job.job_id), progress) as heart, pytest.raises(ZeroDivisionError):
        ask_until_the_end(heart)


def await_loss(heart: heartbeat.Heartbeat) -> None:
    with suppress(LeaseLostError):
        ask_until_the_end(heart)


def ask_until_the_end(heart: heartbeat.Heartbeat) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        heart.asked()
        time.sleep(0.01)


@pytest.mark.usefixtures("fast")
def test_a_driver_that_fails_gives_its_lease_up(store: Store, job: Job) -> None:
    with pytest.raises(ZeroDivisionError), heartbeat.Heartbeat(store, take_lease(store, job.job_id)):
        raise ZeroDivisionError
    assert state(store) is JobState.lost


def test_the_first_lease_is_the_one_that_counts(store: Store, job: Job) -> None:
    first, second = new_lease(job.job_id), new_lease(job.job_id)
    assert (create_lease(store, first), create_lease(store, second)) == (True, False)
    assert read_lease(store, job.job_id) == first.seal()
