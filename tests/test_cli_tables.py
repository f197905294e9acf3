"""What a person sees in a terminal of 80 columns: the live view, and tables of which no cell is cut."""

import fcntl
import os
import pty
import re
import struct
import termios
import time
from contextlib import suppress
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from support.command_line import GRID, write_grid
from support.job_records import job_of
from support.study_tables import requested_of, settings, study, summary_of, together
from support.warm_processes import COMMAND_LINE, WarmProcess

from cluster import Done, Progress, Started, TaskFailure, usable_cpus
from jobs.cli.plan import plan_line, trials_at_once
from jobs.cli.progress import LiveView
from jobs.cli.tables import job_table, summary_table
from jobs.grid.grid import load_grid
from jobs.run import JobEvent, Pack, Retry, TaskResult, make_plan
from jobs.run.retries import next_attempts
from jobs.store.job_models import DamagedJob, JobState
from jobs.store.layout import open_store
from jobs.store.schemas import TRIALS

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

COLUMNS = 80
IN_A_TERMINAL = f"import os; os.environ['TERM'] = 'xterm-256color'; {COMMAND_LINE}"
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def seen(folder: Path, *words: object) -> tuple[int, str]:
    """Run a command in a pseudo-terminal; give its exit code and all that it wrote there."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, COLUMNS, 0, 0))
    process = WarmProcess(*words, code=IN_A_TERMINAL, folder=folder, terminal=theirs)
    os.close(theirs)
    written = b""
    with suppress(OSError):  # which Linux raises when the last process has closed the other end
        while chunk := os.read(ours, 1 << 16):
            written += chunk
    os.close(ours)
    return process.wait(timeout=120), written.decode()


def lines(written: str) -> list[str]:
    """Give the lines of what was written, without colours and commands."""
    return [line for text in written.splitlines() for line in ESCAPE.sub("\n", text).replace("\r", "\n").split("\n")]


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path, GRID.replace("epochs: 2", "epochs: 2500").replace("[0, 1, 2]", "[0, 1]"))


@pytest.mark.medium
def test_the_live_view_shows_trials_epochs_and_the_time_left(grid: Path) -> None:
    code, written = seen(grid.parent, "submit", grid, "--in-process")
    assert code == 0
    text = ESCAPE.sub("", written)
    for count in ("0/2", "1/2", "2/2"):
        assert re.search(rf" {count} \d:\d\d:\d\d", text)
    assert re.search(r"  mlp 20 fixed seed 1: epoch \d+ of 2500", text)
    assert re.search(r"about \d+ s left", text)
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1  # the cursor is back
    assert all(len(line) <= COLUMNS for line in lines(written) if "Report" not in line)


def test_the_time_left_follows_the_arithmetic_left(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid.write_text(grid.read_text().replace("2500", "4000"))
    plan = make_plan(load_grid(grid), open_store(grid.parent / "results"))
    first, second = (Pack({identity: plan.trials[identity]}) for identity in plan.missing)
    log = StringIO()
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    view = LiveView(plan, Console(file=log))
    events: list[tuple[JobEvent, float]] = [
        (Started(first, "here"), 20.0),
        (Progress(first, 1000), 40.0),
        (Done(first, TaskResult("part", "here", ("finished",))), 100.0),
        (Started(second, "here"), 100.0),
        (Progress(second, 2000), 150.0),
        (Done(second, TaskResult("part", "here", ("finished",))), 200.0),
    ]
    for event, now in events:
        clock[0] = now
        view.observe(event)
    left = [line.partition("about ")[2] for line in log.getvalue().splitlines()]
    assert left == ["2 min 20 s left", "1 min 20 s left", "50 s left", ""]


def test_a_log_counts_trials_and_names_retries(grid: Path) -> None:
    grid.write_text(grid.read_text().replace("[0, 1]", "[0, 1, 2]"))
    plan = make_plan(load_grid(grid), open_store(grid.parent / "results"))
    first, second, third = plan.missing
    pack = Pack({trial_id: plan.trials[trial_id] for trial_id in (first, second)})
    log = StringIO()
    view = LiveView(plan, Console(file=log))
    failure = TaskFailure("raised", "ArithmeticError: no such number", "")
    each_alone = next_attempts(pack, "raised", retries=2)
    view.observe(Retry(pack, failure, each_alone))
    for event in (Done(each, TaskResult("part", "here", ("finished",))) for each in each_alone):
        view.observe(event)
    view.observe(
        Done(
            Pack({third: plan.trials[third], first: plan.trials[first]}),
            TaskResult("part", "here", ("diverged", "finished")),
        )
    )
    assert [line.partition("  about")[0] for line in log.getvalue().splitlines()] == [
        "[0/3] mlp 20 fixed seed 0 and 1 more: raised: ArithmeticError: no such number; retried each by itself",
        "[1/3] mlp 20 fixed seed 0: finished",
        "[2/3] mlp 20 fixed seed 1: finished",
        "[4/3] mlp 20 fixed seed 2 and 1 more: 1 finished, 1 diverged",
    ]


def test_a_plan_estimates_a_long_time(grid: Path) -> None:
    grid.write_text(grid.read_text().replace("2500", "100000"))
    store = grid.parent / "results"
    plan = make_plan(load_grid(grid), open_store(store))
    counts = f"tiny: 2 trials, 0 found in {store}, 2 to train"
    assert re.fullmatch(rf"{re.escape(counts)} \(~\d+ s with 2 at once\)", plan_line(plan, store, 2))
    assert plan_line(plan, store, None) == counts
    assert trials_at_once(plan) == usable_cpus()
    grid.write_text(grid.read_text() + "resources: {device: cuda}\n")
    on_gpu = make_plan(load_grid(grid), open_store(store))
    assert trials_at_once(on_gpu) is None
    assert plan_line(on_gpu, store, 2) == counts


@pytest.mark.medium
def test_no_bar_is_shown_when_quiet_or_with_nothing_to_train(grid: Path) -> None:
    grid.write_text(grid.read_text().replace("2500", "2"))
    first = seen(grid.parent, "submit", grid, "--in-process", "--quiet")
    second = seen(grid.parent, "submit", grid, "--in-process")
    for code, written in (first, second):
        assert code == 0
        assert "trials ━" not in ESCAPE.sub("", written)


@pytest.mark.medium
def test_no_cell_of_a_table_is_cut(grid: Path) -> None:
    settings = "momentum: [0.12345, 0.5], weight_init_std: [0.00012345, 0.1]"
    grid.write_text(
        grid.read_text()
        .replace("2500", "1")
        .replace("learning_rate: 0.01", "learning_rate: 1e+38")
        .replace("grid: {", f"grid: {{{settings}, ")
    )
    code, written = seen(grid.parent, "submit", grid, "--in-process")
    assert code == 0
    assert "…" not in written
    assert "0.12345" in written
    assert "0.00012345" in written
    assert "diverged" in written


def test_a_long_summary_is_cut_and_says_how_to_get_all() -> None:
    requested = requested_of(*(settings(0, hidden_units=width) for width in range(1, 1008)))
    table, _ = summary_table(summary_of(TRIALS.empty_table(), requested))
    assert (table.row_count, table.caption) == (1000, "and 7 more configurations; --format csv prints all")


def test_a_terminal_counts_collapsed_trials_in_the_note() -> None:
    table, _ = summary_table(summary_of(*study(0.1, 0.9, 0.1)))
    cells = {str(column.header): [str(cell) for cell in column.cells] for column in table.columns}
    assert cells["n"] == ["3 of 3"]
    assert cells["without\ncollapsed\n(%)"] == ["90.00"]
    assert cells["note"] == ["2 of 3 collapsed"]


def test_a_narrow_terminal_leaves_out_columns_and_says_which() -> None:
    summary = summary_of(*study(0.1, 0.9, 0.1))
    wide, nothing = summary_table(summary, 120)
    narrow, below = summary_table(summary, 62)
    headers = [[str(column.header).replace("\n", " ") for column in table.columns] for table in (wide, narrow)]
    assert nothing == []
    assert [name for name in headers[0] if name not in headers[1]] == [
        "std (pp)",
        "train (%)",
        "validation (%)",
        "gap (pp)",
        "note",
    ]
    assert below == [
        "MLP, subset size 2,000, adaptive lr no: 2 of 3 collapsed",
        "Not shown, for want of room: gap, std, validation, train; --format markdown has all columns.",
    ]
    assert summary_table(summary, 88)[1] == [
        "Not shown, for want of room: gap, std; --format markdown has all columns."
    ]


def test_a_narrow_terminal_shows_the_first_notes_and_the_number_of_the_others() -> None:
    every = together(*(study(0.1, 0.9, 0.1, name=f"{epochs}", epochs=epochs) for epochs in range(1, 15)))
    _, below = summary_table(summary_of(*every), 40)
    assert below[11] == "MLP, subset size 2,000, adaptive lr no, epochs 12: 2 of 3 collapsed"
    assert below[12] == "and 2 more notes"
    assert len(below) == 14


def test_jobs_are_listed_with_their_state_and_damaged_ones_too() -> None:
    table = job_table([DamagedJob("study-20260101-000000-0000", "torn"), job_of(JobState.finished)])
    assert [list(column.cells) for column in table.columns] == [
        [Text("study-20260101-000000-0000"), Text("study-20260101-000000-abcd")],
        [Text("damaged"), Text("finished")],
        [Text(""), Text("2")],
        [Text(""), Text("2026-01-01 00:00:00")],
    ]
