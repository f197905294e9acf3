"""The records of jobs: each file is written once, found again, and checked when it is read."""

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.job_records import failure_of, put_end, put_record

from jobs.errors import InputError, OldRecordError, StoreError
from jobs.store.job_models import END_STATES, DamagedJob, Job, JobState, TaskRetry
from jobs.store.job_record import create_job, end_job, find_job, job_folder, read_jobs
from jobs.store.layout import Store, open_store
from jobs.store.processes import this_process
from jobs.store.schemas import REQUESTED
from mnist_core.data.datasets import NAMED_DATASETS

MNIST = NAMED_DATASETS["mnist"]
FIRST_EDITION = {"job_id": "x", "status": "finished", "grid": "", "trial_ids": [], "failures": [], "sha256": "0"}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results")


def create(store: Store, name: str = "study", grid: str = "", **details: Any) -> Job:  # noqa: ANN401
    return create_job(store, name, REQUESTED.empty_table(), grid=grid, dataset=MNIST, **details)


def record_path(store: Store, job: Job) -> Path:
    return job_folder(store, job.job_id) / "job.json"


def states(store: Store) -> list[JobState]:
    return [job.state for job in read_jobs(store)]


def test_a_job_is_read_back_as_it_was_written(store: Store) -> None:
    job = create(store, grid="name: Prüfung  # ✓", provenance={"host": "here"}, options={"workers": 2}, stored_count=0)
    assert job.state is JobState.running
    assert find_job(store, job.job_id) == find_job(store, "study") == job
    retry = TaskRetry(trial_ids=("cd",), kind="hung", message="no sign of life", attempt=1)
    ended = end_job(store, job, JobState.failed, [failure_of("ab")], [retry])
    assert find_job(store, "study") == ended
    assert (ended.state, ended.record) == (JobState.failed, job.record)


def test_job_json_is_not_written_again(store: Store) -> None:
    job = create(store)
    before = record_path(store, job).read_bytes(), record_path(store, job).stat().st_ino
    end_job(store, job, JobState.finished)
    assert (record_path(store, job).read_bytes(), record_path(store, job).stat().st_ino) == before


def test_the_first_end_of_a_job_counts(store: Store) -> None:
    job = create(store)
    first = end_job(store, job, JobState.cancelled)
    assert end_job(store, job, JobState.finished, [failure_of("ab")]) == first
    assert find_job(store, "study").state is JobState.cancelled


def test_of_many_ends_at_once_all_callers_get_the_same(store: Store) -> None:
    job = create(store)
    with ThreadPoolExecutor(8) as pool:
        ends = list(pool.map(lambda number: end_job(store, job, END_STATES[number % 5]), range(40)))
    assert ends == [find_job(store, "study")] * 40


def test_the_first_end_counts_without_hard_links(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise PermissionError(1, "Operation not permitted", str(target))

    monkeypatch.setattr(os, "link", refuse)
    job = create(store)
    first = end_job(store, job, JobState.finished)
    assert end_job(store, job, JobState.failed) == first == find_job(store, "study")
    assert not list(store.root.rglob("*.tmp"))


def test_jobs_made_at_once_have_different_ids(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create(store).job_id, range(64)))
    assert len(set(made)) == 64
    assert {job.job_id for job in read_jobs(store)} == set(made)


def test_lone_surrogates_are_written_as_escapes(store: Store) -> None:
    dataset = replace(MNIST, name="/data/\udcff")
    job = create_job(store, "study", REQUESTED.empty_table(), grid="", dataset=dataset, provenance={"host": "\udcfe"})
    assert (job.dataset.name, job.record.provenance) == (r"/data/\udcff", {"host": r"\udcfe"})
    ended = end_job(store, job, JobState.failed, [failure_of("ab", message="no file \udcff")])
    assert find_job(store, "study") == ended
    assert ended.failures[0].message == r"no file \udcff"


