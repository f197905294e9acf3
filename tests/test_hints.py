"""The hints that the command line adds to errors and warnings."""

import ast
import json
import re
import shlex
import shutil
import threading
import warnings
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import typer
from support.command_line import run, said
from support.job_records import put_record
from support.tiny_study import submit_tiny
from typer.main import get_command

import mnistjobs
from jobs.cli.app import app
from jobs.cli.exit_codes import BAD_INPUT
from jobs.cli.hints import HINTS, with_hint
from jobs.cli.output import echo_first, echo_warnings_once
from jobs.errors import DamagedPartWarning, InputError, OldRecordError, StoreError
from jobs.store.job_record import job_folder
from mnist_core.data.files import find_mnist
from mnist_core.errors import DataError, DatasetNotFound, KernelsError

ROOT = Path(__file__).parent.parent
SOURCES = [path for folder in ("jobs", "cluster", "mnist_core") for path in sorted((ROOT / folder).rglob("*.py"))]
pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.mark.parametrize(
    ("error", "command"),
    [
        (DatasetNotFound("mnist: not found"), "`mnistjobs data fetch mnist`"),
        (OldRecordError("job.json: old"), "`mnistjobs submit GRID`"),
        (DamagedPartWarning("part x is damaged"), "`mnistjobs submit GRID`"),
        (KernelsError("NumPy multiplies matrices with mkl"), "`train: {numerics: native}`"),
    ],
)
def test_an_error_is_followed_by_the_command_that_helps(error: Exception, command: str) -> None:
    text = with_hint(error)
    assert text.startswith(f"{error}; ")
    assert command in text
    assert type(error) in HINTS


@pytest.mark.parametrize("error", [StoreError("x: is full"), InputError("x: is bad"), DataError("x: is damaged")])
def test_other_errors_stay_as_they_are(error: Exception) -> None:
    assert with_hint(error) == str(error)


def test_a_message_that_names_a_command_gets_no_other() -> None:
    message = "lost; `mnistjobs compact` helps"
    assert with_hint(OldRecordError(message)) == message


def test_a_job_of_the_first_edition_is_refused_with_advice(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, seed="[0]")
    path = put_record(store, job)
    path.write_text(json.dumps({"job_id": job.job_id, "status": "finished", "grid": "", "trial_ids": []}))
    outcome = run("summary", "tiny", "--store", store.root)
    assert outcome.code == BAD_INPUT
    assert outcome.err == (
        f"{path}: was written by the first edition of mnistjobs; submit its grid again with `mnistjobs submit GRID`, "
        "or read it with the edition that wrote it\n"
    )
    assert "damaged" in run("list", "--store", store.root).out


def test_a_warning_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        echo_warnings_once()
        for _ in range(2):
            warnings.warn(DamagedPartWarning("part x is damaged"), stacklevel=1)
    assert capsys.readouterr().err == f"warning: part x is damaged; {HINTS[DamagedPartWarning]}\n"


@pytest.mark.parametrize(("count", "last"), [(101, "and 1 more note;"), (102, "and 2 more notes;")])
def test_the_lines_left_out_are_counted(count: int, last: str, capsys: pytest.CaptureFixture[str]) -> None:
    echo_first(["x"] * count, "note")
    lines = capsys.readouterr().err.splitlines()
    assert (len(lines), lines[-1].startswith(last)) == (101, True)


# Commands and options that messages name


@cache
def constants(path: Path) -> list[str]:
    """Return the texts in a file of code, docstrings left out."""
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    docstrings = {id(each.value) for each in nodes if isinstance(each, ast.Expr)}
    texts = [each for each in nodes if isinstance(each, ast.Constant) and id(each) not in docstrings]
    return [each.value for each in texts if isinstance(each.value, str)]


def commands_named() -> set[str]:
    texts = [text for path in SOURCES for text in constants(path)]
    return {command for text in texts for command in re.findall(r"`(mnistjobs [^`]+)`", text)}


def test_commands_in_messages_are_understood() -> None:
    for line in sorted(commands_named()):
        parse(line)


def parse(line: str) -> None:
    """Let the command line parse a command; raise what it raises where it does not know it."""
    words, command = shlex.split(line)[1:], get_command(app)
    context = typer.Context(command, info_name="mnistjobs")
    while isinstance(command, typer.core.TyperGroup):
        name, found, words = command.resolve_command(context, words)
        assert found is not None, name
        command, context = found, typer.Context(found, info_name=name, parent=context)
    command.parse_args(context, words)


def test_code_below_the_command_line_names_no_command() -> None:
    shell = {ROOT / "jobs" / "cli", ROOT / "jobs" / "grid"}  # the starter grid lists commands for its reader
    below = [path for path in SOURCES if not shell & set(path.parents)]
    found = [text for path in below for text in constants(path) if re.search(r"`mnistjobs|same grid again", text)]
    assert (found, len(commands_named()) >= 5) == ([], True)


@pytest.mark.medium
def test_the_hint_to_fetch_from_a_mirror_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mnist = find_mnist()
    if mnist is None:
        pytest.skip("MNIST is not on this machine")
    for name, value in {"MNISTJOBS_DATA_DIR": "data", "no_proxy": "127.0.0.1", "XDG_CACHE_HOME": "cache"}.items():
        monkeypatch.setenv(name, str(tmp_path / value) if name.isupper() else value)
    if find_mnist():
        pytest.skip("MNIST is in the checkout: nothing would be fetched")
    served = tmp_path / "served"
    shutil.copytree(mnist, served)
    refused = run("data", "fetch", "mnist", "--mirror", "http://127.0.0.1:9/")
    (hint,) = re.findall(r"`mnistjobs ([^`]+ URL)` uses another one", refused.err)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        assert "mnist is complete" in said(*hint.replace("URL", url).split())
        server.shutdown()


@pytest.mark.medium
def test_the_hint_for_a_lost_record_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, job = submit_tiny(tmp_path, seed="[0]")
    monkeypatch.chdir(tmp_path)
    (job_folder(store, job.job_id) / "requested.parquet").unlink()
    refused = run("summary", job.job_id)
    assert refused.err.endswith(
        "requested.parquet: is missing; restore it; `mnistjobs submit GRID` makes a new job of the same grid; "
        "stored trials are not trained again\n"
    )
    assert "1 found in results, 0 to train" in said("submit", "tiny.yaml")
    assert run("summary", "tiny").code == 0


def test_the_hint_for_lost_weights_can_be_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, _ = submit_tiny(tmp_path, seed="[0]")
    monkeypatch.chdir(tmp_path)
    next(store.weights.iterdir()).unlink()
    refused = run("export", "tiny", "--weights", "weights")
    assert (refused.code, "`mnistjobs verify JOB` moves damaged weights away" in refused.err) == (BAD_INPUT, True)
    assert run("verify", "tiny").code == 1
    said("submit", "tiny.yaml", "--in-process")
    assert len(mnistjobs.export_weights("results", "tiny", "weights")) == 1
