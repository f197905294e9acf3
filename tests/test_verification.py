"""`verify` finds what is not as it was written, and trials whose numbers do not come out again."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from tiny_study import submit_tiny

from jobs.jobfile import Job, job_folder
from jobs.report import write_report
from jobs.store import Store, read_parts, write_part
from jobs.verification import verify_job
from mnist_core.datasets import Dataset, load_dataset

Study = tuple[Store, Job, Dataset]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """A job of three trials, one of which diverges, with its report."""
    store, job = submit_tiny(tmp_path, seed="[0, 1, 2]")
    write_report(store, job)
    return store, job, load_dataset(tmp_path / "images")


def test_a_job_as_it_was_written_has_no_problems(study: Study) -> None:
    store, job, _ = study
    found = verify_job(store, job)
    assert (found.trials, found.tables, found.rerun, found.problems) == (3, 6, 0, ())


@pytest.mark.parametrize("model", ["[mlp]", "[cnn]"])
def test_trials_trained_again_give_every_bit(tmp_path: Path, model: str) -> None:
    store, job = submit_tiny(tmp_path, model=model)
    write_report(store, job)
    found = verify_job(store, job, load_dataset(tmp_path / "images"), rerun=5)
    assert (found.rerun, found.problems) == (2, ())


def test_a_diverged_trial_comes_out_diverged_again(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, learning_rate="1.0e+38")
    write_report(store, job)
    assert verify_job(store, job, load_dataset(tmp_path / "images"), rerun=1).problems == ()


def test_a_number_that_training_does_not_give_again_is_named(study: Study) -> None:
    store, job, dataset = study
    rows = read_parts(store, job["trial_ids"]).table.to_pylist()
    rows[0]["epochs"][1]["train_loss"] += 1e-9
    for part in store.parts.iterdir():
        part.unlink()
    write_part(store, pa.Table.from_pylist(rows, schema=read_parts(store, []).table.schema))
    write_report(store, job)
    (problem,) = verify_job(store, job, dataset, rerun=3).problems
    assert problem == f"trial {job['trial_ids'][0]} trained again gives another epochs"


def test_lost_and_damaged_weights_are_named(study: Study) -> None:
    store, job, _ = study
    lost, damaged, _ = (store.weights / f"{identity}.safetensors" for identity in job["trial_ids"])
    lost.unlink()
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00")
    assert set(verify_job(store, job).problems) == {
        f"the weights of trial {job['trial_ids'][0]} are missing",
        f"the weights of trial {job['trial_ids'][1]} are damaged",
    }


def test_a_damaged_part_and_the_trials_it_held_are_named(study: Study) -> None:
    store, job, _ = study
    part = sorted(store.parts.iterdir())[0]
    part.write_bytes(part.read_bytes()[:-1])
    problems = verify_job(store, job).problems
    assert any(part.name in problem for problem in problems)
    assert any("is in no undamaged part" in problem for problem in problems)


@pytest.mark.parametrize("name", ["trials.parquet", "metrics.parquet", "confusion.parquet", "summary.csv"])
def test_a_table_that_is_not_what_the_parts_give_is_named(study: Study, name: str) -> None:
    store, job, _ = study
    path = job_folder(store, job["job_id"]) / name
    path.write_bytes(path.read_bytes() + b"\n")
    again = f"write it anew with `mnistjobs report {job['job_id']}`"
    assert verify_job(store, job).problems == (f"{name} is not what the parts give; {again}",)
    path.unlink()
    assert verify_job(store, job).problems == (f"{name} is missing; {again}",)


def test_trials_that_an_interrupted_job_never_had_are_no_problem(study: Study) -> None:
    store, job, _ = study
    for part in store.parts.iterdir():
        part.unlink()
    write_report(store, job)
    assert len(verify_job(store, job).problems) == 3
    assert verify_job(store, {**job, "status": "interrupted"}).problems == ()


def test_a_trial_that_cannot_be_trained_again_is_named(study: Study) -> None:
    store, job, dataset = study
    few = replace(
        dataset, train=replace(dataset.train, images=dataset.train.images[:1], labels=dataset.train.labels[:1])
    )
    (problem,) = verify_job(store, job, few, rerun=1).problems
    assert "could not be trained again: ValueError: subset_size 20" in problem
