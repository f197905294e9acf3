"""Compaction: fewer, larger parts, in which readers find what they found before, whatever happens meanwhile."""

import hashlib
import random
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from part_tables import identity, part_table, write_parts
from tiny_study import submit_tiny

import jobs
from jobs.compaction import Compaction, Sizes, compact
from jobs.errors import DamagedPartWarning, StoreError
from jobs.schemas import PART
from jobs.store import Store, is_stored, parquet_bytes, read_parts, scan_parts, stored_ids, write_part

SMALL = Sizes(row_group=12, file=30)  # rows of epochs
SCRIPT = """
import os, signal, sys
from pathlib import Path
from jobs.compaction import Sizes, compact
from jobs.store import Store

left = int(sys.argv[2])

def step(event, args):
    global left
    if event in ("os.rename", "os.remove") or (event == "open" and args[2] & os.O_CREAT):
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(step)
print("ready", flush=True)
compact(Store(Path(sys.argv[1])), Sizes(row_group=12, file=30))
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def start(store: Store, kill_before: int = 0) -> subprocess.Popen[str]:
    """Start a compaction in a process of its own, which kills itself before one of its writing steps; from 1."""
    command = [sys.executable, "-c", SCRIPT, str(store.root), str(kill_before)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    with process.stdout as says:
        assert says.readline() == "ready\n"
    return process


def part_names(store: Store) -> list[str]:
    return sorted(path.name for path in store.parts.glob("*.parquet"))


def whole(store: Store, seeds: range) -> bytes:
    """Give all that readers find of some trials."""
    parts = read_parts(store, [identity(seed) for seed in seeds])
    assert parts.damaged == ()
    return parquet_bytes(parts.table)


def rows_by_trial(store: Store) -> Counter[str]:
    """Count the rows of each trial over all parts, as one who reads the files with no help from us."""
    return Counter(each for name in part_names(store) for each in _ids_in(store.parts / name))


def _ids_in(path: Path) -> list[str]:
    ids: list[str] = pq.read_table(path)["trial_id"].to_pylist()
    return ids


def epochs_by_row_group(store: Store) -> list[list[int]]:
    files = [pq.ParquetFile(store.parts / name) for name in part_names(store)]
    groups = [[file.read_row_group(group) for group in range(file.num_row_groups)] for file in files]
    return sorted([sum(map(len, rows["epochs"].to_pylist())) for rows in of_file] for of_file in groups)


# What becomes of the parts


def test_every_table_and_the_report_stay_the_same_to_the_byte(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, subset_size="[20, 30]", seed="[0, 1, 2]")
    rows = read_parts(store, job["trial_ids"]).table
    shutil.rmtree(store.parts)
    for place in range(6):
        write_part(store, rows.slice(place, 1))

    def everything() -> dict[str, bytes]:
        readers = (jobs.read_trials, jobs.read_metrics, jobs.read_confusion, jobs.read_summary)
        jobs.report_job(store.root, job["job_id"])
        files = {path.name: path.read_bytes() for path in (store.jobs / job["job_id"]).iterdir()}
        return files | {str(read): parquet_bytes(read(store.root, job["job_id"])) for read in readers}

    before, parts = everything(), part_names(store)
    done = jobs.compact_store(store.root)
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
    assert file.read()["trial_id"].to_pylist() == _ids_in(store.parts / name)
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"


def test_merged_rows_stand_by_configuration_and_seed_however_they_were_written(tmp_path: Path) -> None:
    one, other = Store(tmp_path / "one"), Store(tmp_path / "other")
    write_parts(one, range(5), range(5, 9))
    write_parts(other, [8, 0, 3], [1, 2], [7, 6, 5, 4])
    assert compact(one).written == compact(other).written
    rows = pq.read_table(one.parts / part_names(one)[0])
    keys = [(row["subset_size"], row["adaptive_lr"], row["seed"]) for row in rows["settings"].to_pylist()]
    assert keys == sorted(keys)


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


# Damage and full disks


def test_damaged_parts_are_moved_out_of_the_way_and_named(store: Store) -> None:
    names = write_parts(store, [0], [1], [2], [3])
    broken = (store.parts / names[1]).read_bytes()[:-1]
    (store.parts / names[1]).write_bytes(broken)
    with pytest.warns(DamagedPartWarning, match=f"part {names[1]} is damaged"):
        done = jobs.compact_store(store.root)
    assert done.damaged == (names[1],)
    assert len(done.merged) == 3
    assert (store.quarantine / names[1]).read_bytes() == broken
    assert part_names(store) == list(done.written)
    assert stored_ids(store) == {identity(0), identity(2), identity(3)}


def test_where_all_parts_are_damaged_nothing_happens(store: Store) -> None:
    names = write_parts(store, [0], [1])
    for name in names:
        (store.parts / name).write_bytes(b"")
    assert compact(store) == Compaction((), (), tuple(sorted(names)))
    assert part_names(store) == sorted(names)


def test_a_disk_that_fills_up_loses_nothing(store: Store) -> None:
    write_parts(store, *([seed] for seed in range(20)))
    before, names = whole(store, range(20)), sorted(store.parts.iterdir())
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(path.stat().st_size for path in names), limits[1]))
    try:
        with pytest.raises(StoreError, match=r"cannot be written: File too large; what was stored before is kept"):
            compact(store)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(store.parts.iterdir()) == names
    assert whole(store, range(20)) == before


def test_a_store_that_cannot_be_locked_is_one_error(store: Store) -> None:
    write_parts(store, [0], [1])
    (store.root / "compaction.lock").mkdir()
    with pytest.raises(StoreError, match=r"compaction\.lock: cannot be locked: Is a directory; allowed: a folder that"):
        compact(store)


# At any moment


def test_killed_before_any_of_its_steps_every_trial_is_there_once(tmp_path: Path) -> None:
    original = Store(tmp_path / "original")
    write_parts(original, *([seed, seed + 1, seed + 2] for seed in range(0, 18, 3)))
    write_parts(original, [2, 3], [16])
    before = whole(original, range(18))
    for step in range(1, 100):
        store = Store(shutil.copytree(original.root, tmp_path / f"step-{step}"))
        code = start(store, kill_before=step).wait()
        assert whole(store, range(18)) == before
        assert len(stored_ids(store)) == 18
        compact(store, SMALL)
        assert rows_by_trial(store) == {identity(seed): 1 for seed in range(18)}
        assert whole(store, range(18)) == before
        if code == 0:
            break
        assert code == -signal.SIGKILL
    assert step > 1 + 2 * 3 + 8  # the lock; a temporary file, its move and its absence, twice; each part's end


def test_killed_at_random_moments_every_trial_is_there_once(store: Store) -> None:
    write_parts(store, *([seed, seed + 1] for seed in range(0, 400, 2)))
    before = whole(store, range(400))
    rng = random.Random(0)
    for _ in range(8):
        process = start(store)
        try:
            process.wait(timeout=rng.uniform(0.05, 0.4))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert whole(store, range(400)) == before
    compact(store, SMALL)
    assert rows_by_trial(store) == {identity(seed): 1 for seed in range(400)}
    assert whole(store, range(400)) == before


def test_compactions_readers_and_tasks_do_not_disturb_each_other(store: Store) -> None:
    write_parts(store, *([seed, seed + 1] for seed in range(0, 400, 2)))
    before = whole(store, range(400))
    processes = [start(store) for _ in range(3)]
    late, reads = 400, 0
    while any(process.poll() is None for process in processes):
        assert whole(store, range(400)) == before
        (name,) = write_parts(store, [late])
        assert is_stored(store, name, [identity(late)])
        late, reads = late + 1, reads + 1
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert reads > 0
    compact(store, SMALL)
    assert rows_by_trial(store) == {identity(seed): 1 for seed in range(late)}


def test_a_reader_whose_parts_are_merged_under_it_finds_every_trial(store: Store) -> None:
    write_parts(store, *([seed] for seed in range(6)))
    scan = scan_parts(store, ["trial_id"])
    found = [next(scan), next(scan)]
    compact(store)
    found.extend(scan)
    assert all(rows is not None for _, rows in found)
    assert {each for _, rows in found if isinstance(rows, pa.Table) for each in rows["trial_id"].to_pylist()} == {
        identity(seed) for seed in range(6)
    }
    assert len(found) == 3


def test_a_merged_part_still_counts_as_stored(store: Store) -> None:
    one, other = write_parts(store, [0], [1])
    compact(store)
    assert is_stored(store, one, [identity(0)])
    assert not is_stored(store, one, [identity(2)])
    assert not is_stored(Store(store.root / "elsewhere"), other, [identity(1)])
