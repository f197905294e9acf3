"""`verify` finds what is not as it was written, and trials whose numbers do not come out again."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from support.command_line import run
from support.tiny_study import submit_tiny

from jobs.cli.app import BAD_INPUT, SOME_FAILED
from jobs.report.report import write_report
from jobs.store.job_record import Job, job_folder
from jobs.store.parts import Store, read_parts, write_part
from jobs.verify import check_job
from mnist_core.data.datasets import Dataset, load_dataset

Study = tuple[Store, Job, Dataset]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A job of three trials, one of which diverges, with its report."""
    store, job = submit_tiny(tmp_path, seed="[0, 1, 2]")
    write_report(store, job)
    return store, job, load_dataset(tmp_path / "images")


def test_a_job_as_it_was_written_has_no_problems(study: Study) -> None:
    store, job, _ = study
    found = check_job(store, job)
    assert (found.trials, found.files, found.rerun, found.problems) == (3, 12, 0, ())


@pytest.mark.parametrize("model", ["[mlp]", "[cnn]"])
def test_trials_trained_again_give_every_bit(tmp_path: Path, model: str) -> None:
    store, job = submit_tiny(tmp_path, model=model)
    write_report(store, job)
    found = check_job(store, job, load_dataset(tmp_path / "images"), rerun=5)
    assert (found.rerun, found.problems) == (2, ())


def test_a_diverged_trial_comes_out_diverged_again(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, learning_rate="1.0e+38")
    write_report(store, job)
    assert check_job(store, job, load_dataset(tmp_path / "images"), rerun=1).problems == ()


def test_a_number_that_training_does_not_give_again_is_named(study: Study) -> None:
    store, job, dataset = study
    rows = read_parts(store, job["trial_ids"]).table.to_pylist()
    rows[0]["epochs"][1]["train_loss"] += 1e-9
    for part in store.parts.iterdir():
        part.unlink()
    write_part(store, pa.Table.from_pylist(rows, schema=read_parts(store, []).table.schema))
    write_report(store, job)
    (problem,) = check_job(store, job, dataset, rerun=3).problems
    assert problem == f"trial {job['trial_ids'][0]} trained again gives another epochs"


def test_trials_of_a_gpu_are_not_trained_again_and_that_is_said(study: Study) -> None:
    store, job, dataset = study
    rows = read_parts(store, job["trial_ids"]).table.to_pylist()
    rows[0]["device"] = "cuda"
    for part in store.parts.iterdir():
        part.unlink()
    write_part(store, pa.Table.from_pylist(rows, schema=read_parts(store, []).table.schema))
    write_report(store, job)
    found = check_job(store, job, dataset, rerun=3)
    assert (found.rerun, found.problems) == (2, ())
    assert found.notes == ("1 trials ran on a GPU, where last bits hang on the pack: they are not trained again",)


def test_lost_and_damaged_weights_are_named(study: Study) -> None:
    store, job, _ = study
    lost, damaged, _ = (store.weights / f"{identity}.safetensors" for identity in job["trial_ids"])
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00")
    assert set(check_job(store, job).problems) >= {
        f"the weights of trial {job['trial_ids'][0]} are missing",
        f"the weights of trial {job['trial_ids'][1]} are damaged",
    }


def test_a_damaged_part_and_the_trials_it_held_are_named(study: Study) -> None:
    store, job, _ = study
    part = sorted(store.parts.iterdir())[0]
    part.write_bytes(part.read_bytes()[:-1])
    problems = check_job(store, job).problems
    assert any(part.name in problem for problem in problems)
    assert any("is in no undamaged part" in problem for problem in problems)


@pytest.mark.parametrize("name", ["trials.parquet", "metrics.parquet", "confusion.parquet", "summary.csv"])
def test_a_table_that_is_not_what_the_parts_give_is_named(study: Study, name: str) -> None:
    store, job, _ = study
    path = job_folder(store, job.job_id) / name
    path.write_bytes(path.read_bytes() + b"\n")
    again = f"write it anew with `mnistjobs report {job['job_id']}`"
    assert check_job(store, job).problems == (f"{name} is not what the parts give; {again}",)
    path.unlink()
    assert check_job(store, job).problems == (f"{name} is missing; {again}",)


