"""Commands that write move damaged parts, and commands that read leave the store as it is."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command_line import GRID, run, write_grid
from support.hostile_parts import foreign_part
from support.part_tables import make_old
from test_parts import put_part

import mnistjobs
from jobs.store.layout import Store
from jobs.store.parts import scan_parts

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
SLOW_COPY = """
import sys, time
from pathlib import Path
content = Path(sys.argv[1]).read_bytes()
with open(sys.argv[2], "wb", buffering=0) as file:
    for number in range(60):
        file.write(content[len(content) * number // 60 : len(content) * (number + 1) // 60])
        time.sleep(float(sys.argv[3]) / 60)
"""


@pytest.mark.medium
@pytest.mark.filterwarnings("default::jobs.errors.DamagedPartWarning")
@pytest.mark.parametrize("seconds", [3, pytest.param(6, marks=pytest.mark.chaos)])
def test_a_slow_copy_that_is_read_meanwhile_loses_nothing(
    seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    grid = write_grid(tmp_path, GRID.replace("[0, 1, 2]", "[0]"))
    mnistjobs.submit_grid(grid, "elsewhere", in_process=True)
    (part,) = Path("elsewhere/parts").iterdir()
    store = Store(tmp_path / "results")
    store.parts.mkdir(parents=True)
    command = [sys.executable, "-c", SLOW_COPY, str(part), str(store.parts / part.name), str(seconds)]
    with subprocess.Popen(command) as copy:
        time.sleep(1)
        outcomes = [run("plan", grid.name), run("submit", grid.name, "--in-process", "-q"), run("compact")]
        assert copy.poll() is None
    assert [outcome.code for outcome in outcomes] == [0, 0, 0]
    assert all(f"part {part.name} is damaged, or still being copied" in outcome.err for outcome in outcomes)
    assert (store.parts / part.name).read_bytes() == part.read_bytes()
    assert not store.quarantine.exists()
    assert {rows is None for _, rows in scan_parts(store, ["trial_id"])} == {False}


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
    put_part(Store(tmp_path / "results"), foreign_part())
    outcome = run("submit", grid, "--in-process", "--quiet")
    assert (outcome.code, outcome.err.count("was written by another version of mnistjobs (9.9, part format")) == (0, 1)
    assert run("verify", "tiny").code == 0