def test_a_name_finds_its_latest_job_even_within_a_second(store: Store) -> None:
    times = ["2026-01-01T00:00:00.5Z", "2026-01-01T00:00:00.9Z", "2026-01-01T00:00:00.1Z"]
    jobs = [enter(store, f"study-20260101-000000-000{digit}", time) for digit, time in enumerate(times)]
    enter(store, "study-20251231-235959-0009", "2025-12-31T23:59:59Z")
    enter(store, "study-2-20270101-000000-0000", "2027-01-01T00:00:00Z")
    assert find_job(store, "study") == jobs[1]
    assert read_jobs(store)[1:4] == [jobs[2], jobs[0], jobs[1]]


def enter(store: Store, job_id: str, submitted_at: str) -> Job:
    """Make a job of this id and time from another one."""
    made = create(store, "made")
    target = job_folder(store, job_id)
    job_folder(store, made.job_id).rename(target)
    record = json.loads((target / "job.json").read_text()) | {"job_id": job_id, "submitted_at": submitted_at}
    (target / "job.json").write_text(json.dumps(record))
    put_record(store, replace(made, record=made.record.model_copy(update={"job_id": job_id})))
    return find_job(store, job_id)


def test_an_id_is_found_even_if_a_later_job_is_named_so(store: Store) -> None:
    first = create(store)
    create(store, first.job_id)
    assert find_job(store, first.job_id) == first


@pytest.mark.parametrize("name", ["other", "", ".", "../../etc", "study-2026", "/", "*", "\x00", "x" * 5_000])
def test_an_unknown_job_is_bad_input_that_lists_the_names(store: Store, name: str) -> None:
    create(store)
    create(store, "another")
    with pytest.raises(InputError, match=r"no job .* jobs there: another, study$"):
        find_job(store, name)
    with pytest.raises(InputError, match="jobs there: none yet"):
        find_job(open_store(store.root / "empty"), name)


# Damage


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"grid": ""}'],
    ids=["empty", "cut", "list", "null", "no keys", "binary", "deep", "some keys"],
)
@pytest.mark.parametrize("name", ["job.json", "final.json"])
def test_a_damaged_job_is_named_and_hides_no_other(store: Store, name: str, content: bytes) -> None:
    damaged, whole = create(store, "damaged"), create(store, "whole")
    end_job(store, damaged, JobState.finished)
    path = job_folder(store, damaged.job_id) / name
    path.write_bytes(content)
    assert find_job(store, "whole") == whole
    assert states(store) == [JobState.damaged, JobState.running]
    with pytest.raises(StoreError, match=rf"^{path}: is not a job's record: .*; restore it, or remove its folder$"):
        find_job(store, "damaged")


def test_a_damaged_job_is_listed_with_the_reason(store: Store) -> None:
    path = record_path(store, create(store))
    path.write_bytes(b"")
    (job,) = read_jobs(store)
    assert isinstance(job, DamagedJob)
    assert (job.job_id, job.reason.startswith(f"{path}: is not a job's record: ")) == (path.parent.name, True)


def test_a_record_of_the_first_edition_is_refused(store: Store) -> None:
    job = create(store)
    path = record_path(store, job)
    path.write_text(json.dumps({**FIRST_EDITION, "job_id": job.job_id}))
    with pytest.raises(OldRecordError, match=rf"^{path}: was written by the first edition of mnistjobs$"):
        find_job(store, "study")
    assert states(store) == [JobState.damaged]


@pytest.mark.parametrize("name", ["job.json", "final.json"])
def test_a_record_from_another_folder_is_damage(store: Store, name: str) -> None:
    one, two = (end_job(store, create(store, name), JobState.finished) for name in ("one", "two"))
    shutil.copy(job_folder(store, one.job_id) / name, job_folder(store, two.job_id) / name)
    with pytest.raises(StoreError, match=f"job_id: '{one.job_id}' is another job"):
        find_job(store, "two")


