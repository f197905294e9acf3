"""Damaged parts are put aside by whoever finds them, once and without loss, and nothing else is."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import hostile_parts
from support.command_line import GRID, run, write_grid
from support.part_tables import make_old, part_table, write_parts
from test_parts import put_part

import mnistjobs
from jobs.errors import DamagedPartWarning, ForeignPartWarning
from jobs.store.layout import Store
from jobs.store.parts import FORMAT_KEY, VERSION_KEY, encode_part, parquet_bytes, scan_parts, stored_ids
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


def other_version(rows: int = 1) -> bytes:
    """Make a part as version 9.9, which has one column more, would write it."""
    table = part_table(range(rows))
    return parquet_bytes(
        table.append_column("more", pa.array(["x"] * rows)).replace_schema_metadata(
            {FORMAT_KEY: "99", VERSION_KEY: "9.9"}
        )
    )


def test_a_damaged_part_is_moved_and_said_to_be_where_it_is(store: Store) -> None:
    whole, name = write_parts(store, [0], [1])
    content = damage(store, name)
    (warning,) = set_aside(store, [name])
    assert isinstance(warning, DamagedPartWarning)
    assert f"part {name} is damaged; it has been moved to {store.quarantine / name}" in str(warning)
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


SLOW_COPY = """
import sys, time
from pathlib import Path
content = Path(sys.argv[1]).read_bytes()
with open(sys.argv[2], "wb", buffering=0) as file:
    for number in range(60):
        file.write(content[len(content) * number // 60 : len(content) * (number + 1) // 60])
        time.sleep(0.1)
"""


@pytest.mark.filterwarnings("default::jobs.errors.DamagedPartWarning")
def test_a_slow_copy_that_is_read_meanwhile_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, GRID.replace("[0, 1, 2]", "[0]"))
    mnistjobs.submit_grid(grid, "elsewhere", in_process=True)
    (part,) = Path("elsewhere/parts").iterdir()
    store = Store(tmp_path / "results")
    store.parts.mkdir(parents=True)
    command = [sys.executable, "-c", SLOW_COPY, str(part), str(store.parts / part.name)]
    with subprocess.Popen(command) as copy:
        time.sleep(1)
        outcomes = [run("plan", grid.name), run("submit", grid.name, "--in-process", "-q"), run("compact")]
        assert copy.poll() is None
    assert [outcome.code for outcome in outcomes] == [0, 0, 0]
    assert all(f"part {part.name} is damaged, or still being copied" in outcome.err for outcome in outcomes)
    assert (store.parts / part.name).read_bytes() == part.read_bytes()
    assert not store.quarantine.exists()
    assert {rows is None for _, rows in scan_parts(store, ["trial_id"])} == {False}


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
    names = [put_part(store, other_version(rows)).name for rows in (1, 2)]
    (warning,) = set_aside(store, names)
    assert isinstance(warning, ForeignPartWarning)
    assert str(warning) == (
        f"{store.parts}: 2 parts, such as {min(names)}, were written by another version of mnistjobs (9.9), and they "
        "are ignored; read this store with that version, or use another store"
    )
    assert sorted(path.name for path in store.parts.iterdir()) == sorted(names)
    assert not store.quarantine.exists()


def test_a_part_of_the_first_edition_is_refused_with_one_sentence(store: Store) -> None:
    name = put_part(store, hostile_parts.first_edition(part_table([0]))).name
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
    notes = describe_quarantine(store)
    assert f"{store.quarantine / whole} is a whole part; move it back to {store.parts}" in notes
    assert f"{store.quarantine / name} is a damaged part that is not used; it can be removed" in notes


# Commands


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submitted")
    grid = write_grid(folder, GRID.replace("[0, 1, 2]", "[0]"))
    mnistjobs.submit_grid(grid, folder / "results", in_process=True)
    return folder


@pytest.fixture
def damaged(submitted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a grid and its store, whose only part is damaged; returns the part."""
    shutil.copytree(submitted, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (part,) = Path("results/parts").iterdir()
    part.write_bytes(b"damaged")
    make_old(part)
    return part


WORDS = {"plan": ["grid.yaml"], "submit": ["grid.yaml", "--in-process", "--quiet"], "compact": [], "list": []}


@pytest.mark.filterwarnings("default::jobs.errors.DamagedPartWarning")
@pytest.mark.parametrize("command", ["submit", "verify", "compact"])
def test_commands_that_write_move_damaged_parts_and_warn_once(command: str, damaged: Path) -> None:
    words = WORDS.get(command, ["tiny"])
    first, second = run(command, *words), run(command, *words)
    assert first.err.count(f"part {damaged.name} is damaged; it has been moved to ") == 1
    assert (Path("results/quarantine") / damaged.name).read_bytes() == b"damaged"
    assert "is damaged; it has been moved" not in second.err
    assert first.code == second.code == (1 if command == "verify" else 0)


@pytest.mark.filterwarnings("always::jobs.errors.DamagedPartWarning")
@pytest.mark.parametrize("command", ["plan", "summary", "report", "list"])
def test_commands_that_read_warn_of_damaged_parts_and_move_nothing(command: str, damaged: Path) -> None:
    for _ in range(2):
        outcome = run(command, *WORDS.get(command, ["tiny"]))
        expected = 0 if command == "list" else 1
        assert (outcome.code, outcome.err.count(f"part {damaged.name} is damaged, or still")) == (0, expected)
    assert damaged.read_bytes() == b"damaged"
    assert not Path("results/quarantine").exists()


@pytest.mark.filterwarnings("default::jobs.errors.ForeignPartWarning")
def test_a_command_tells_of_parts_of_another_version_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, GRID.replace("[0, 1, 2]", "[0]")).name
    put_part(Store(tmp_path / "results"), other_version())
    outcome = run("submit", grid, "--in-process", "--quiet")
    assert (outcome.code, outcome.err.count("was written by another version of mnistjobs (9.9)")) == (0, 1)
    assert run("verify", "tiny").code == 0
