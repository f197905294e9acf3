"""The commands on a study: what each says and leaves, its exit codes, and how it ends early."""

import csv
import io
import json
from pathlib import Path

import pytest
from support.command_line import GRID, run, said, write_grid
from support.failing_tasks import unwritable_weights

import mnistjobs
from jobs.api import plan_grid
from jobs.cli.exit_codes import BAD_INPUT, SOME_FAILED
from jobs.report import summary_notes

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return write_grid(tmp_path).relative_to(tmp_path)


def submit(grid: Path, *words: object) -> str:
    return said("submit", grid, "--in-process", *words)


def test_plan_prints_json_with_every_trial(grid: Path) -> None:
    plan = json.loads(said("plan", grid, "--json"))
    assert (plan["name"], [trial["seed"] for trial in plan["trials"]]) == ("tiny", [0, 1, 2])
    assert {trial["state"] for trial in plan["trials"]} == {"new"}
    assert said("plan", grid, "--format", "json") == said("plan", grid, "--json")


def test_plan_prints_every_fault_as_json_for_editors(grid: Path) -> None:
    grid.write_text(GRID.replace("[mlp]", "[rnn]").replace("epochs: 2", "epochs: 0"))
    outcome = run("plan", grid, "--json")
    assert (outcome.code, outcome.err) == (BAD_INPUT, "")
    faults = json.loads(outcome.out)["faults"]
    assert [(fault["line"], fault["column"], fault["where"]) for fault in faults] == [
        (3, 16, "grid.model[0]"),
        (4, 17, "train.epochs"),
    ]
    assert all(fault["file"] == "grid.yaml" and "allowed" in fault["message"] for fault in faults)


def test_a_grid_that_cannot_be_read_is_a_fault_of_the_file(grid: Path) -> None:
    outcome = run("plan", "none.yaml", "--json")
    (fault,) = json.loads(outcome.out)["faults"]
    assert (outcome.code, fault["file"], fault["line"]) == (BAD_INPUT, "none.yaml", 0)
    assert "no such file" in fault["message"]


def test_one_trial_is_counted_in_the_singular(grid: Path) -> None:
    grid.write_text(GRID.replace("[0, 1, 2]", "[0]"))
    assert said("plan", grid).endswith("tiny: 1 trial, 0 found in results, 1 to train\n")


def test_plan_counts_new_trials_and_writes_nothing(grid: Path) -> None:
    assert said("plan", grid).endswith("tiny: 3 trials, 0 found in results, 3 to train\n")
    assert not Path("results").exists()


def test_plan_counts_stored_trials(finished: Path) -> None:
    finished.write_text(GRID.replace("adaptive_lr: [false]", "adaptive_lr: [false, true]"))
    *table, count = said("plan", finished).splitlines()
    assert [line.split() for line in table[-2:]] == [["MLP", "20", "no", "0", "3"], ["MLP", "20", "yes", "3", "0"]]
    assert count == "tiny: 6 trials, 3 found in results, 3 to train"


def test_a_second_submit_trains_nothing_and_says_how_many_it_found(finished: Path) -> None:
    parts = sorted(Path("results/parts").iterdir())
    outcome = run("submit", finished, "--in-process")
    assert outcome.out.startswith("tiny: 3 trials, 3 found in results, 0 to train\n")
    assert outcome.err == ""
    assert sorted(Path("results/parts").iterdir()) == parts


