"""The command line before there is a study: its help, its version, what it imports, and the grid that init writes."""

import json
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator
from support.command_line import GRID, run, said, write_grid

from jobs.cli.exit_codes import BAD_INPUT, INTERRUPTED

COMMANDS = ["", "init", "plan", "submit", "summary", "report", "verify", "list", "compact", "schema"]
COMMANDS += ["data", "data fetch", "data verify"]
HEAVY = {"torch", "ray", "altair", "sklearn", "scipy"}  # to import any of them takes longer than --help may


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_grid(tmp_path).relative_to(tmp_path)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    text = said(*command.split(), "--help")
    assert f"Usage: mnistjobs {command}".rstrip() in text
    assert "\n  Example: mnistjobs " in text
    assert said(*command.split(), "-h") == text


def test_importing_the_api_and_asking_for_the_version_import_little() -> None:
    code = "import sys, mnistjobs; print('jobs.api' in sys.modules, 'pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"


def test_the_list_of_commands_cuts_no_description_short() -> None:
    assert "..." not in said("--help").partition("Commands:")[2]


@pytest.mark.medium
@pytest.mark.parametrize("words", [["--version"], ["--help"], ["plan", "grid.yaml"]])
def test_help_and_plan_do_not_wait_for_heavy_imports(words: list[str], grid: Path) -> None:
    code = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); import jobs.cli.app as c; c.main()"
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    imported = done.stdout.splitlines()[-1].split()
    assert "jobs.cli.app" in imported
    assert not HEAVY & set(imported)


def test_init_writes_a_grid_that_plan_understands(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    schema = tmp_path / "grid.schema.json"
    message = f"Wrote {path}; editors check it against {schema}. Next: mnistjobs submit {path}\n"
    assert said("init", path) == message
    assert "24 trials" in said("plan", path, "--store", tmp_path / "results")


def test_init_writes_the_schema_that_its_grid_names(tmp_path: Path) -> None:
    said("init", tmp_path / "mine.yaml")
    first, *_ = text = (tmp_path / "mine.yaml").read_text().splitlines()
    marker, _, name = first.partition("$schema=")
    assert marker == "# yaml-language-server: "
    validator = Draft202012Validator(json.loads((tmp_path / name).read_text()))
    validator.validate(yaml.safe_load("\n".join(text)))
    assert not validator.is_valid({"name": "a"})


def test_init_keeps_a_schema_that_exists(tmp_path: Path) -> None:
    schema = tmp_path / "grid.schema.json"
    schema.write_text("{}")
    said("init", tmp_path / "mine.yaml")
    assert schema.read_text() == "{}"


def test_init_without_its_schema_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "grid.schema.json").symlink_to(tmp_path / "absent" / "schema.json")
    outcome = run("init", tmp_path / "mine.yaml")
    assert (outcome.code, outcome.err.count("\n")) == (BAD_INPUT, 1)
    assert not (tmp_path / "mine.yaml").exists()


def test_init_keeps_a_file_that_is_there(grid: Path) -> None:
    outcome = run("init", grid)
    assert (outcome.code, outcome.err) == (BAD_INPUT, "grid.yaml: exists already; allowed: a new file\n")
    assert grid.read_text() == GRID


def test_the_version_is_printed_by_both_entry_points() -> None:
    command = [sys.executable, "-m", "mnistjobs", "--version"]
    by_module = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said("--version") == by_module == f"mnistjobs {version('mnistjobs')}\n"


STARTING = (
    "import signal; signal.signal(signal.SIGINT, signal.{}); from jobs.cli import main; print(flush=True); main()"
)


def interrupted(delay_s: float, handler: str, *words: object) -> tuple[int, str, str]:
    """Interrupt a command so long after it starts to import; return its exit code and what it wrote."""
    command = [sys.executable, "-c", STARTING.format(handler), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        time.sleep(delay_s)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    return process.returncode, out, err


@pytest.mark.medium
@pytest.mark.parametrize("delay_s", [0.01, 0.05, 0.1, 0.2])
def test_an_interrupt_of_the_start_leaves_no_traceback(tmp_path: Path, delay_s: float) -> None:
    code, _, err = interrupted(delay_s, "default_int_handler", "plan", write_grid(tmp_path), "--store", tmp_path)
    assert (code, err) in [(INTERRUPTED, ""), (-signal.SIGINT, ""), (0, "")]


@pytest.mark.medium
def test_an_interrupt_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    code, out, err = interrupted(0.05, "SIG_IGN", "plan", write_grid(tmp_path), "--store", tmp_path)
    assert (code, err) == (0, "")
    assert "3 to train" in out
