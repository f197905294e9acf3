"""Damaged parts are put aside by whoever finds them, once and without loss, and nothing else is."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.hostile_parts import first_edition_part, foreign_part
from support.part_tables import make_old, part_table, write_parts
from test_parts import put_part

from jobs.errors import DamagedPartWarning, ForeignPartWarning
from jobs.store.layout import Store
from jobs.store.parts import encode_part, parquet_bytes, stored_ids
from jobs.store.quarantine import describe_quarantine, describe_unusable, set_aside


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def damage(store: Store, name: str) -> bytes:
    """Break a part, an hour ago, and return its bytes."""
    path = store.parts / name
    path.write_bytes(path.read_bytes()[:-1])
    make_old(path)
    return path.read_bytes()


def test_a_damaged_part_is_moved_and_said_to_be_where_it_is(store: Store) -> None:
    whole, name = write_parts(store, [0], [1])
    content = damage(store, name)
    (warning,) = set_aside(store, [name])
    assert isinstance(warning, DamagedPartWarning)
    assert f"part {name} is damaged; it has been moved to {store.quarantine / name}" in str(warning)
    assert [path.name for path in store.parts.iterdir()] == [whole]
    assert (store.quarantine / name).read_bytes() == content


def test_a_file_in_the_quarantine_is_never_replaced(store: Store) -> None:
    (name,) = write_parts(store, [0])
    contents = []
    for _ in range(3):
        contents.append(damage(store, name))
        set_aside(store, [name])
        shutil.copy(store.quarantine / name, store.parts / name)
        (store.parts / name).write_bytes(contents[-1] + b"more")
        make_old(store.parts / name)
    assert [(store.quarantine / f"{name}{end}").read_bytes() for end in ("", ".1", ".2")] == contents


def test_a_part_that_is_whole_after_all_stays(store: Store) -> None:
    (name,) = write_parts(store, [0])
    make_old(store.parts / name)
    (warning,) = set_aside(store, [name])
    assert str(warning) == f"part {name} was incomplete when it was read and is whole now; read the store again"
    assert len(stored_ids(store)) == 1
    assert not store.quarantine.exists()


def test_a_damaged_part_that_has_just_been_modified_stays(store: Store) -> None:
    (name,) = write_parts(store, [0])
    damage(store, name)
    os.utime(store.parts / name)
    (warning,) = set_aside(store, [name])
    assert str(warning).startswith(f"part {name} is damaged, or still being copied; it is ignored, and trials that")
    assert list(store.parts.iterdir()) == [store.parts / name]


def test_describing_parts_changes_nothing(store: Store) -> None:
    name, other = write_parts(store, [0], [1])
    damage(store, name)
    (store.parts / other).chmod(0o444)
    store.parts.chmod(0o555)
    (warning,) = describe_unusable(store, [name])
    assert f"part {name} is damaged, or still being copied" in str(warning)
    assert sorted(path.name for path in store.root.rglob("*")) == sorted(["parts", name, other])


def test_damage_in_a_column_that_is_not_read_is_found_before_a_part_is_kept(store: Store) -> None:
    content = encode_part(part_table([0]))
    chunks = pq.read_metadata(pa.BufferReader(content)).row_group(0)
    seconds = next(chunks.column(n) for n in range(chunks.num_columns) if chunks.column(n).path_in_schema == "seconds")
    end = (seconds.dictionary_page_offset or seconds.data_page_offset) + seconds.total_compressed_size
    name = put_part(store, content[: end - 1] + bytes([content[end - 1] ^ 1]) + content[end:]).name
    make_old(store.parts / name)
    assert len(stored_ids(store)) == 1
    (warning,) = set_aside(store, [name])
    assert f"part {name} is damaged; it has been moved to {store.quarantine / name}" in str(warning)
    assert describe_quarantine(store)[0].endswith("is a damaged part that is not used; it can be removed")


def test_a_part_of_another_version_stays_and_all_of_them_are_one_warning(store: Store) -> None:
    names = [put_part(store, foreign_part(rows)).name for rows in (1, 2)]
    (warning,) = set_aside(store, names)
    assert isinstance(warning, ForeignPartWarning)
    assert str(warning) == (
        f"{store.parts}: 2 parts, such as {min(names)}, were written by another version of mnistjobs (9.9, part format "
        "99), and they are ignored; read this store with that version, or use another store"
    )
    assert sorted(path.name for path in store.parts.iterdir()) == sorted(names)
    assert not store.quarantine.exists()


def test_a_part_of_the_first_edition_is_refused_with_one_sentence(store: Store) -> None:
    name = put_part(store, first_edition_part(part_table([0]))).name
    make_old(store.parts / name)
    assert stored_ids(store) == frozenset()
    for explain in (describe_unusable, set_aside):
        (warning,) = explain(store, [name])
        assert isinstance(warning, ForeignPartWarning)
        assert str(warning) == (
            f"{store.parts}: part {name} was written by another version of mnistjobs (0.1), and it is ignored; "
            "read this store with that version, or use another store"
        )
    assert (store.parts / name).exists()


def test_a_file_with_the_right_hash_that_no_version_wrote_is_damaged(store: Store) -> None:
    contents = (b"", b"PAR1", parquet_bytes(pa.table({"trial_id": ["a"]})))
    names = [put_part(store, content).name for content in contents]
    for name in names:
        make_old(store.parts / name)
    assert {type(warning) for warning in set_aside(store, names)} == {DamagedPartWarning}
    assert sorted(path.name for path in store.quarantine.iterdir()) == sorted(names)


def test_links_folders_and_pipes_are_named_and_left_alone(store: Store, tmp_path: Path) -> None:
    store.parts.mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"not ours")
    folder, link, pipe = names = [f"{digit * 64}.parquet" for digit in "012"]
    (store.parts / link).symlink_to(tmp_path / "outside")
    (store.parts / folder).mkdir()
    os.mkfifo(store.parts / pipe)
    said = "\n".join(map(str, set_aside(store, names)))
    for kind in ("a link", "a folder", "a device or pipe"):
        assert f"is damaged: {kind}, where a file is allowed" in said
    assert sorted(path.name for path in store.parts.iterdir()) == names
    assert (tmp_path / "outside").read_bytes() == b"not ours"


def test_a_quarantine_that_leads_out_of_the_store_is_not_used(store: Store, tmp_path: Path) -> None:
    (name,) = write_parts(store, [0])
    damage(store, name)
    (tmp_path / "outside").mkdir()
    store.quarantine.symlink_to(tmp_path / "outside")
    (warning,) = set_aside(store, [name])
    assert f"It cannot be moved to {store.quarantine}: it is not a folder of the store" in str(warning)
    assert list((tmp_path / "outside").iterdir()) == []
    assert (store.parts / name).exists()


def test_a_part_that_has_gone_meanwhile_is_not_spoken_of(store: Store) -> None:
    assert set_aside(store, [f"{'0' * 64}.parquet"]) == []


def test_of_many_processes_one_moves_a_part_and_none_fails(store: Store) -> None:
    names = write_parts(store, *([seed] for seed in range(30)))
    contents = {name: damage(store, name) for name in names}
    with ThreadPoolExecutor(8) as pool:
        warnings = [each for found in pool.map(lambda _: set_aside(store, names), range(8)) for each in found]
    assert len(warnings) == len(names)
    # Which of the names that two readers have claimed at once the part gets is a matter of who is faster.
    moved = {f"{path.name.partition('.')[0]}.parquet": path.read_bytes() for path in store.quarantine.iterdir()}
    assert moved == contents
    assert len(list(store.quarantine.iterdir())) == len(contents)
    assert list(store.parts.iterdir()) == []


AS_NOBODY = """
import os, sys
from pathlib import Path
from jobs.store.quarantine import set_aside
from jobs.store.layout import Store
from jobs.store.parts import scan_parts
store = Store(Path(sys.argv[1]))
os.setgid(65534), os.setuid(65534)
try:
    unusable = [name for name, rows in scan_parts(store, ["trial_id"]) if rows is None]
    print(*set_aside(store, unusable), sep="\\n")
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.fixture
def shared(store: Store) -> Store:
    """A store that another user may reach; pytest's own folders are closed to them."""
    if os.geteuid() != 0:
        pytest.skip("only the superuser can become another user")
    for folder in [*store.root.parents][:-2]:
        if not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)
    return store


