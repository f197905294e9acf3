"""What commands are given to read and to write to: hostile text, terminals, pipes, full disks, and interrupts."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.command_line import GRID, finish, in_fresh_process, run, said, write_grid
from support.failing_tasks import unwritable_weights
from support.job_records import put_end
from support.warm_processes import WarmProcess

from jobs.api import plan_grid
from jobs.cli.exit_codes import BAD_INPUT, INTERRUPTED
from jobs.store.job_record import find_job
from jobs.store.layout import Store

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
HOSTILE = "re\x1b[31m\u202e[red]x"  # red from here on, right to left, and markup


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_grid(tmp_path).relative_to(tmp_path)


@pytest.mark.usefixtures("no_wait_before_a_retry")
def test_text_from_elsewhere_commands_no_terminal(grid: Path) -> None:
    grid.write_text(GRID + "retries: 0\n")
    one = next(iter(plan_grid(grid).trials))
    with unwritable_weights(one):
        outcome = run("submit", grid, "--in-process", "--store", HOSTILE)
    missing = run("summary", HOSTILE, "--store", HOSTILE)
    for text in (outcome.out, outcome.err, missing.err):
        assert r"re\x1b[31m\u202e[red]x" in text
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_job_record_commands_no_terminal(finished: Path) -> None:
    store = Store(Path("results"))
    put_end(store, find_job(store, "tiny"), state=HOSTILE)
    assert "damaged" in said("list")
    assert HOSTILE not in run("summary", "tiny").err


@pytest.mark.medium
@pytest.mark.parametrize("words", [["plan", "grid.yaml", "--store", "bü\udcff"], ["summary", "tiny"]])
def test_a_terminal_without_unicode_is_served(words: list[str], finished: Path) -> None:
    outcome = in_fresh_process(*words, PYTHONIOENCODING="ascii")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.isascii()


@pytest.mark.medium
def test_a_report_in_a_fresh_process_writes_pdf_and_png_too(finished: Path) -> None:
    outcome = in_fresh_process("report", "tiny", "--figures", "pdf", "--figures", "png")
    assert (outcome.code, outcome.err) == (0, "")
    files = {path.suffix for path in Path(outcome.out.split("Report: ")[1].strip()).parent.glob("learning-curve.*")}
    assert files == {".svg", ".pdf", ".png"}


@pytest.mark.medium
@pytest.mark.parametrize("words", [["summary", "tiny", "--format", "json"], ["list"], ["schema"]])
def test_a_closed_pipe_is_no_traceback(words: list[str], finished: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "mnistjobs", *words]
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.medium
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk_behind_the_output_is_one_message() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mnistjobs", "schema"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (BAD_INPUT, "mnistjobs: No space left on device\n")


@pytest.mark.medium
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_work_is_kept_and_taken_up_again(number: signal.Signals, grid: Path) -> None:
    grid.write_text(GRID.replace("epochs: 2", "epochs: 1000"))
    process = WarmProcess("submit", grid, "--in-process")
    assert process.stderr
    assert process.stderr.readline().startswith("[1/3] ")
    process.send_signal(number)
    outcome = finish(process)
    assert outcome.code == INTERRUPTED
    assert outcome.err.endswith(
        "Interrupted. What has finished is stored; submit the same grid again to train the rest.\n"
    )
    found = len(list(Path("results/parts").iterdir()))
    assert 1 <= found < 3
    assert "interrupted" in said("list")
    assert said("submit", grid, "--in-process").startswith(
        f"tiny: 3 trials, {found} found in results, {3 - found} to train"
    )
    assert len(list(Path("results/parts").iterdir())) == 3
