"""The hints that the command line adds to errors and warnings."""

import json
import warnings
from pathlib import Path

import pytest
from support.command_line import run
from support.job_records import put_record
from support.tiny_study import submit_tiny

from jobs.cli.app import BAD_INPUT
from jobs.cli.hints import HINTS, with_hint
from jobs.cli.output import echo_first, echo_warnings_once
from jobs.errors import DamagedPartWarning, InputError, OldRecordError, StoreError
from mnist_core.errors import DataError, DatasetNotFound, KernelsError

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
