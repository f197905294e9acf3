"""The report: every file of it, from the store alone, and always the same bytes."""

import re
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support import command_line
from support.drawings import forget
from support.job_records import failure_of, trial_ids, with_end
from support.tiny_study import DIVERGING, submit_tiny

import mnistjobs
from jobs.errors import ReportError
from jobs.report.contrasts import contrast_schema
from jobs.report.effects import EFFECTS
from jobs.report.report import write_report
from jobs.store.job_models import Job, JobState
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.parts import read_parts, write_part
from jobs.store.schemas import CONFUSION, METRICS, PART, PREDICTIONS, SUMMARY, TRIALS
from jobs.store.weights import write_weights

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

TABLES = {
    "trials": TRIALS,
    "metrics": METRICS,
    "confusion": CONFUSION,
    "predictions": PREDICTIONS,
    "summary": SUMMARY,
    "contrasts": contrast_schema([]),
    "effects": EFFECTS,
}
ROWS = {"trials": 3, "metrics": 6, "confusion": 300, "predictions": 30, "summary": 1, "contrasts": 0, "effects": 0}
FIGURES = ["confusion-mlp-20-fixed.svg", "curves-mlp-20.svg", "learning-curve.svg", "w1-mlp-20-fixed.svg"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Job]:
    return submit_tiny(tmp_path_factory.mktemp("trained"), seed="[0, 1, 2]")


@pytest.fixture
def study(trained: tuple[Store, Job], tmp_path: Path) -> tuple[Store, Job]:
    """A copy of its own for each test, without the dataset's folder."""
    store, job = trained
    shutil.copytree(store.root, tmp_path / "results")
    return Store(tmp_path / "results"), job


def reasons(summary: pa.Table) -> list[str]:
    """Why n is not what was asked for: the notes without the trials that collapsed, as tiny networks like to."""
    return [note.partition("; ")[0] for note in summary["note"].to_pylist()]


DRIVERS = {"lease.json", "progress.json"}  # what the driver writes every few seconds


def files_of(store: Store, job: Job) -> dict[str, bytes]:
    write_report(store, job)
    files = {path.name: path for path in job_folder(store, job.job_id).iterdir()}
    return {name: path.read_bytes() for name, path in files.items() if name not in DRIVERS}


@pytest.fixture(scope="module")
def files(trained: tuple[Store, Job]) -> dict[str, bytes]:
    """Every file of the job's folder, with its report written once."""
    return files_of(*trained)


def test_a_report_is_every_file_that_is_promised(files: dict[str, bytes]) -> None:
    names = {f"{name}.parquet" for name in TABLES}
    names |= {f"{name}.{kind}" for name in ("summary", "contrasts") for kind in ("csv", "md")}
    names |= {"job.json", "requested.parquet", "final.json", "report.html"}
    assert files.keys() == names | set(FIGURES)


def test_tables_have_the_declared_columns(files: dict[str, bytes]) -> None:
    for name, schema in TABLES.items():
        table = pq.read_table(pa.BufferReader(files[f"{name}.parquet"]))
        assert table.schema.equals(schema)
        assert table.num_rows == ROWS[name]


def test_a_report_written_again_is_byte_equal(
    study: tuple[Store, Job], files: dict[str, bytes], drawings: Path
) -> None:
    forget(drawings)
    assert files_of(*study) == files


@pytest.mark.parametrize("sizes", [(3,), (2, 1), (1, 1, 1)])
def test_the_grouping_of_rows_into_parts_has_no_effect(
    study: tuple[Store, Job], sizes: tuple[int, ...], files: dict[str, bytes]
) -> None:
    store, job = study
    rows = read_parts(store, list(reversed(trial_ids(store, job)))).table
    shutil.rmtree(store.parts)
    for size, end in zip(sizes, np.cumsum(sizes).tolist(), strict=True):
        write_part(store, rows.slice(end - size, size))
    assert files_of(store, job) == files