def test_trials_that_an_interrupted_job_never_had_are_no_problem(study: Study) -> None:
    store, job, _ = study
    for part in store.parts.iterdir():
        part.unlink()
    write_report(store, job)
    assert len(check_job(store, job).problems) == 3
    interrupted = {**job, "status": "interrupted"}
    write_report(store, interrupted)
    assert check_job(store, interrupted).problems == ()


def test_a_trial_that_cannot_be_trained_again_is_named(study: Study) -> None:
    store, job, dataset = study
    few = replace(
        dataset, train=replace(dataset.train, images=dataset.train.images[:1], labels=dataset.train.labels[:1])
    )
    (problem,) = check_job(store, job, few, rerun=1).problems
    assert "could not be trained again: ValueError: subset_size 20" in problem


def test_a_picture_and_the_page_are_looked_at_too(study: Study) -> None:
    store, job, _ = study
    folder = job_folder(store, job.job_id)
    (folder / "curves-mlp-20.svg").unlink()
    (folder / "report.html").write_text("<html>")
    missing, other = check_job(store, job).problems
    assert missing.startswith("curves-mlp-20.svg is missing")
    assert other.startswith("report.html is not what the parts give")


def test_trials_of_other_numerics_are_not_compared_and_said_to_be(
    study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, job, dataset = study
    monkeypatch.setattr("mnist_core.trial.NUMERICS_VERSION", 99)
    (problem,) = check_job(store, job, dataset, rerun=1).problems
    assert "is of other numerics; train it again with mnistjobs " in problem


def test_a_job_that_failed_misses_no_trial_but_those_that_failed(study: Study) -> None:
    store, job, _ = study
    one, *others = job["trial_ids"]
    failures = [{"trial_id": identity, "message": "", "traceback": ""} for identity in others]
    failed = {**job, "status": "failed", "failures": failures}
    for part in store.parts.iterdir():
        part.unlink()
    write_report(store, failed)
    assert check_job(store, failed).problems == (f"trial {one} is in no undamaged part",)


# The command


@pytest.fixture
def submitted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose job `tiny` has its report, in the working directory."""
    monkeypatch.chdir(tmp_path)
    write_report(*submit_tiny(tmp_path))
    return tmp_path / "results"


def test_verify_ends_with_0_where_all_is_well(submitted: Path) -> None:
    outcome = run("verify", "tiny", "--rerun", "2")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "2 trials with their weights, 12 files, 2 trained again: 0 problems\n"


def test_verify_ends_with_1_and_names_each_problem(submitted: Path) -> None:
    (page,) = submitted.glob("jobs/*/report.html")
    page.unlink()
    outcome = run("verify", "tiny")
    assert (outcome.code, outcome.err.startswith("report.html is missing; write it anew with")) == (SOME_FAILED, True)
    assert outcome.out.endswith(": 1 problems\n")


def test_verify_ends_with_2_where_there_is_nothing_to_verify(submitted: Path) -> None:
    assert run("verify", "nope").code == BAD_INPUT
    (record,) = submitted.glob("jobs/*/job.json")
    record.write_bytes(record.read_bytes()[:-1])
    outcome = run("verify", "tiny")
    assert (outcome.code, outcome.err.startswith(f"{record}: is not a job's file: ")) == (BAD_INPUT, True)


def test_verify_names_what_lies_beside_without_counting_it(submitted: Path) -> None:
    (submitted / "parts" / ".x.node-7.00000000.1.2.3.01234567.tmp").touch()
    outcome = run("verify", "tiny")
    assert outcome.code == 0
    assert outcome.err.startswith("note: ")
    assert "is of process 2 on node-7; remove it if that runs no more" in outcome.err


def test_verify_names_the_first_of_very_many(submitted: Path) -> None:
    for number in range(103):
        (submitted / "parts" / f".x.node-7.00000000.1.2.3.{number:08}.tmp").touch()
    lines = run("verify", "tiny").err.splitlines()
    assert len(lines) == 101
    assert lines[-1] == "and 3 more notes; mnistjobs.verify_job gives all"
