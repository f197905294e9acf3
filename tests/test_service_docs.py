"""Every command of docs/service.md runs, in the order of the page and as it is written there, but without Ray."""

import json
import os
import re
import shlex
import stat
import time
from pathlib import Path

import pytest
from support.command_line import run, write_grid

import mnistjobs

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
PAGE = (Path(__file__).parent.parent / "docs" / "service.md").read_text(encoding="utf-8")
COMMANDS = [line for fence in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in fence.splitlines()]
EXIT_CODES = {"watch": (0, 1)}  # a job that was cancelled before is watched, too
PATIENCE_S = 240.0


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(tmp_path)
    monkeypatch.chdir(tmp_path)
    for name in ("mail", "curl"):  # that note what they are called with
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/{name}.log\n')
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("WEBHOOK", "http://127.0.0.1:9/")
    for line in COMMANDS:
        _, *words = shlex.split(line, comments=True)
        outcome = run(*words, *(["--in-process"] if words[0] == "submit" else []))
        assert outcome.code in EXIT_CODES.get(words[0], (0,)), (line, outcome)
        if "--json" in words:
            assert json.loads(outcome.out)
    assert len(COMMANDS) == 13
    (mail,) = (tmp_path / "mail.log").read_text().splitlines()
    assert re.fullmatch(r"-s tiny-\d{8}-\d{6}-[0-9a-f]{4} me@example.org", mail)
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "curl.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert "text=tiny finished, 3 of 3 trials; model MLP, subset size 20" in (tmp_path / "curl.log").read_text()


def test_the_page_explains_every_state_and_key() -> None:
    from jobs.service import JobStatus
    from jobs.store import JobState

    states = {state.value for state in JobState} - {"damaged"}
    assert set(re.findall(r"^\| `(\w+)` \| .* \| .* \| .* \|$", PAGE, re.MULTILINE)) == states
    assert set(re.findall(r"\b([a-z]+) --> ([a-z]+):", PAGE)) >= {("running", "lost"), ("lost", "queued")}
    section = PAGE.partition("## `status --json`")[2].partition("\n## ")[0]
    assert JobStatus.__dataclass_fields__.keys() <= set(re.findall(r"`(\w+)`", section))


@pytest.mark.medium
def test_the_notebook_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(tmp_path)
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(code.replace("detach=True)", "detach=True, in_process=True)"), names)  # noqa: S102 - the page's own code
    assert mnistjobs.get_job("results").status().state == "finished"
