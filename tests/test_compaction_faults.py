"""Compaction under faults: whatever ends it, and whoever reads or writes meanwhile, every trial is there once."""

import random
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pyarrow as pa
import pytest
from support.part_tables import identity, make_old, part_names, rows_by_trial, whole, write_parts
from support.warm_processes import WarmProcess

import mnistjobs
from jobs.errors import DamagedPartWarning, StoreError
from jobs.store.compaction import Compaction, Sizes, compact
from jobs.store.layout import Store
from jobs.store.parts import is_stored, scan_parts, stored_ids

SMALL = Sizes(row_group=12, file=30)  # rows of epochs
SCRIPT = """
import os, signal, sys
from pathlib import Path
from jobs.store.compaction import Sizes, compact
from jobs.store.layout import Store

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


def start(store: Store, kill_before: int = 0) -> WarmProcess:
    """Start a compaction in a process of its own, which kills itself before one of its writing steps; from 1."""
    process = WarmProcess(store.root, kill_before, code=SCRIPT)
    assert process.stdout
    assert process.stderr
    with process.stdout as out, process.stderr:
        assert out.readline() == "ready\n"
    return process


# Damage and full disks


def test_damaged_parts_are_moved_out_of_the_way_and_named(store: Store) -> None:
    names = write_parts(store, [0], [1], [2], [3])
    broken = (store.parts / names[1]).read_bytes()[:-1]
    (store.parts / names[1]).write_bytes(broken)
    make_old(store.parts / names[1])
    with pytest.warns(DamagedPartWarning, match=f"part {names[1]} is damaged"):
        done = mnistjobs.compact_store(store.root)
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


@pytest.mark.medium
@pytest.mark.parametrize("stride", [6, pytest.param(1, marks=pytest.mark.chaos)])
def test_killed_before_any_of_its_steps_every_trial_is_there_once(stride: int, tmp_path: Path) -> None:
    original = Store(tmp_path / "original")
    write_parts(original, *([seed, seed + 1, seed + 2] for seed in range(0, 18, 3)))
    write_parts(original, [2, 3], [16])
    before = whole(original, range(18))
    for step in range(1, 100, stride):
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


@pytest.mark.medium
@pytest.mark.parametrize(("count", "kills"), [(80, 3), pytest.param(400, 20, marks=pytest.mark.chaos)])
def test_killed_at_random_moments_every_trial_is_there_once(count: int, kills: int, store: Store) -> None:
    write_parts(store, *([seed, seed + 1] for seed in range(0, count, 2)))
    before = whole(store, range(count))
    rng = random.Random(0)
    for _ in range(kills):
        process = start(store)
        try:
            process.wait(timeout=rng.uniform(0.02, 0.001 * count))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert whole(store, range(count)) == before
    compact(store, SMALL)
    assert rows_by_trial(store) == {identity(seed): 1 for seed in range(count)}
    assert whole(store, range(count)) == before


@pytest.mark.medium
@pytest.mark.parametrize("count", [60, pytest.param(400, marks=pytest.mark.chaos)])
def test_compactions_readers_and_tasks_do_not_disturb_each_other(count: int, store: Store) -> None:
    write_parts(store, *([seed, seed + 1] for seed in range(0, count, 2)))
    before = whole(store, range(count))
    processes = [start(store) for _ in range(3)]
    late, reads = count, 0
    while any(process.poll() is None for process in processes):
        assert whole(store, range(count)) == before
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
