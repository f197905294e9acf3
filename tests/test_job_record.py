"""The jobs of a store: every one has its own id, is found again, and does not suffer from a damaged one beside it."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from jobs.errors import InputError, StoreError
from jobs.store.job_record import Job, create_job, find_job, job_folder, read_jobs, write_job
from jobs.store.parts import Store, open_store
from jobs.store.processes import this_process
from mnist_core.data.datasets import NAMED_DATASETS

FAILURE = {"trial_id": "0" * 32, "kind": "raised", "message": "", "traceback": ""}
CONTENT = {"status": "running", "grid": "", "trial_ids": [], "failures": [], "dataset": asdict(NAMED_DATASETS["mnist"])}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results")


def test_a_job_is_read_back_as_it_was_written(store: Store) -> None:
    job = create_job(store, "study", {**CONTENT, "grid": "name: Prüfung  # ✓"})
    assert find_job(store, job.job_id) == job
    write_job(store, {**job, "status": "finished"})
    assert find_job(store, "study")["status"] == "finished"


def test_jobs_made_at_once_all_have_their_own_ids(store: Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: create_job(store, "study", CONTENT)["job_id"], range(64)))
    assert len(set(made)) == 64
    assert {job.job_id for job in read_jobs(store)} == set(made)


def test_a_lone_surrogate_from_a_file_name_does_not_keep_a_job_from_being_closed(store: Store) -> None:
    job = create_job(store, "study", {**CONTENT, "failures": [{**FAILURE, "message": "no file \udcff"}]})
    assert find_job(store, "study") == job
    (job_folder(store, job.job_id) / "job.json").read_bytes().decode("utf-8")


def test_a_name_finds_the_latest_of_its_jobs_also_within_one_second(store: Store) -> None:
    times = ["2026-01-01T00:00:00.5+00:00", "2026-01-01T00:00:00.9+00:00", "2026-01-01T00:00:00.1+00:00"]
    jobs = {time: _entered(store, f"study-20260101-000000-000{digit}", time) for digit, time in enumerate(times)}
    _entered(store, "study-20251231-235959-0009", "2025-12-31T23:59:59+00:00")
    _entered(store, "study-2-20270101-000000-0000", "2027-01-01T00:00:00+00:00")
    assert find_job(store, "study") == jobs[times[1]]
    assert [job["submitted_at"] for job in read_jobs(store)][1:4] == sorted(times)


def _entered(store: Store, job_id: str, submitted_at: str) -> Job:
    job = {**CONTENT, "job_id": job_id, "name": job_id[:-21], "submitted_at": submitted_at}
    job_folder(store, job_id).mkdir(parents=True)
    write_job(store, job)
    return job


def test_an_id_is_found_even_where_a_later_job_has_it_for_a_name(store: Store) -> None:
    first = create_job(store, "study", CONTENT)
    create_job(store, first["job_id"], CONTENT)
    assert find_job(store, first["job_id"]) == first


@pytest.mark.parametrize("name", ["other", "", ".", "../../etc", "study-2026", "/", "*", "\x00", "x" * 5_000])
def test_a_job_that_is_not_there_is_bad_input_and_the_known_names_are_listed(store: Store, name: str) -> None:
    create_job(store, "study", CONTENT)
    create_job(store, "another", CONTENT)
    with pytest.raises(InputError, match=r"no job .* jobs there: another, study$"):
        find_job(store, name)
    with pytest.raises(InputError, match="jobs there: none yet"):
        find_job(open_store(store.root / "empty"), name)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b"[" * 100_000, json.dumps(CONTENT).encode()],
    ids=["empty", "cut", "list", "null", "no keys", "binary", "deep", "some keys"],
)
def test_a_damaged_job_is_named_and_does_not_hide_the_others(store: Store, content: bytes) -> None:
    damaged, whole = create_job(store, "damaged", CONTENT), create_job(store, "whole", CONTENT)
    path = job_folder(store, damaged["job_id"]) / "job.json"
    path.write_bytes(content)
    assert find_job(store, "whole") == whole
    assert [job.state for job in read_jobs(store)] == ["damaged", "running"]
    with pytest.raises(StoreError, match=f"^{path}: is not a job's file: .*; restore it, or remove its folder$"):
        find_job(store, "damaged")


def test_a_job_s_file_in_another_job_s_folder_is_damage(store: Store) -> None:
    one, two = (create_job(store, name, CONTENT)["job_id"] for name in ("one", "two"))
    shutil.copy(job_folder(store, one) / "job.json", job_folder(store, two) / "job.json")
    with pytest.raises(StoreError, match="wrong content of job_id"):
        find_job(store, "two")


def test_folders_that_are_no_jobs_are_passed_over(store: Store) -> None:
    (store.jobs / "notes").mkdir(parents=True)
    (store.jobs / "study-20260101-000000-0000").mkdir()  # a job that was never entered
    (store.jobs / "file").touch()
    assert read_jobs(store) == []


# Damage and drivers that are gone


def test_any_torn_job_file_is_damaged(store: Store) -> None:
    job = create_job(store, "study", {**CONTENT, "failures": [FAILURE]})
    path = job_folder(store, job.job_id) / "job.json"
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        assert [each["status"] for each in read_jobs(store)] == ["damaged"], length


def test_any_flipped_bit_in_a_job_file_is_damage_or_changes_nothing(store: Store) -> None:
    job = create_job(store, "study", {**CONTENT, "grid": "seed: [0, 1]"})
    path = job_folder(store, job.job_id) / "job.json"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        (read,) = read_jobs(store)
        assert read["status"] == "damaged" or read == job, place


@pytest.mark.parametrize(
    "changed",
    [
        {"trial_ids": [3]},
        {"failures": ["x"]},
        {"failures": [{**FAILURE, "message": None}]},
        {"provenance": []},
        {"dataset": {"name": "mnist"}},
    ],
)
def test_a_job_file_with_values_of_other_kinds_is_damaged(store: Store, changed: Job) -> None:
    job = create_job(store, "study", {**CONTENT, **changed})
    assert [each["status"] for each in read_jobs(store)] == ["damaged"]
    with pytest.raises(StoreError, match=f"wrong content of {next(iter(changed))}"):
        find_job(store, job.job_id)


def test_a_job_whose_driver_is_gone_is_interrupted_and_its_file_stays_as_it_is(store: Store) -> None:
    job = create_job(store, "study", CONTENT)
    assert find_job(store, "study")["status"] == "running"
    write_job(store, {**job, "driver": vars(replace(this_process(), boot="00000000"))})
    path = job_folder(store, job.job_id) / "job.json"
    content = path.read_bytes()
    assert find_job(store, "study")["status"] == "interrupted"
    assert [each["status"] for each in read_jobs(store)] == ["interrupted"]
    assert path.read_bytes() == content


@pytest.mark.parametrize("driver", [None, {}, "me", {"pid": 1}, {**vars(this_process()), "host": "elsewhere"}])
def test_of_a_driver_elsewhere_or_unknown_the_job_says_what_is_recorded(store: Store, driver: object) -> None:
    write_job(store, {**create_job(store, "study", CONTENT), "driver": driver})
    assert find_job(store, "study")["status"] == "running"


def test_a_job_that_has_ended_is_as_it_ended_whatever_became_of_its_driver(store: Store) -> None:
    gone = vars(replace(this_process(), boot="00000000"))
    write_job(store, {**create_job(store, "study", CONTENT), "driver": gone, "status": "finished"})
    assert find_job(store, "study")["status"] == "finished"


def test_a_job_whose_folder_has_gone_is_not_written_to_another_one(store: Store) -> None:
    job = create_job(store, "study", CONTENT)
    shutil.rmtree(store.root)
    with pytest.raises(StoreError, match=r"has gone while the job ran; bring the store .* back"):
        write_job(store, job)
    assert not store.root.exists()
