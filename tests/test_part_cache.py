"""Copies of a bucket's parts: bounded, the oldest go first, shared by processes, and never believed without proof."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pytest
from support.part_tables import part_table

from jobs.store import Store, StoreUrl
from jobs.store.part_cache import LIMIT, PartCache, part_cache
from jobs.store.part_index import LIGHT, PartIndex

NAMES = [f"{number:064x}.parquet" for number in range(20)]
STORE = Store(StoreUrl("s3", "bucket"))


@pytest.fixture(autouse=True)
def dummy_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name keys that open nothing: nothing is asked of the network here."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_copy_is_kept_and_read(tmp_path: Path) -> None:
    cache = PartCache(tmp_path / "parts", 1000)
    assert cache.read(NAMES[0]) is None
    cache.write(NAMES[0], b"content")
    assert cache.read(NAMES[0]) == b"content"
    cache.remove(NAMES[0])
    assert cache.read(NAMES[0]) is None
    assert (tmp_path / "parts").stat().st_mode & 0o077 == 0  # nobody else's business


def test_copies_that_were_used_longest_ago_go_first(tmp_path: Path) -> None:
    cache = PartCache(tmp_path, 1000)
    for age, name in enumerate(NAMES[:5]):
        cache.write(name, bytes(190))
        os.utime(tmp_path / name, (100 + age, 100 + age))
    assert cache.read(NAMES[0]) is not None  # now it is the one that was used last
    cache.write(NAMES[5], bytes(190))
    assert names_in(tmp_path) == sorted([NAMES[0], *NAMES[3:6]])  # 760 bytes, below nine tenths of the limit


def test_a_part_larger_than_the_cache_is_not_kept(tmp_path: Path) -> None:
    cache = PartCache(tmp_path, 1000)
    cache.write(NAMES[0], bytes(1001))
    assert names_in(tmp_path) == []


def test_leftovers_of_a_killed_process_go_after_an_hour(tmp_path: Path) -> None:
    for name, age in (("old", 0.0), ("new", 4e9)):
        (tmp_path / f".{name}.tmp").write_bytes(b"half")
        os.utime(tmp_path / f".{name}.tmp", (age, age))
    PartCache(tmp_path, 1000).write(NAMES[0], b"1")
    assert names_in(tmp_path) == [".new.tmp", NAMES[0]]


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    cache = PartCache(tmp_path / "file" / "parts", 1000)
    cache.write(NAMES[0], b"1")
    assert cache.read(NAMES[0]) is None


def _use(folder: str) -> int:
    """Write and read copies as fast as possible; count those that were torn."""
    cache, torn = PartCache(Path(folder), 1000), 0
    for round_ in range(60):
        name = NAMES[round_ % len(NAMES)]
        cache.write(name, name.encode() * 3)
        torn += cache.read(name) not in (None, name.encode() * 3)
    return torn


def test_processes_share_a_cache(tmp_path: Path) -> None:
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as processes:
        assert list(processes.map(_use, [str(tmp_path)] * 3)) == [0, 0, 0]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000 + 3 * 213  # one more of each process


@pytest.mark.parametrize(("text", "limit"), [("0", None), ("0.5", 500_000_000), ("", 2 * 10**9), ("two", 2 * 10**9)])
def test_the_environment_sets_folder_and_limit(
    text: str, limit: int | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(LIMIT, text)
    cache = part_cache()
    assert cache.folder == (None if limit is None else tmp_path / "mnistjobs" / "parts")
    assert limit is None or cache.limit_bytes == limit


# The index


def index_of(cache: PartCache) -> PartIndex:
    return PartIndex(STORE, cache, "3")


def light(seeds: range) -> pa.Table:
    return part_table(seeds).select(LIGHT)


def test_an_index_gives_the_rows_of_parts_that_are_still_listed(tmp_path: Path) -> None:
    cache = PartCache(tmp_path, 10**6)
    first = index_of(cache)
    for number in range(3):
        first.add(NAMES[number], light(range(10 * number, 10 * number + number)))
    first.save(NAMES)
    second = index_of(cache)
    assert [name in second for name in NAMES[:4]] == [False, True, True, False]  # a part without rows is opened again
    assert second.rows(NAMES[2], LIGHT).equals(light(range(20, 22)))
    assert second.rows(NAMES[1], ["seconds"]).equals(light(range(10, 11)).select(["seconds"]))
    second.add(NAMES[5], light(range(5)))
    second.save([NAMES[2], NAMES[5]])
    assert [name in index_of(cache) for name in NAMES[:6]] == [False, False, True, False, False, True]


def test_a_damaged_index_is_as_none(tmp_path: Path) -> None:
    cache = PartCache(tmp_path, 10**6)
    index = index_of(cache)
    index.add(NAMES[0], light(range(3)))
    index.save(NAMES)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    assert NAMES[0] not in index_of(cache)


def test_other_versions_and_stores_have_an_index_of_their_own(tmp_path: Path) -> None:
    cache = PartCache(tmp_path, 10**6)
    index = index_of(cache)
    index.add(NAMES[0], light(range(3)))
    index.save(NAMES)
    assert NAMES[0] not in PartIndex(STORE, cache, "4")
    assert NAMES[0] not in PartIndex(Store(StoreUrl("s3", "bucket", "x")), cache, "3")