@pytest.mark.medium
def test_without_a_terminal_every_pack_gets_a_plain_line(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as in many a CI: no reason for a bar that moves
    grid.write_text(GRID.replace("[20]", "[20, 60]"))  # a pack has one shape
    lines = run("submit", grid, "--in-process").err.splitlines()
    assert lines[0].startswith("[3/6] mlp 60 fixed seed 0 and 2 more: 3 finished  about ")
    stored = "What has finished is stored; writing tables and figures"
    assert lines[1:] == ["[6/6] mlp 20 fixed seed 0 and 2 more: 3 finished", stored]


@pytest.mark.medium
def test_lines_name_every_setting_that_the_grid_varies(grid: Path) -> None:
    grid.write_text(GRID.replace("learning_rate: 0.01, ", "").replace("grid: {", "grid: {learning_rate: [0.01, 0.1], "))
    assert "mlp 20 fixed learning_rate 0.01 seed 0 and 5 more: 6 finished" in run("submit", grid, "--in-process").err


def test_quiet_leaves_the_table_and_the_path_of_the_report(finished: Path) -> None:
    outcome = run("submit", finished, "--in-process", "--quiet")
    assert outcome.err == ""
    assert "subset" in outcome.out.partition("─")[0]  # the header comes first
    *_, last = outcome.out.splitlines()
    assert Path(last.removeprefix("Report: ")).is_file()


def test_the_store_is_the_option_or_the_variable_or_results(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MNISTJOBS_STORE", "from-variable")
    assert "found in from-variable," in said("plan", grid)
    assert "found in from-option," in said("plan", grid, "--store", "from-option")
    monkeypatch.setenv("MNISTJOBS_STORE", "")
    assert "found in results," in said("plan", grid)
    monkeypatch.setenv("HOME", "/home/her")
    assert "found in /home/her/x," in said("plan", grid, "--store=~/x")


@pytest.mark.usefixtures("no_wait_before_a_retry")
def test_a_failed_trial_ends_in_exit_code_1_and_keeps_the_others(grid: Path) -> None:
    grid.write_text(GRID + "retries: 0\n")
    one = next(iter(plan_grid(grid).trials))
    with unwritable_weights(one):
        outcome = run("submit", grid, "--in-process")
    assert outcome.code == SOME_FAILED
    assert "[1/3] mlp 20 fixed seed 0: failed: StoreError: " in outcome.err
    assert "1 of 3 trials failed; the report has the tracebacks; " in outcome.err
    failed = f"\nfailed: mlp 20 fixed seed 0: StoreError: {Path('results/weights').absolute()}/"
    assert all(failed in text for text in (outcome.err, said("summary", "tiny"), said("status", "tiny")))
    assert " 2 of 3 " in outcome.out
    assert submit(grid).startswith("tiny: 3 trials, 2 found in results, 1 to train\n")


def test_a_diverged_trial_is_a_result_and_no_failure(grid: Path) -> None:
    grid.write_text(GRID.replace("0.01", "1e+38"))
    assert "3 diverged" in submit(grid)


def test_summary_answers_in_four_formats(finished: Path) -> None:
    (of_json,) = json.loads(said("summary", "tiny", "--format", "json"))
    (of_csv,) = csv.DictReader(io.StringIO(said("summary", "tiny", "--format", "csv")))
    assert float(of_csv["test_accuracy_mean"]) == of_json["test_accuracy_mean"]
    notes = summary_notes(mnistjobs.read_summary("results", "tiny"))
    assert len(said("summary", "tiny", "--format", "markdown").splitlines()) == 2 + 1 + 2 * len(notes)
    assert said("summary", "tiny").splitlines()[-len(notes) :] == notes
    assert said("summary", "tiny") == said("summary", "tiny", "--format", "table")


def test_a_job_goes_by_its_id_or_as_the_latest_of_its_name(finished: Path) -> None:
    finished.write_text(GRID.replace("seed: [0, 1, 2]", "seed: [0]"))
    submit(finished)
    first, second = (line.split()[0] for line in said("list").splitlines()[3:])
    assert said("summary", first) != said("summary", second) == said("summary", "tiny")


def test_report_writes_missing_files_anew(finished: Path) -> None:
    (page,) = Path.cwd().glob("results/jobs/*/report.html")
    page.unlink()
    assert said("report", "tiny").endswith(f"Report: {page}\n")
    assert page.is_file()


@pytest.mark.medium
def test_compact_merges_the_parts_of_jobs_and_changes_no_answer(finished: Path) -> None:
    finished.write_text(GRID.replace("seed: [0, 1, 2]", "seed: [0, 1, 2, 3]"))
    submit(finished)
    before = said("summary", "tiny", "--format", "csv")
    parts = len(list(Path("results/parts").iterdir()))
    assert said("compact") == f"results: {parts} parts merged into 1\n"
    assert said("compact") == "results: no small parts to merge\n"
    assert len(list(Path("results/parts").iterdir())) == 1
    assert said("summary", "tiny", "--format", "csv") == before
    assert submit(finished).startswith("tiny: 4 trials, 4 found in results, 0 to train\n")


def test_a_store_that_is_not_there_is_not_made_by_compact(tmp_path: Path) -> None:
    store = tmp_path / "none"
    assert said("compact", "--store", store) == f"{store}: no small parts to merge\n"
    assert not store.exists()


@pytest.mark.filterwarnings("default::jobs.errors.DamagedPartWarning")
@pytest.mark.parametrize("command", ["report", "summary"])
def test_damaged_parts_are_warned_of(command: str, finished: Path) -> None:
    part = next(Path("results/parts").iterdir())
    part.write_bytes(part.read_bytes()[:-1])
    outcome = run(command, "tiny")
    what = f"part {part.name} is damaged, or still being copied; it is ignored"
    hint = (
        "trials that no other part holds count as missing; `mnistjobs submit GRID` trains trials again that are missing"
    )
    assert (outcome.code, outcome.err) == (0, f"warning: {what}, and {hint}\n")
    assert " 3 missing" in outcome.out  # they are one pack
    assert part.is_file()


def test_a_store_without_jobs_is_listed_and_not_made(tmp_path: Path) -> None:
    store = tmp_path / "none"
    assert said("list", "--store", store) == f"No jobs in {store} yet; `mnistjobs submit GRID` makes one\n"
    assert not store.exists()


def test_schema_prints_the_json_schema() -> None:
    assert json.loads(said("schema"))["properties"].keys() >= {"name", "dataset", "grid"}


def test_data_verify_and_fetch_describe_a_dataset(grid: Path) -> None:
    assert said("data", "verify", "images").startswith(
        "images is complete: 60 training, 6 validation and 10 test images"
    )
    assert said("data", "fetch", "digits").startswith("digits is complete: 1297 training, ")
