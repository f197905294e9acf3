"""Verification finds damaged files, and trials that give other numbers when they are trained again."""

import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from support.command_line import run
from support.job_records import failure_of, trial_ids, with_end
from support.tiny_study import submit_tiny

from jobs.cli.exit_codes import BAD_INPUT, SOME_FAILED
from jobs.report.report import write_report
from jobs.store.job_models import Job, JobState
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.parts import read_parts, write_part
from jobs.verify import check_job
from mnist_core.data.datasets import Dataset, load_dataset
from mnist_core.kernels import kernels_in_use

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
Study = tuple[Store, Job, Dataset]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A job of three trials, with its report."""
    folder = tmp_path_factory.mktemp("trained")
    store, job = submit_tiny(folder, seed="[0, 1, 2]")
    write_report(store, job)
    return store, job, load_dataset(folder / "images")


@pytest.fixture
def study(trained: Study, tmp_path: Path) -> Study:
    """A copy for one test."""
    store, job, dataset = trained
    return Store(Path(shutil.copytree(store.root, tmp_path / "results"))), job, dataset


def rewrite_rows(store: Store, job: Job, **changed: object) -> None:
    """Change values in the row of the job's first trial."""
    table = read_parts(store, trial_ids(store, job)).table
    rows = table.to_pylist()
    rows[0].update(changed)
    lose_parts(store)
    write_part(store, pa.Table.from_pylist(rows, schema=table.schema))
    write_report(store, job)


def lose_parts(store: Store) -> None:
    for part in store.parts.iterdir():
        part.unlink()


def test_a_job_as_it_was_written_has_no_problems(study: Study) -> None:
    store, job, _ = study
    found = check_job(store, job)
    assert (found.trials, found.files, found.rerun, found.problems) == (3, 19, 0, ())


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


def test_a_number_that_training_does_not_give_is_named(study: Study) -> None:
    store, job, dataset = study
    first = trial_ids(store, job)[0]
    epochs = read_parts(store, [first]).table["epochs"].to_pylist()[0]
    epochs[1]["train_loss"] += 1e-9
    rewrite_rows(store, job, epochs=epochs)
    (problem,) = check_job(store, job, dataset, rerun=3).problems
    assert problem == f"trial {first}: trained again, it differs in epochs"


def test_a_difference_that_other_kernels_explain_is_a_note(study: Study) -> None:
    store, job, dataset = study
    first = trial_ids(store, job)[0]
    (row,) = read_parts(store, [first]).table.to_pylist()
    row["epochs"][1]["train_loss"] += 1e-9
    rewrite_rows(store, job, epochs=row["epochs"], kernels="OpenBLAS 0.3.31 NeoverseN1, NumPy baseline")
    found = check_job(store, job, dataset, rerun=3)
    assert (found.rerun, found.problems) == (3, ())
    assert found.notes == (
        f"trial {first}: trained again with other kernels, it differs in epochs "
        f"(then OpenBLAS 0.3.31 NeoverseN1, NumPy baseline; now {row['kernels']}): last bits depend on them",
    )


@pytest.mark.skipif("SkylakeX" not in kernels_in_use(), reason="this CPU has no other kernels than the pinned ones")
def test_native_trials_are_verified_with_native_kernels(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, numerics="native")
    write_report(store, job)
    rows = read_parts(store, trial_ids(store, job)).table
    assert set(rows["kernels"].to_pylist()) == {kernels_in_use()}
    found = check_job(store, job, load_dataset(tmp_path / "images"), rerun=1)
    assert (found.rerun, found.problems, found.notes) == (1, (), ())


def test_trials_of_a_gpu_are_not_trained_again(study: Study) -> None:
    store, job, dataset = study
    rewrite_rows(store, job, device="cuda")
    found = check_job(store, job, dataset, rerun=3)
    assert (found.rerun, found.problems) == (2, ())
    reason = "there the last bits depend on which trials train together"
    assert found.notes == (f"1 trial ran on a GPU and is not trained again: {reason}",)


def test_lost_and_damaged_weights_are_named(study: Study) -> None:
    store, job, _ = study
    (path,) = store.weights.iterdir()
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    damaged = [
        f"trial {identity}: its weights are damaged, or still being copied" for identity in trial_ids(store, job)
    ]
    assert list(check_job(store, job).problems[:3]) == damaged
    path.unlink()
    missing = [f"trial {identity}: its weights are missing" for identity in trial_ids(store, job)]
    assert list(check_job(store, job).problems[:3]) == missing


def test_a_damaged_part_and_its_trials_are_named(study: Study) -> None:
    store, job, _ = study
    part = sorted(store.parts.iterdir())[0]
    part.write_bytes(part.read_bytes()[:-1])
    found = check_job(store, job)
    assert any(part.name in problem for problem in found.problems)
    assert {f"trial {identity}: its row is lost" for identity in found.lost_trials} <= set(found.problems)
    assert set(found.lost_trials) == set(trial_ids(store, job))  # they are one pack


