"""Compaction: fewer, larger parts, in which readers find what they found before, whatever happens meanwhile."""

import hashlib
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.drawings import forget
from support.job_records import trial_ids
from support.part_tables import identity, ids_in, part_names, part_table, rows_by_trial, whole, write_parts
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.store.compaction import Compaction, Sizes, compact
from jobs.store.layout import Store
from jobs.store.parts import parquet_bytes, read_parts, stored_ids, write_part
from jobs.store.schemas import PART

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

SMALL = Sizes(row_group=12, file=30)  # rows of epochs


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def epochs_by_row_group(store: Store) -> list[list[int]]:
    files = [pq.ParquetFile(store.parts / name) for name in part_names(store)]
    groups = [[file.read_row_group(group) for group in range(file.num_row_groups)] for file in files]
    return sorted([sum(map(len, rows["epochs"].to_pylist())) for rows in of_file] for of_file in groups)


# What becomes of the parts


@pytest.mark.medium
def test_every_table_and_the_report_stay_the_same_to_the_byte(tmp_path: Path, drawings: Path) -> None:
    store, job = submit_tiny(tmp_path, subset_size="[20, 30]", seed="[0, 1, 2]")
    rows = read_parts(store, trial_ids(store, job)).table
    shutil.rmtree(store.parts)
    for place in range(6):
        write_part(store, rows.slice(place, 1))

    def everything() -> dict[str, bytes]:
        readers = (mnistjobs.read_trials, mnistjobs.read_metrics, mnistjobs.read_confusion, mnistjobs.read_summary)
        forget(drawings)
        mnistjobs.report_job(store.root, job.job_id)
        files = {path.name: path.read_bytes() for path in (store.jobs / job.job_id).iterdir()}
        return files | {str(read): parquet_bytes(read(store.root, job.job_id)) for read in readers}

    before, parts = everything(), part_names(store)
    done = mnistjobs.compact_store(store.root)
    assert done == Compaction(tuple(parts), tuple(part_names(store)), ())
    assert (len(parts), len(done.written)) == (6, 1)
    assert everything() == before


def test_a_merged_part_is_a_part_like_any_other(store: Store) -> None:
    write_parts(store, range(5), range(5, 9))
    (name,) = compact(store).written
    content = (store.parts / name).read_bytes()
    assert name == f"{hashlib.sha256(content).hexdigest()}.parquet"
    assert pq.read_schema(store.parts / name).equals(PART)
    file = pq.ParquetFile(store.parts / name, page_checksum_verification=True)
    assert file.read()["trial_id"].to_pylist() == ids_in(store.parts / name)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_merged_rows_stand_by_configuration_and_seed_however_they_were_written(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    write_parts(one, range(5), range(5, 9))
    write_parts(other, [8, 0, 3], [1, 2], [7, 6, 5, 4])
    assert compact(one).written == compact(other).written
    rows = pq.read_table(one.parts / part_names(one)[0])
    keys = [(row["subset_size"], row["adaptive_lr"], row["seed"]) for row in rows["settings"].to_pylist()]
    assert keys == sorted(keys)


@pytest.mark.medium
def test_row_groups_hold_over_100_000_rows_of_epochs(store: Store) -> None:
    rows = part_table(range(60), epochs=6000)
    for start in range(0, 60, 6):
        write_part(store, rows.slice(start, 6))
    compact(store)
    assert epochs_by_row_group(store) == [[126_000, 234_000]]


@pytest.mark.parametrize(
    ("parts", "files"),
    [(23, [[12, 18]] * 4 + [[18]]), (21, [[12, 12, 12]] + [[12, 18]] * 3), (22, [[12]] + [[12, 18]] * 4), (1, [[6]])],
)
def test_files_are_bounded_and_no_rest_stays_small(store: Store, parts: int, files: list[list[int]]) -> None:
    write_parts(store, *([2 * part, 2 * part + 1] for part in range(parts)))
    compact(store, SMALL)
    assert epochs_by_row_group(store) == files


def test_a_second_compaction_changes_nothing(store: Store) -> None:
    write_parts(store, *([seed, seed + 1] for seed in range(0, 46, 2)))
    compact(store, SMALL)
    before = [path.stat() for path in sorted(store.parts.iterdir())]
    assert compact(store, SMALL) == Compaction((), (), ())
    assert [path.stat()[:9] for path in sorted(store.parts.iterdir())] == [each[:9] for each in before]


def test_large_parts_are_left_alone_when_small_ones_are_merged(store: Store) -> None:
    (large,) = write_parts(store, range(10))
    small = write_parts(store, [10], [11], [12])
    done = compact(store, SMALL)
    assert done.merged == tuple(sorted(small))
    assert part_names(store) == sorted([large, *done.written])


def test_one_small_part_is_left_alone(store: Store) -> None:
    (only,) = write_parts(store, range(3))
    assert compact(store) == Compaction((), (), ())
    assert part_names(store) == [only]


@pytest.mark.parametrize("folder", [".", "parts"])
def test_a_store_without_parts_is_not_written_to(store: Store, folder: str) -> None:
    if folder == "parts":
        store.parts.mkdir(parents=True)
    before = sorted(store.root.parent.rglob("*"))
    assert compact(store) == Compaction((), (), ())
    assert sorted(store.root.parent.rglob("*")) == before


# Trials with more than one row


def _hosts(store: Store) -> dict[str, str]:
    rows = read_parts(store, sorted(stored_ids(store))).table
    return dict(zip(rows["trial_id"].to_pylist(), rows["host"].to_pylist(), strict=True))


def test_of_several_rows_of_a_trial_the_one_readers_take_is_kept(store: Store) -> None:
    # Both the first and the last part by name hold rows that count.
    for host in ("b", "a", "c"):
        write_part(store, part_table(range(3), host=host))
    write_part(store, part_table([1, 5], host="z", finished_at=datetime(2025, 1, 1, tzinfo=UTC)))
    write_part(store, part_table([2], host="0", finished_at=datetime(2027, 1, 1, tzinfo=UTC)))
    before = _hosts(store)
    assert before == {identity(0): "a", identity(1): "z", identity(2): "a", identity(5): "z"}
    for sizes in (SMALL, Sizes()):
        compact(store, sizes)
        assert _hosts(store) == before
        assert set(rows_by_trial(store).values()) == {1}


def test_large_parts_that_share_trials_end_up_with_one_row_each(store: Store) -> None:
    write_parts(store, range(20), range(10, 30), range(5, 15))
    write_parts(store, range(40, 60))
    before = whole(store, range(60))
    done = compact(store, SMALL)
    assert len(done.merged) == 3
    assert rows_by_trial(store) == {identity(seed): 1 for seed in [*range(30), *range(40, 60)]}
    assert whole(store, range(60)) == before


def test_a_trial_that_a_part_holds_twice_keeps_one_row(store: Store) -> None:
    write_parts(store, [0, 1, 0])
    assert len(compact(store).merged) == 1
    assert rows_by_trial(store) == {identity(0): 1, identity(1): 1}


def test_a_part_that_is_its_own_merger_stays(store: Store) -> None:
    write_parts(store, range(4), range(4, 8))
    (name,) = compact(store).written
    leftover = write_parts(store, range(4), range(6, 8))
    done = compact(store)
    assert done == Compaction(tuple(sorted(leftover)), (name,), ())
    assert part_names(store) == [name]
