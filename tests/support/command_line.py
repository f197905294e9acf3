"""Run the command line: in this process where that will do, as a process of its own where signals or imports count."""

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from jobs.cli.app import main
from support.idx_files import write_idx_folder
from support.warm_processes import WarmProcess

GRID = """\
name: tiny
dataset: {path: images}
grid: {model: [mlp], subset_size: [20], adaptive_lr: [false], seed: [0, 1, 2]}
train: {epochs: 2, batch_size: 16, learning_rate: 0.01, hidden_units: 4}
"""


@dataclass(frozen=True)
class Outcome:
    """The exit code and the output of a run of the command line."""

    code: int
    out: str
    err: str


def write_grid(folder: Path, text: str = GRID) -> Path:
    """Write a grid, and the folder of 72 and 20 images that it names."""
    write_idx_folder(folder / "images", train_count=72, test_count=20)
    grid = folder / "grid.yaml"
    grid.write_text(text, encoding="utf-8")
    return grid


def run(*words: object) -> Outcome:
    """Run one command in this process; an exception that it does not turn into a message is raised."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", ["mnistjobs", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
    return Outcome(int(end.value.code or 0), out.getvalue(), err.getvalue())


def said(*words: object) -> str:
    """Run one command that goes well and return what it printed."""
    outcome = run(*words)
    assert outcome.code == 0, outcome
    return outcome.out


def finish(process: WarmProcess | subprocess.Popen[str]) -> Outcome:
    """Wait for a process to end and read the rest of what it writes."""
    out, err = process.communicate(timeout=120)
    assert process.returncode is not None
    return Outcome(process.returncode, out, err)


def in_fresh_process(*words: object, **environment: str) -> Outcome:
    """Run one command in a fresh interpreter with further environment variables."""
    command = [sys.executable, "-m", "mnistjobs", *map(str, words)]
    return finish(
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
    )