def test_trials_of_a_damaged_part_are_missing(study: tuple[Store, Job]) -> None:
    store, job = study
    (part,) = store.parts.iterdir()
    rows = read_parts(store, trial_ids(store, job)).table
    part.unlink()
    for row in range(3):
        write_part(store, rows.slice(row, 1))
    damaged = min(store.parts.iterdir())
    damaged.write_bytes(damaged.read_bytes()[:-1])
    report = write_report(store, job)
    assert report.damaged == (damaged.name,)
    assert reasons(report.summary) == ["n is 2 of 3: 1 missing"]
    assert "n is 2 of 3: 1 missing" in report.page.read_text()


def test_a_report_without_trials_has_empty_tables(study: tuple[Store, Job]) -> None:
    store, job = study
    shutil.rmtree(store.parts)
    files = files_of(store, job)
    assert [name for name in files if name.endswith(".svg")] == []
    for name in ("trials", "metrics", "confusion"):
        assert pq.read_table(pa.BufferReader(files[f"{name}.parquet"])).equals(TABLES[name].empty_table())
    assert b"n is 0 of 3: 3 missing" in files["report.html"]


def test_the_page_shows_the_tracebacks_of_failed_trials(study: tuple[Store, Job]) -> None:
    store, job = study
    shutil.rmtree(store.parts)
    raised, crashed, _ = trial_ids(store, job)
    failures = [
        failure_of(raised, "ValueError: no", "Traceback <of> it"),
        failure_of(crashed, "its process died"),
    ]
    page = write_report(store, with_end(job, JobState.failed, *failures)).page.read_text()
    assert "Traceback &lt;of&gt; it" in page
    assert "its process died" in page
    assert "n is 0 of 3: 2 failed, 1 missing" in page


def test_a_diverged_study_has_curves_only(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, learning_rate=str(DIVERGING))
    files = files_of(store, job)
    assert [name for name in files if name.endswith(".svg")] == ["curves-mlp-20.svg"]
    assert pq.read_table(pa.BufferReader(files["trials.parquet"]))["status"].to_pylist() == ["diverged"] * 2
    assert b"n is 0 of 2: 2 diverged" in files["report.html"]


def test_a_report_covers_both_models(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, model="[mlp, cnn]", seed="[0]")
    files = files_of(store, job)
    expected = [*FIGURES, "confusion-cnn-20-fixed.svg", "curves-cnn-20.svg", "differences.svg"]
    assert sorted(name for name in files if name.endswith(".svg")) == sorted(expected)


def test_w1_is_of_the_first_seed_with_whole_weights(study: tuple[Store, Job]) -> None:
    store, job = study
    assert _w1_seed(store, job) == "0"
    rows = read_parts(store, trial_ids(store, job)).table
    for part in store.parts.iterdir():
        part.unlink()
    hashes = rows["weights_sha256"].to_pylist()
    other = write_weights(store, {trial_ids(store, job)[0]: {"W1": np.zeros((4, 784), np.float32)}})
    (store.weights / f"{other}.safetensors").unlink()
    index = rows.schema.get_field_index("weights_sha256")
    write_part(store, rows.set_column(index, rows.schema.field(index), pa.array([other, *hashes[1:]])))
    assert _w1_seed(store, job) == "1"
    shutil.rmtree(store.weights)
    assert _w1_seed(store, job) is None


def test_w1_is_of_the_lowest_seed(tmp_path: Path) -> None:
    assert _w1_seed(*submit_tiny(tmp_path, seed="[2, 1, 0]")) == "0"


def _w1_seed(store: Store, job: Job) -> str | None:
    page = write_report(store, job).page.read_text()
    found = re.search(r"W1: [^<]*, seed (\d)", page)
    return found[1] if found else None


def test_a_job_that_trained_nothing_has_the_same_tables(study: tuple[Store, Job]) -> None:
    store, job = study
    grid = store.root.parent / "grid.yaml"
    grid.write_text(job.grid.replace("images", job.dataset.name))
    again = mnistjobs.submit_grid(grid, store.root, in_process=True)
    assert again.stored_count == 3
    assert trial_ids(store, again) == trial_ids(store, job)
    first, second = files_of(store, job), files_of(store, again)
    for name in first.keys() - {"job.json", "final.json", "report.html"}:
        assert second[name] == first[name]


