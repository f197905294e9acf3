"""A file is there whole or not at all, and what an fsync has failed for is thrown away."""

import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.part_tables import part_table, write_parts

from jobs.errors import StoreError
from jobs.store.atomic_files import delete_files, make_folder, seconds_now, write_file, write_output
from jobs.store.layout import Store
from jobs.store.parts import stored_ids, write_part

FILE_SIZE_LIMIT = 1_000_000  # bytes
Failing = Callable[[Callable[[str], bool]], None]


@pytest.fixture
def short_files() -> Iterator[None]:
    """Let every file end at FILE_SIZE_LIMIT, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE_LIMIT, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


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


def test_output_goes_through_links_and_pipes_and_replaces_neither(tmp_path: Path) -> None:
    plain, link, pipe = tmp_path / "plain", tmp_path / "link", tmp_path / "pipe"
    write_output(plain, b"first")
    link.symlink_to(plain)
    write_output(link, b"second")
    assert link.is_symlink()
    assert plain.read_bytes() == b"second"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_output(pipe, b"third")
    assert os.read(reader, 10) == b"third"
    os.close(reader)
    assert pipe.is_fifo()
    with pytest.raises(StoreError, match="cannot be written: Is a directory"):
        write_output(tmp_path, b"fourth")


def test_files_are_deleted_as_far_as_they_are_there(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "kept").touch()
    delete_files(tmp_path, ["file", "gone already"])
    assert files_below(tmp_path) == ["kept"]
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match=f"{tmp_path / 'folder'}: cannot be deleted: Is a directory"):
        delete_files(tmp_path, ["folder"])


# What failed once


@pytest.fixture
def failing_fsync(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Let fsync fail for files of the names that a test gives, once; the next call would say that all is well."""
    fsync, failed = os.fsync, set[str]()

    def fail_where(is_meant: Callable[[str], bool]) -> None:
        def fsync_or_fail(file: int) -> None:
            path = os.readlink(f"/proc/self/fd/{file}")
            if is_meant(path) and path not in failed:
                failed.add(path)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            fsync(file)

        monkeypatch.setattr(os, "fsync", fsync_or_fail)

    return fail_where


def test_a_file_whose_fsync_failed_is_thrown_away_and_written_anew(tmp_path: Path, failing_fsync: Failing) -> None:
    opened: list[str] = []

    def is_first(path: str) -> bool:
        opened.append(path)
        return len(opened) == 1

    failing_fsync(is_first)
    with pytest.raises(
        StoreError, match=r"file: cannot be written: Input/output error; what was stored before is kept"
    ):
        write_file(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []
    write_file(tmp_path / "file", b"content")
    assert opened[1].endswith(".tmp")
    assert opened[1] != opened[0]


def test_a_part_whose_folder_could_not_be_fsynced_does_not_count(tmp_path: Path, failing_fsync: Failing) -> None:
    store = Store(tmp_path)
    store.parts.mkdir()
    failing_fsync(lambda path: path.endswith("/parts"))
    with pytest.raises(StoreError, match=r"\.parquet: cannot be written: Input/output error"):
        write_part(store, part_table([0]))
    assert stored_ids(store) == frozenset()
    write_part(store, part_table([0]))
    assert len(stored_ids(store)) == 1


def test_a_part_that_was_there_before_stays_when_it_cannot_be_written_again(
    tmp_path: Path, failing_fsync: Failing
) -> None:
    store = Store(tmp_path)
    write_parts(store, [0])
    failing_fsync(lambda path: path.endswith("/parts"))
    with pytest.raises(StoreError, match="Input/output error"):
        write_part(store, part_table([0]))
    assert len(stored_ids(store)) == 1


def test_a_folder_that_could_not_be_made_to_last_is_made_anew(tmp_path: Path, failing_fsync: Failing) -> None:
    failing_fsync(lambda path: path == str(tmp_path))
    with pytest.raises(OSError, match="Input/output error"):
        make_folder(tmp_path / "new")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP])
def test_a_file_system_that_cannot_fsync_folders(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fsync = os.fsync

    def refuse_folders(file: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{file}"):
            raise OSError(code, os.strerror(code))
        fsync(file)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    write_file(tmp_path / "new" / "file", b"content")
    assert (tmp_path / "new" / "file").read_bytes() == b"content"


def test_the_time_is_by_the_clock_of_the_file_system(tmp_path: Path) -> None:
    write_file(tmp_path / "file", b"content")
    os.utime(tmp_path / "file", (0, (tmp_path / "file").stat().st_mtime - 100))
    assert 99 < seconds_now(tmp_path) - (tmp_path / "file").stat().st_mtime < 110
    assert files_below(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError):
        seconds_now(tmp_path / "none")
