"""What commands write for CI services: the summary of a step of GitHub Actions, and JUnit files."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support import command_line
from support.study_arms import arms_of

import mnistjobs
from jobs.cli.junit import junit_xml
from jobs.cli.step_summary import markdown_text
from jobs.report.renderings import summary_markdown
from jobs.report.verdict import judge

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
GRID = """\
name: tiny
dataset: {path: images}
grid: {model: [mlp], subset_size: [20], adaptive_lr: [false], seeds: 6, learning_rate: [0.0001, 0.01]}
train: {epochs: 20, batch_size: 16, hidden_units: 4}
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ci")
    mnistjobs.submit_grid(command_line.write_grid(folder, GRID), folder / "results", in_process=True)
    return folder / "results"


def accuracy(trial: Mapping[str, Any], seed: int) -> float:
    return 0.94 + 0.001 * (seed % 3) if trial["adaptive_lr"] else 0.9


@pytest.mark.parametrize(
    ("verdict", "inside", "counts"),
    [
        ("better", [], "000"),
        ("negligible", [], "000"),
        ("worse", [("failure", {"message": "a line <&>", "type": "worse"}, "a line <&>")], "100"),
        ("keep going", [("skipped", {"message": "a line <&>"}, None)], "001"),
    ],
)
def test_a_junit_file_fails_where_it_is_worse(verdict: str, inside: list[Any], counts: str) -> None:
    found = replace(judge(arms_of({"adaptive_lr": [False, True]}, 6, accuracy), None, 5000), verdict=verdict)
    suites = ElementTree.fromstring(junit_xml(found, "tiny", "a line <&>"))
    (suite,) = suites
    assert suites.tag == "testsuites"
    # The order and the attributes that the schema of Apache Ant requires.
    assert [each.tag for each in suite] == ["properties", "testcase", "system-out", "system-err"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib.pop("timestamp"))
    of_suite = {"name": "mnistjobs verdict", "package": "mnistjobs", "id": "0", "tests": "1", "time": "0"}
    numbers = dict(zip(("failures", "errors", "skipped"), counts, strict=True))
    assert suite.attrib == of_suite | {"hostname": "localhost"} | numbers
    properties = {each.attrib["name"]: each.attrib["value"] for each in suite[0]}
    assert (properties["verdict"], properties["n"], properties["mean"]) == (verdict, "6", f"{found.mean}")
    assert suite[1].attrib == {"name": "adaptive_lr true against false", "classname": "tiny", "time": "0"}
    assert [(each.tag, each.attrib, each.text) for each in suite[1]] == inside
    assert suite[2].text == "a line <&>"


def test_a_step_of_github_gets_a_summary_and_ci_a_junit_file(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page, junit = store.parent / "step.md", store.parent / "verdict.xml"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    line = command_line.run("verdict", "tiny", "--junit", junit, "--store", store).out.strip()
    command_line.run("compare", "tiny", "tiny", "--store", store)
    command_line.run("summary", "tiny", "--store", store)
    first, second, third = page.read_text(encoding="utf-8").split("### ")[1:]
    assert first == f"mnistjobs verdict tiny\n\n- {markdown_text(line)}\n\n"
    assert second == "mnistjobs compare tiny tiny\n\n- equal: 12 of 12 trials are equal in every number\n\n"
    table = summary_markdown(mnistjobs.read_summary(store, "tiny"))
    assert third == f"mnistjobs summary tiny\n\n{table}\n"
    assert ElementTree.parse(junit).findtext(".//system-out") == line


@pytest.mark.parametrize(("place", "why"), [("", "Is a directory"), ("full.md", "too long for a summary")])
def test_a_step_summary_that_cannot_be_written_is_a_warning(
    place: str, why: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "full.md").write_bytes(b"-" * 2**20)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / place))
    outcome = command_line.run("compare", "tiny", "tiny", "--store", store)
    assert (outcome.code, outcome.out) == (0, "equal: 12 of 12 trials are equal in every number\n")
    assert outcome.err.startswith("warning: GITHUB_STEP_SUMMARY: ")
    assert why in outcome.err


def test_submit_writes_the_summary_of_a_github_step(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = store.with_name("submit.md")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    command_line.said("submit", store.with_name("grid.yaml"), "--in-process", "--quiet", "--store", store)
    title, _, table = page.read_text(encoding="utf-8").partition("\n\n")
    assert re.fullmatch(r"### mnistjobs submit: tiny-\S+ finished", title)
    assert table.startswith("| model | subset size |")


@pytest.mark.medium
def test_what_ends_a_job_or_reads_it_writes_the_summary_of_a_step(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = store.with_name("others.md")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(page))
    resumed = command_line.run("resume", "tiny", "--attach", "--json", "--store", store)
    command_line.said("report", "tiny", "--store", store)
    ranking = command_line.said("best", "tiny", "--store", store)
    of_resume, of_report, of_best = page.read_text(encoding="utf-8").split("### ")[1:]
    job_id = json.loads(resumed.out)["job_id"]
    table = summary_markdown(mnistjobs.read_summary(store, "tiny"))
    assert of_resume == f"mnistjobs resume: {job_id} finished\n\n{table}\n"
    assert of_report == f"mnistjobs report {job_id}\n\n{table}\n"
    assert (store / "jobs" / job_id / "report.html").exists()
    assert of_best.startswith("mnistjobs best tiny\n\n| rank | model |")
    assert markdown_text(ranking.splitlines()[-1]) in of_best
