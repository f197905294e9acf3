"""What a store holds survives: whole files, or none; and damage is found and named."""

import hashlib
import os
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.part_tables import identity, part_table, write_parts
from support.tiny_study import part_rows, run_trials, tiny_trial

from jobs.errors import StoreError
from jobs.store.compaction import compact
from jobs.store.job_record import create_job, read_jobs
from jobs.store.layout import Store, open_store
from jobs.store.parts import (
    FORMAT_KEY,
    PART_FORMAT,
    VERSION_KEY,
    parquet_bytes,
    read_parts,
    scan_parts,
    stored_ids,
    write_part,
)
from jobs.store.schemas import PART, REQUESTED
from mnist_core.data.datasets import NAMED_DATASETS, Dataset


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path / "results")


def put_part(store: Store, content: bytes) -> Path:
    """Put bytes among the parts under the name that their hash gives them."""
    store.parts.mkdir(parents=True, exist_ok=True)
    path = store.parts / f"{hashlib.sha256(content).hexdigest()}.parquet"
    path.write_bytes(content)
    return path


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
    with pytest.raises(StoreError, match="is a URL of another kind; allowed: a folder, s3://BUCKET"):
        open_store(Path("file://bucket/prefix"))
    with pytest.raises(StoreError, match="File name too long; allowed: a folder"):
        open_store(Path("x" * 300))


def test_a_store_below_a_file_is_refused_when_it_is_read_and_when_a_job_is_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    store = open_store(tmp_path / "file" / "results")
    for use in (stored_ids, read_jobs):
        with pytest.raises(StoreError, match="cannot be read: Not a directory"):
            use(store)
    with pytest.raises(StoreError, match="cannot be written: Not a directory"):
        create_job(store, "study", REQUESTED.empty_table(), grid="", dataset=NAMED_DATASETS["mnist"])


# Parts


def test_a_part_is_named_by_the_sha256_of_its_bytes(store: Store, tiny: Dataset, tmp_path: Path) -> None:
    name = write_part(store, part_rows(tiny, tmp_path, tiny_trial()))
    content = (store.parts / name).read_bytes()
    assert name == f"{hashlib.sha256(content).hexdigest()}.parquet"
    assert pq.read_schema(store.parts / name).equals(PART)


def test_a_part_contains_its_format_its_version_and_the_meaning_of_its_columns(store: Store) -> None:
    schema = pq.read_schema(store.parts / write_part(store, part_table([0])))
    assert schema.metadata == {FORMAT_KEY: PART_FORMAT.encode(), VERSION_KEY: version("mnistjobs").encode()}
    fields = [schema.field("seconds"), schema.field("epochs").type.value_field.type.field("epoch_seconds")]
    assert [field.metadata[b"unit"] for field in fields] == [b"s", b"s"]
    assert all(field.metadata[b"description"] for field in schema)


def test_new_columns_need_a_new_format() -> None:
    """Parts of one format have the same columns: when this fails, raise PART_FORMAT and put the new hash here."""
    columns = hashlib.sha256(PART.remove_metadata().to_string(show_field_metadata=False).encode()).hexdigest()
    assert (PART_FORMAT, columns[:16]) == ("3", "455d63ab0b9b150d")


def test_a_part_stays_readable_when_a_description_is_reworded(store: Store) -> None:
    rows = part_table([0])
    fields = [field.with_metadata({"unit": "other", "description": "Other."}) for field in rows.schema]
    metadata = {FORMAT_KEY: PART_FORMAT, VERSION_KEY: "9.9"}
    put_part(store, parquet_bytes(rows.cast(pa.schema(fields, metadata))))
    assert stored_ids(store) == {identity(0)}


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


def test_a_file_that_is_no_part_of_ours_is_skipped_and_named(store: Store, tiny: Dataset) -> None:
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


def test_folders_pipes_and_broken_links_among_the_parts_are_named(store: Store) -> None:
    write_parts(store, [0])
    folder, dangling, device, loop, pipe = names = [f"{digit * 64}.parquet" for digit in "01234"]
    (store.parts / folder).mkdir()
    (store.parts / dangling).symlink_to("nowhere")
    (store.parts / device).symlink_to("/dev/zero")
    (store.parts / loop).symlink_to(loop)
    os.mkfifo(store.parts / pipe)
    parts = read_parts(store, [identity(0)])
    assert (parts.table.num_rows, parts.damaged) == (1, tuple(names))


def test_only_a_file_named_like_a_part_is_a_part(store: Store) -> None:
    (name,) = write_parts(store, [0])
    stem = name.removesuffix(".parquet")
    for other in ("notes.txt", "data.parquet", f"{stem}.parquet.1", f"{stem[1:]}.parquet", f"{stem.upper()}.parquet"):
        (store.parts / other).write_bytes(b"other")
    (store.parts / "folder.parquet").mkdir()
    assert read_parts(store, [identity(0)]).damaged == ()
    assert [found for found, _ in scan_parts(store, ["trial_id"])] == [name]
    assert compact(store).damaged == ()


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="needs a file that refuses to be read")
def test_a_part_that_the_system_refuses_to_read_is_an_error_not_a_missing_trial(store: Store) -> None:
    store.parts.mkdir(parents=True)
    (store.parts / f"{'0' * 64}.parquet").symlink_to("/proc/self/mem")
    with pytest.raises(StoreError, match=r"0{64}\.parquet: cannot be read: Input/output error"):
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

    with pytest.raises(StoreError, match=r"parts: parts disappeared during each of 10 readings; read again"):
        read_while_parts_go()
