"""What a store holds survives: whole files, or none; and damage is found and named."""

import hashlib
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from part_tables import identity, part_table, write_parts
from tiny_study import part_rows, run_trials, tiny_trial

from jobs.errors import StoreError
from jobs.files import delete_files, write_file
from jobs.jobfile import create_job, read_jobs
from jobs.schemas import PART
from jobs.store import (
    Store,
    open_store,
    parquet_bytes,
    read_parts,
    read_weights,
    scan_parts,
    stored_ids,
    write_part,
    write_weights,
)
from mnist_core.datasets import Dataset

FILE_SIZE_LIMIT = 1_000_000  # bytes


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results")


@pytest.fixture
def short_files() -> Iterator[None]:
    """Let every file end at FILE_SIZE_LIMIT, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE_LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def put_part(store: Store, content: bytes) -> Path:
    """Put bytes among the parts under the name that their hash gives them."""
    store.parts.mkdir(parents=True, exist_ok=True)
    path = store.parts / f"{hashlib.sha256(content).hexdigest()}.parquet"
    path.write_bytes(content)
    return path


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if not path.is_dir())


# Whole files or none


def test_a_file_is_written_with_its_folders_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file"
    write_file(path, b"first")
    write_file(path, b"second")
    assert path.read_bytes() == b"second"
    assert files_below(tmp_path) == ["file"]


def test_a_file_and_the_folder_that_names_it_are_fsynced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[os.stat_result] = []
    fsync = os.fsync

    def noting_fsync(descriptor: int) -> None:
        fsync(descriptor)
        synced.append(os.fstat(descriptor))

    monkeypatch.setattr(os, "fsync", noting_fsync)
    write_file(tmp_path / "file", b"content")
    file, folder = synced
    assert os.path.samestat(file, (tmp_path / "file").stat())
    assert file.st_size == len(b"content")
    assert os.path.samestat(folder, tmp_path.stat())


@pytest.mark.usefixtures("short_files")
def test_a_disk_that_fills_up_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"old")
    with pytest.raises(StoreError, match=r"file: cannot be written: File too large; what was stored before is kept"):
        write_file(tmp_path / "file", bytes(FILE_SIZE_LIMIT + 1))
    assert (tmp_path / "file").read_bytes() == b"old"
    assert files_below(tmp_path) == ["file"]


def test_a_place_that_cannot_be_written_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        write_file(tmp_path / "file" / "below", b"")
    with pytest.raises(StoreError, match="cannot be written: File name too long"):
        write_file(tmp_path / ("x" * 300), b"")
    with pytest.raises(StoreError, match="cannot be written: Is a directory"):
        write_file(tmp_path / "folder", b"")
    assert files_below(tmp_path) == ["file"]


def test_files_are_deleted_as_far_as_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "kept").touch()
    delete_files(tmp_path, ["file", "gone already"])
    assert files_below(tmp_path) == ["kept"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=f"{tmp_path / 'folder'}: cannot be deleted: Is a directory"):
        delete_files(tmp_path, ["folder"])


# A store's place


def test_opening_a_store_writes_nothing(tmp_path: Path) -> None:
    store = open_store(tmp_path / "new")
    assert stored_ids(store) == frozenset()
    assert read_jobs(store) == []
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_is_a_file_a_bucket_or_no_path_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="is not a folder; allowed: a folder"):
        open_store(tmp_path / "file")
    with pytest.raises(StoreError, match="is a URL; allowed: a folder"):
        open_store(Path("s3://bucket/prefix"))
    with pytest.raises(StoreError, match="File name too long; allowed: a folder"):
        open_store(Path("x" * 300))


def test_a_store_below_a_file_is_refused_when_it_is_read_and_when_a_job_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = open_store(tmp_path / "file" / "results")
    for use in (stored_ids, read_jobs):
        with pytest.raises(StoreError, match="cannot be read: Not a directory"):
            use(store)
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        create_job(store, "study", {})


# Parts


def test_a_part_is_named_by_the_sha256_of_its_bytes(store: Store, tiny: Dataset, tmp_path: Path) -> None:
    name = write_part(store, part_rows(tiny, tmp_path, tiny_trial()))
    content = (store.parts / name).read_bytes()
    assert name == f"{hashlib.sha256(content).hexdigest()}.parquet"
    assert pq.read_schema(store.parts / name).equals(PART)


def _with_a_silent_error(content: bytes, column: str) -> bytes:
    """Flip one bit of a column's page, so that only the page's checksum can tell."""
    whole = pq.read_table(pa.BufferReader(content))
    row_group = pq.ParquetFile(pa.BufferReader(content)).metadata.row_group(0)
    chunks = (row_group.column(number) for number in range(row_group.num_columns))
    (chunk,) = (chunk for chunk in chunks if chunk.path_in_schema == column)
    end = (chunk.dictionary_page_offset or chunk.data_page_offset) + chunk.total_compressed_size
    for place in range(end - chunk.total_compressed_size, end):
        broken = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        with suppress(OSError):
            if not pq.read_table(pa.BufferReader(broken)).equals(whole):
                return broken
    raise AssertionError("every flipped bit is found without the checksum")


def test_a_flipped_bit_is_damage_even_where_the_part_is_named_by_its_new_hash(store: Store, tiny: Dataset) -> None:
    (identity,) = run_trials(store, tiny, tiny_trial())
    (part,) = store.parts.iterdir()
    broken = _with_a_silent_error(part.read_bytes(), "seconds")
    part.write_bytes(broken)
    assert stored_ids(store) == frozenset()
    assert read_parts(store, [identity]).damaged == (part.name,)
    part.unlink()
    renamed = put_part(store, broken)
    parts = read_parts(store, [identity])
    assert (parts.table.num_rows, parts.damaged) == (0, (renamed.name,))


def test_what_is_no_part_of_ours_is_skipped_and_named(store: Store, tiny: Dataset) -> None:
    (identity,) = run_trials(store, tiny, tiny_trial())
    (part,) = store.parts.iterdir()
    whole = part.read_bytes()
    other = pa.table({"trial_id": [identity]})
    foreign = [
        put_part(store, b""),
        put_part(store, b"PAR1"),
        put_part(store, b"<html>" * 100),
        put_part(store, whole[:-1]),
        put_part(store, whole[: len(whole) // 2] + whole[-8:]),
        put_part(store, parquet_bytes(other)),
        put_part(store, parquet_bytes(pa.table({"trial_id": pa.array([bytes(16)], pa.uuid())}))),
        put_part(store, _not_utf8(whole, identity)),
    ]
    assert stored_ids(store) == {identity}
    assert read_parts(store, [identity]).damaged == tuple(sorted(path.name for path in foreign))


def _not_utf8(content: bytes, identity: str) -> bytes:
    rows = pq.read_table(pa.BufferReader(content))
    raw = pa.array([b"\xff" * len(identity)], pa.binary()).cast(pa.string(), safe=False)
    return parquet_bytes(rows.set_column(0, PART.field(0), raw))


def test_folders_pipes_and_broken_links_among_the_parts_are_named(store: Store, tiny: Dataset) -> None:
    (identity,) = run_trials(store, tiny, tiny_trial())
    (store.parts / "folder.parquet").mkdir()
    (store.parts / "dangling.parquet").symlink_to("nowhere")
    (store.parts / "device.parquet").symlink_to("/dev/zero")
    (store.parts / "loop.parquet").symlink_to("loop.parquet")
    os.mkfifo(store.parts / "pipe.parquet")
    (store.parts / "notes.txt").touch()
    parts = read_parts(store, [identity])
    assert parts.table.num_rows == 1
    names = ("dangling", "device", "folder", "loop", "pipe")
    assert parts.damaged == tuple(f"{name}.parquet" for name in names)


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that refuses to be read")
def test_a_part_that_the_system_refuses_to_read_is_an_error_not_a_missing_trial(store: Store) -> None:
    store.parts.mkdir(parents=True)
    (store.parts / "refused.parquet").symlink_to("/proc/self/mem")
    with pytest.raises(StoreError, match=r"refused\.parquet: cannot be read: Input/output error"):
        stored_ids(store)


def test_rows_come_in_the_order_asked_for_and_only_those(store: Store, tiny: Dataset) -> None:
    ids = run_trials(store, tiny, *(tiny_trial(seed) for seed in range(4)))
    asked = [ids[2], "unknown", ids[0]]
    assert read_parts(store, asked).table["trial_id"].to_pylist() == [ids[2], ids[0]]
    assert read_parts(store, []).table.equals(PART.empty_table())


@pytest.mark.parametrize("columns", [PART.names, ["host"]])
def test_of_several_rows_of_one_trial_the_one_that_finished_first_is_taken(store: Store, columns: list[str]) -> None:
    earlier, later = (datetime(year, 1, 1, tzinfo=UTC) for year in (2025, 2026))
    rows = [("late", later, 1), ("retried", earlier, 2), ("second by name", earlier, 1), ("first by name", earlier, 1)]
    for place, (host, finished_at, attempt) in enumerate(rows):
        write_part(store, part_table([0], host=host, finished_at=finished_at, attempt=attempt))
        assert read_parts(store, [identity(0)], columns).table["host"].to_pylist() == [rows[place][0]]
    assert stored_ids(store) == {identity(0)}


def test_only_the_columns_asked_for_are_read(store: Store) -> None:
    write_parts(store, [0, 1], [2])
    ids = [identity(seed) for seed in (2, 0)]
    rows = read_parts(store, ids, ["weights_sha256", "trial_id"]).table
    assert rows.column_names == ["weights_sha256", "trial_id"]
    assert rows.equals(read_parts(store, ids).table.select(rows.column_names))
    assert read_parts(store, [], ["status"]).table.num_rows == 0


def test_parts_that_keep_going_while_they_are_read_are_one_error(store: Store) -> None:
    write_parts(store, [0], [1])

    def read_while_parts_go() -> None:
        for number, (name, _) in enumerate(scan_parts(store, ["trial_id"]), start=1):
            for path in store.parts.iterdir():
                if path.name != name:
                    path.unlink()
            write_parts(store, [2 * number], [2 * number + 1])

    with pytest.raises(StoreError, match=r"parts: parts went while they were read, 10 times in a row; read again"):
        read_while_parts_go()


# Weights


def test_weights_are_read_back_to_the_bit(store: Store) -> None:
    weights: dict[str, NDArray[Any]] = {
        "W1": np.arange(6, dtype=np.float32).reshape(3, 2).T,
        "b1": np.zeros(3, np.float64),
    }
    sha256 = write_weights(store, {"ab": weights})["ab"]
    found = read_weights(store, "ab", sha256)
    assert found is not None
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        assert_array_equal(found[name], value)


def test_equal_weights_are_equal_bytes(store: Store) -> None:
    weights = {name: np.ones(3, np.float32) for name in "abc"}
    backwards = dict(reversed(weights.items()))
    assert write_weights(store, {"one": weights})["one"] == write_weights(store, {"two": backwards})["two"]


def test_weights_that_are_missing_or_not_those_of_the_part_are_none(store: Store) -> None:
    sha256 = write_weights(store, {"ab": {"W1": np.ones(3, np.float32)}})["ab"]
    assert read_weights(store, "missing", sha256) is None
    write_weights(store, {"ab": {"W1": np.zeros(3, np.float32)}})
    assert read_weights(store, "ab", sha256) is None
    (store.weights / "cd.safetensors").mkdir()
    assert read_weights(store, "cd", sha256) is None
