"""What the store holds of a job against what its grid asked for."""

from pathlib import Path
from typing import Any

import pytest
from support.tiny_study import DIVERGING, submit_tiny

from jobs.errors import StoreError
from jobs.report.results import SUMMARY_COLUMNS, summarize_job
from jobs.report.summary import SUMMARY
from jobs.store.job_record import Job
from jobs.store.layout import Store
from jobs.store.parts import read_parts


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Job]:
    return submit_tiny(tmp_path_factory.mktemp("study"), subset_size="[20, 30]")


def rows_of(store: Store, job: Job) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = summarize_job(job, read_parts(store, job["trial_ids"])).to_pylist()
    return rows


def test_the_summary_has_one_row_per_configuration_in_the_grid_s_order(study: tuple[Store, Job]) -> None:
    store, job = study
    summary = summarize_job(job, read_parts(store, job["trial_ids"]))
    assert summary.schema.equals(SUMMARY)
    assert summary["subset_size"].to_pylist() == [20, 30]
    assert summary["n"].to_pylist() == [2, 2]
    assert summary["note"].to_pylist() == ["", ""]


def test_a_summary_needs_neither_epochs_nor_confusion_matrices(study: tuple[Store, Job]) -> None:
    store, job = study
    some = read_parts(store, job["trial_ids"], SUMMARY_COLUMNS)
    assert not {"epochs", "confusion"} & set(some.table.column_names)
    assert summarize_job(job, some).equals(summarize_job(job, read_parts(store, job["trial_ids"])))


def test_the_mean_is_that_of_the_stored_accuracies(study: tuple[Store, Job]) -> None:
    store, job = study
    stored = read_parts(store, job["trial_ids"][:2]).table["test_accuracy"].to_pylist()
    assert rows_of(store, job)[0]["test_accuracy_mean"] == sum(stored) / 2


def test_the_dataset_need_not_be_there_any_more(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path)
    for path in (tmp_path / "images").iterdir():
        path.unlink()
    assert rows_of(store, job)[0]["n"] == 2


def test_trials_that_failed_and_trials_that_are_not_stored_are_told_apart(study: tuple[Store, Job]) -> None:
    store, job = study
    lost, failed = job["trial_ids"][0], job["trial_ids"][2]
    stored = read_parts(store, [each for each in job["trial_ids"] if each not in (lost, failed)])
    failure = {"trial_id": failed, "kind": "raised", "message": "out of memory", "traceback": ""}
    first, second = summarize_job({**job, "failures": [failure]}, stored).to_pylist()
    assert (first["n"], first["missing"], first["failed"]) == (1, 1, 0)
    assert (second["n"], second["missing"], second["failed"]) == (1, 0, 1)
    assert second["note"] == "n is 1 of 2: 1 failed"


def test_a_trial_that_failed_and_was_trained_by_a_later_job_counts_as_finished(study: tuple[Store, Job]) -> None:
    store, job = study
    failure = {"trial_id": job["trial_ids"][0], "kind": "crashed", "message": "", "traceback": ""}
    (first, _) = rows_of(store, {**job, "failures": [failure]})
    assert (first["n"], first["failed"], first["note"]) == (2, 0, "")


def test_a_diverged_trial_is_counted_and_left_out_of_the_mean(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, learning_rate=str(DIVERGING))
    (row,) = rows_of(store, job)
    assert (row["n"], row["diverged"], row["test_accuracy_mean"]) == (0, 2, None)


@pytest.mark.parametrize(
    ("grid", "words"),
    [
        ("seed: [0]", "its grid gives 2 trials where it had 4"),
        ("seed: [1, 0]", "its grid gives other settings for trial [0-9a-f]{32} than it was trained with"),
        ("seed: []", r"its grid cannot be read \(grid:3:"),
    ],
)
def test_a_grid_that_no_longer_gives_the_job_s_trials_is_refused(
    study: tuple[Store, Job], grid: str, words: str
) -> None:
    store, job = study
    other = {**job, "grid": job["grid"].replace("seed: [0, 1]", grid)}
    with pytest.raises(StoreError, match=rf"{job['job_id']}: {words}.*; read it with the version of mnistjobs that"):
        rows_of(store, other)


def test_a_job_whose_dataset_is_described_otherwise_is_refused(study: tuple[Store, Job]) -> None:
    store, job = study
    with pytest.raises(StoreError, match="its grid cannot be read"):
        rows_of(store, {**job, "dataset": {"name": "mnist"}})