def test_figures_of_earlier_reports_go_and_other_files_stay(study: tuple[Store, Job]) -> None:
    store, job = study
    folder = job_folder(store, job.job_id)
    before = files_of(store, job)
    old = ["curves-mlp-40.svg", "confusion-cnn-20-adaptive.svg", "w1-mlp-20-fixed-hidden_units=8.svg"]
    old += ["learning-curve.pdf", "differences.png"]
    kept = ["mine.svg", "curves.svg", "curves-mlp-20.jpg", "w1-notes.svg", "learning-curve-2.svg"]
    for name in (*old, *kept):
        (folder / name).write_text("x")
    write_report(store, job)
    assert {path.name for path in folder.iterdir()} - DRIVERS == before.keys() | set(kept)


def test_a_learning_curve_without_data_is_removed(study: tuple[Store, Job]) -> None:
    store, job = study
    assert "learning-curve.svg" in files_of(store, job)
    shutil.rmtree(store.parts)
    assert not [name for name in files_of(store, job) if name.endswith(".svg")]


def test_the_dataset_is_not_needed(study: tuple[Store, Job]) -> None:
    assert not (study[0].root.parent / "images").exists()
    assert write_report(*study).summary["n"].to_pylist() == [3]


def test_failed_and_missing_trials_are_counted_apart(study: tuple[Store, Job]) -> None:
    store, job = study
    rows = read_parts(store, trial_ids(store, job)).table
    shutil.rmtree(store.parts)
    write_part(store, rows.slice(0, 1))
    stored, failed, _ = trial_ids(store, job)
    summary = write_report(store, with_end(job, JobState.failed, failure_of(failed))).summary
    assert reasons(summary) == ["n is 1 of 3: 1 failed, 1 missing"]
    # A trial that failed and that a later job trained counts as finished.
    summary = write_report(store, with_end(job, JobState.failed, failure_of(stored))).summary
    assert reasons(summary) == ["n is 1 of 3: 2 missing"]


def test_the_configurations_are_in_the_grid_s_order(tmp_path: Path) -> None:
    store, job = submit_tiny(tmp_path, subset_size="[30, 20]", seed="[1, 0]")
    summary = mnistjobs.read_summary(store.root, job.job_id)
    assert summary.schema.equals(SUMMARY)
    assert summary["subset_size"].to_pylist() == [30, 20]
    stored = read_parts(store, trial_ids(store, job)[:2]).table["test_accuracy"].to_pylist()
    assert summary["test_accuracy_mean"].to_pylist()[0] == sum(stored) / 2


def test_a_drawing_that_needs_too_much_memory_ends_in_one_error_after_the_tables(study: tuple[Store, Job]) -> None:
    """An epoch of this number makes the array of the training curves larger than any address space."""
    store, job = study
    rows = read_parts(store, trial_ids(store, job)).table.to_pylist()
    rows[0]["epochs"][-1]["epoch"] = 10**14
    shutil.rmtree(store.parts)
    (job_folder(store, job.job_id) / "trials.parquet").unlink(missing_ok=True)
    write_part(store, pa.Table.from_pylist(rows, PART))
    with pytest.raises(ReportError, match="its report needs more memory than this process may use; its trials are sto"):
        write_report(store, job)
    assert pq.read_table(job_folder(store, job.job_id) / "trials.parquet").num_rows == 3
    outcome = command_line.run("report", job.job_id, "--store", store.root)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.endswith("; `mnistjobs report JOB` writes the report, with more memory\n")


def test_tables_that_are_encoded_piece_by_piece_are_the_same(
    study: tuple[Store, Job], files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.report.report._ROWS_AT_ONCE", 10)
    pieces = files_of(*study)
    for name in ("metrics.parquet", "confusion.parquet", "predictions.parquet"):
        whole, read = (pq.read_table(pa.BufferReader(each[name])) for each in (files, pieces))
        assert read.equals(whole)
        assert pq.ParquetFile(pa.BufferReader(pieces[name])).num_row_groups == (1 if name.startswith("m") else 3)