def test_folders_without_a_record_are_not_jobs(store: Store) -> None:
    (store.jobs / "notes").mkdir(parents=True)
    (store.jobs / "study-20260101-000000-0000").mkdir()  # killed before job.json was written
    (store.jobs / "file").touch()
    assert read_jobs(store) == []


@pytest.mark.parametrize("name", ["job.json", "final.json"])
def test_a_torn_record_is_damage(store: Store, name: str) -> None:
    job = end_job(store, create(store), JobState.failed, [failure_of("ab")])
    path = job_folder(store, job.job_id) / name
    content = path.read_bytes()
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        assert states(store) == [JobState.damaged], length


@pytest.mark.parametrize("name", ["job.json", "final.json"])
def test_a_flipped_bit_is_damage_or_changes_nothing(store: Store, name: str) -> None:
    job = end_job(store, create(store, grid="seed: [0, 1]"), JobState.failed, [failure_of("ab")])
    path = job_folder(store, job.job_id) / name
    content = path.read_bytes()
    for index in range(0, len(content), 3):
        path.write_bytes(content[:index] + bytes([content[index] ^ 1 << index % 8]) + content[index + 1 :])
        (read,) = read_jobs(store)
        assert read.state is JobState.damaged or read == job, index


@pytest.mark.parametrize(
    "changed",
    [
        {"trial_count": "3"},
        {"trial_count": -1},
        {"driver": {"pid": 1}},
        {"provenance": []},
        {"dataset": {"name": "mnist"}},
        {"format": 3},
        {"extra": 1},
        {"submitted_at": "yesterday"},
    ],
)
def test_a_record_with_wrong_values_is_damage(store: Store, changed: dict[str, Any]) -> None:
    put_record(store, create(store), **changed)
    assert states(store) == [JobState.damaged]
    with pytest.raises(StoreError, match=f"is not a job's record: {next(iter(changed))}"):
        find_job(store, "study")


@pytest.mark.parametrize(
    "changed", [{"state": "asleep"}, {"failures": ["x"]}, {"failures": [{"trial_id": "ab", "message": None}]}]
)
def test_an_end_with_wrong_values_is_damage(store: Store, changed: dict[str, Any]) -> None:
    put_end(store, end_job(store, create(store), JobState.finished), **changed)
    with pytest.raises(StoreError, match=f"is not a job's record: {next(iter(changed))}"):
        find_job(store, "study")


# States

GONE = vars(replace(this_process(), boot="00000000"))


def test_a_job_whose_driver_is_gone_is_lost(store: Store) -> None:
    job = create(store)
    path = put_record(store, job, driver=GONE)
    content = path.read_bytes()
    assert find_job(store, "study").state is JobState.lost
    assert states(store) == [JobState.lost]
    assert path.read_bytes() == content


def test_a_job_without_a_lease_is_queued_only_if_it_is_detached(store: Store) -> None:
    create(store, "detached", options={"detach": True})
    elsewhere = {**GONE, "host": "elsewhere"}
    put_record(store, create(store, "attached"), driver=elsewhere)  # by an edition without leases
    assert find_job(store, "detached").state is JobState.queued
    assert find_job(store, "attached").state is JobState.lost
    put_record(store, find_job(store, "detached"), driver=GONE)
    assert find_job(store, "detached").state is JobState.lost


def test_a_job_that_ended_is_not_lost(store: Store) -> None:
    put_record(store, end_job(store, create(store), JobState.finished), driver=GONE)
    assert find_job(store, "study").state is JobState.finished


def test_a_job_whose_folder_is_gone_is_not_written_elsewhere(store: Store) -> None:
    job = create(store)
    shutil.rmtree(store.root)
    with pytest.raises(StoreError, match=r"is gone, although its job is running; bring the store .* back"):
        end_job(store, job, JobState.finished)
    assert not store.root.exists()
