"""Damaged parts are put aside by whoever finds them, once and without loss, and nothing else is."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pytest
from support import hostile_parts
from support.command_line import GRID, run, write_grid
from support.part_tables import part_table, write_parts
from test_parts import put_part

from jobs.errors import DamagedPartWarning, ForeignPartWarning
from jobs.store.layout import Store
from jobs.store.parts import parquet_bytes, stored_ids, write_part
from jobs.store.quarantine import quarantined, set_aside


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def damage(store: Store, name: str) -> bytes:
    """Break a part, and return its bytes."""
    path = store.parts / name
    path.write_bytes(path.read_bytes()[:-1])
    return path.read_bytes()


def other_version() -> pa.Table:
    """Make rows as a version with one setting more would write them."""
    rows = part_table([5])
    return rows.append_column("more", pa.array(["x"])).set_column(
        rows.schema.get_field_index("mnistjobs_version"), "mnistjobs_version", pa.array(["9.9"])
    )


def test_a_damaged_part_is_moved_and_said_to_be_where_it_is(store: Store) -> None:
    whole, name = write_parts(store, [0], [1])
    content = damage(store, name)
    (warning,) = set_aside(store, [name])
    assert isinstance(warning, DamagedPartWarning)
    assert f"part {name} is damaged; it is in {store.quarantine / name} now" in str(warning)
    assert [path.name for path in store.parts.iterdir()] == [whole]
    assert (store.quarantine / name).read_bytes() == content


def test_what_is_in_the_quarantine_is_never_replaced(store: Store) -> None:
    (name,) = write_parts(store, [0])
    contents = []
    for _ in range(3):
        contents.append(damage(store, name))
        set_aside(store, [name])
        shutil.copy(store.quarantine / name, store.parts / name)
        (store.parts / name).write_bytes(contents[-1] + b"more")
    assert [(store.quarantine / f"{name}{end}").read_bytes() for end in ("", ".1", ".2")] == contents


def test_a_part_that_is_whole_after_all_goes_back(store: Store) -> None:
    (name,) = write_parts(store, [0])
    (warning,) = set_aside(store, [name])
    assert "was read as damaged and then as whole: run the command again" in str(warning)
    assert len(stored_ids(store)) == 1
    assert list(store.quarantine.iterdir()) == []


def test_a_part_whose_damage_is_in_a_column_that_its_ids_do_not_need_stays_in_the_quarantine(store: Store) -> None:
    name = hostile_parts.put_part(store.parts, hostile_parts.HOSTILE["a large string in many rows"](part_table([0])))
    assert len(stored_ids(store)) == 1
    (warning,) = set_aside(store, [name])
    assert f"part {name} is damaged; it is in {store.quarantine / name} now" in str(warning)
    assert stored_ids(store) == frozenset()
    assert quarantined(store)[0].endswith("is a damaged part that nothing reads; remove it when you need it no more")


def test_a_part_of_another_version_stays_and_all_of_them_are_one_warning(store: Store) -> None:
    names = [put_part(store, parquet_bytes(*[other_version()] * count)).name for count in (1, 2)]
    (warning,) = set_aside(store, names)
    assert isinstance(warning, ForeignPartWarning)
    assert f"2 parts, such as {min(names)}, were written by another version of mnistjobs (9.9)" in str(warning)
    assert sorted(path.name for path in store.parts.iterdir()) == sorted(names)
    assert not store.quarantine.exists()


def test_a_file_with_the_right_hash_that_no_version_wrote_is_damaged(store: Store) -> None:
    names = [put_part(store, content).name for content in (b"", b"PAR1", parquet_bytes(pa.table({"trial_id": ["a"]})))]
    assert {type(warning) for warning in set_aside(store, names)} == {DamagedPartWarning}
    assert sorted(path.name for path in store.quarantine.iterdir()) == sorted(names)


def test_links_folders_and_pipes_are_named_and_left_alone(store: Store, tmp_path: Path) -> None:
    store.parts.mkdir(parents=True)
    (tmp_path / "outside").write_bytes(b"not ours")
    (store.parts / "link.parquet").symlink_to(tmp_path / "outside")
    (store.parts / "folder.parquet").mkdir()
    os.mkfifo(store.parts / "pipe.parquet")
    names = ["folder.parquet", "link.parquet", "pipe.parquet"]
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
    assert f"It cannot be moved to {store.quarantine}: it is no folder of the store" in str(warning)
    assert list((tmp_path / "outside").iterdir()) == []
    assert (store.parts / name).exists()


def test_a_part_that_has_gone_meanwhile_is_not_spoken_of(store: Store) -> None:
    assert set_aside(store, [f"{'0' * 64}.parquet"]) == []


def test_of_many_readers_one_moves_a_part_and_none_fails(store: Store) -> None:
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


def test_a_reader_who_may_not_write_warns_and_moves_nothing(shared: Store) -> None:
    (name,) = write_parts(shared, [0])
    damage(shared, name)
    assert f"It cannot be moved to {shared.quarantine}: Permission denied" in as_nobody(shared)
    assert (shared.parts / name).exists()


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
    notes = quarantined(store)
    assert f"{store.quarantine / whole} is a whole part; move it back to {store.parts}" in notes
    assert (
        f"{store.quarantine / name} is a damaged part that nothing reads; remove it when you need it no more" in notes
    )


# Commands


@pytest.mark.filterwarnings("default::jobs.errors.DamagedPartWarning")
@pytest.mark.parametrize("command", ["plan", "submit", "summary", "report", "verify", "compact"])
def test_every_command_that_reads_parts_warns_once_and_moves_them(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, GRID.replace("[0, 1, 2]", "[0]")).name
    assert run("submit", grid, "--in-process", "--quiet").code == 0
    (part,) = Path("results/parts").iterdir()
    part.write_bytes(b"damaged")
    words = {"plan": [grid], "submit": [grid, "--in-process", "--quiet"], "compact": []}.get(command, ["tiny"])
    first, second = run(command, *words), run(command, *words)
    assert first.err.count(f"part {part.name} is damaged; it is in ") == 1
    assert (Path("results/quarantine") / part.name).read_bytes() == b"damaged"
    assert "is damaged; it is in" not in second.err
    assert first.code == second.code == (1 if command == "verify" else 0)


@pytest.mark.filterwarnings("default::jobs.errors.ForeignPartWarning")
def test_a_command_tells_of_parts_of_another_version_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, GRID.replace("[0, 1, 2]", "[0]")).name
    put_part(Store(tmp_path / "results"), parquet_bytes(other_version()))
    outcome = run("submit", grid, "--in-process", "--quiet")
    assert (outcome.code, outcome.err.count("were written by another version of mnistjobs (9.9)")) == (0, 1)
    assert run("verify", "tiny").code == 0


def test_a_part_under_a_bad_name_is_moved_like_any_other(store: Store) -> None:
    name = write_part(store, part_table([0]))
    (store.parts / name).rename(store.parts / "renamed.parquet")
    (warning,) = set_aside(store, ["renamed.parquet"])
    assert isinstance(warning, DamagedPartWarning)
    assert (store.quarantine / "renamed.parquet").exists()