def test_outdated_and_missing_tables_are_named(study: Study) -> None:
    store, job, _ = study
    paths = [
        job_folder(store, job.job_id) / f"{name}.parquet" for name in ("trials", "metrics", "confusion", "summary")
    ]
    for path in paths:
        path.write_bytes(path.read_bytes() + b"\n")
    found = check_job(store, job)
    assert found.problems == tuple(f"{path.name}: does not match the parts" for path in paths)
    assert found.outdated_files == tuple(path.name for path in paths)
    for path in paths:
        path.unlink()
    assert check_job(store, job).problems == tuple(f"{path.name}: is missing" for path in paths)


def test_an_interrupted_job_may_lack_trials(study: Study) -> None:
    store, job, _ = study
    lose_parts(store)
    write_report(store, job)
    assert len(check_job(store, job).problems) == 3
    interrupted = with_end(job, JobState.interrupted)
    write_report(store, interrupted)
    assert check_job(store, interrupted).problems == ()


def test_a_trial_that_cannot_be_trained_again_is_named(study: Study) -> None:
    store, job, dataset = study
    few = replace(
        dataset, train=replace(dataset.train, images=dataset.train.images[:1], labels=dataset.train.labels[:1])
    )
    (problem,) = check_job(store, job, few, rerun=1).problems
    assert "cannot be trained again: ValueError: subset_size 20" in problem


def test_an_outdated_figure_or_page_is_named(study: Study) -> None:
    store, job, _ = study
    folder = job_folder(store, job.job_id)
    (folder / "curves-mlp-20.svg").unlink()
    (folder / "report.html").write_text("<html>")
    missing, other = check_job(store, job).problems
    assert missing == "curves-mlp-20.svg: is missing"
    assert other == "report.html: does not match the parts"


def test_trials_of_other_numerics_are_not_compared(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    store, job, dataset = study
    monkeypatch.setattr("mnist_core.trial.NUMERICS_VERSION", 99)
    (problem,) = check_job(store, job, dataset, rerun=1).problems
    assert "was trained by mnistjobs " in problem


def test_a_failed_job_may_lack_the_trials_that_failed(study: Study) -> None:
    store, job, _ = study
    one, *others = trial_ids(store, job)
    failed = with_end(job, JobState.failed, *map(failure_of, others))
    lose_parts(store)
    write_report(store, failed)
    assert check_job(store, failed).problems == (f"trial {one}: its row is lost",)


# The command


@pytest.fixture
def submitted(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose job `tiny` has its report, in the working directory."""
    monkeypatch.chdir(tmp_path)
    return study[0].root


def test_verify_ends_with_0_where_all_is_well(submitted: Path) -> None:
    outcome = run("verify", "tiny", "--rerun", "2")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == "3 trials with weights, 19 files, 2 trained again: 0 problems\n"


def test_verify_ends_with_1_and_names_each_problem(submitted: Path) -> None:
    (page,) = submitted.glob("jobs/*/report.html")
    page.unlink()
    outcome = run("verify", "tiny")
    assert outcome.code == SOME_FAILED
    hint = "`mnistjobs report JOB` writes the files of a report again"
    assert outcome.err == f"report.html: is missing\n{hint}\n"
    assert outcome.out.endswith(": 1 problem\n")


def test_verify_ends_with_2_where_there_is_nothing_to_verify(submitted: Path) -> None:
    assert run("verify", "nope").code == BAD_INPUT
    (record,) = submitted.glob("jobs/*/job.json")
    record.write_bytes(record.read_bytes()[:-1])
    outcome = run("verify", "tiny")
    assert (outcome.code, outcome.err.startswith(f"{record}: is not a job's record: ")) == (BAD_INPUT, True)


def test_verify_mentions_other_files_without_counting_them(submitted: Path) -> None:
    (submitted / "parts" / ".x.node-7.00000000.1.2.3.01234567.tmp").touch()
    outcome = run("verify", "tiny")
    assert outcome.code == 0
    assert outcome.err.startswith("note: ")
    assert "is a temporary file of process 2 on node-7; remove it if that has ended" in outcome.err


def test_verify_names_the_first_of_very_many(submitted: Path) -> None:
    for number in range(103):
        (submitted / "parts" / f".x.node-7.00000000.1.2.3.{number:08}.tmp").touch()
    lines = run("verify", "tiny").err.splitlines()
    assert len(lines) == 101
    assert lines[-1] == "and 3 more notes; mnistjobs.verify_job returns all"


def test_verify_counts_one_thing_in_the_singular(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_report(*submit_tiny(tmp_path, seed="[0]"))
    monkeypatch.chdir(tmp_path)
    assert run("verify", "tiny").out == "1 trial with weights, 19 files: 0 problems\n"


def test_verify_advises_to_train_lost_trials_again(submitted: Path) -> None:
    lose_parts(Store(submitted))
    outcome = run("verify", "tiny")
    assert outcome.code == SOME_FAILED
    assert outcome.err.count("its row is lost") == 3
    assert "`mnistjobs submit GRID` trains trials again that are missing\n" in outcome.err