def as_nobody(store: Store) -> str:
    """Read a store as a user who owns nothing."""
    command = [sys.executable, "-c", AS_NOBODY, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.medium
def test_a_reader_who_may_not_write_warns_and_moves_nothing(shared: Store) -> None:
    (name,) = write_parts(shared, [0])
    damage(shared, name)
    assert f"It cannot be moved to {shared.quarantine}: Permission denied" in as_nobody(shared)
    assert (shared.parts / name).exists()


@pytest.mark.medium
def test_a_part_that_may_not_be_read_is_an_error_and_no_missing_trial(shared: Store) -> None:
    (name,) = write_parts(shared, [0])
    (shared.parts / name).chmod(0o600)
    said = as_nobody(shared)
    assert said.startswith(f"StoreError {shared.parts / name}: cannot be read: Permission denied")


def test_verify_tells_damaged_parts_in_the_quarantine_from_whole_ones(store: Store) -> None:
    whole, name = write_parts(store, [0], [1])
    damage(store, name)
    set_aside(store, [name])
    (store.parts / whole).rename(store.quarantine / whole)
    notes = describe_quarantine(store)
    assert f"{store.quarantine / whole} is a whole part; move it back to {store.parts}" in notes
    assert f"{store.quarantine / name} is a damaged part that is not used; it can be removed" in notes
