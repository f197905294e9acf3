"""The Python API: the verbs of the command line, with tables for answers."""

import inspect
import math
from pathlib import Path

import pytest
from api_page import entries_of, sections_of
from support.command_line import write_grid
from support.idx_files import write_idx_folder
from support.job_records import trial_ids

import mnistjobs
from cluster import Done, Started
from jobs.errors import InputError
from jobs.run.driver import JobEvent
from jobs.store.job_models import JobState
from jobs.store.layout import Store
from jobs.store.schemas import CONFUSION, METRICS, PREDICTIONS, SUMMARY, TRIALS

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path)


def test_every_verb_of_the_api_answers(grid: Path, tmp_path: Path) -> None:
    store = tmp_path / "results"
    assert len(mnistjobs.plan_grid(str(grid), str(store)).missing) == 3
    job = mnistjobs.submit_grid(str(grid), str(store), in_process=True)
    assert (job.state, mnistjobs.list_jobs(store)) == (JobState.finished, [job])
    assert mnistjobs.read_trials(store, "tiny")["trial_id"].to_pylist() == trial_ids(Store(store), job)
    assert mnistjobs.read_trials(store, job.job_id).schema == TRIALS
    assert mnistjobs.read_metrics(store, "tiny").schema == METRICS
    assert mnistjobs.read_confusion(store, "tiny").schema == CONFUSION
    assert mnistjobs.read_predictions(store, "tiny").schema == PREDICTIONS
    assert mnistjobs.read_summary(store, "tiny").schema == SUMMARY
    assert mnistjobs.report_job(store, "tiny").page.is_file()


API = {name: getattr(mnistjobs, name) for name in mnistjobs.__all__}
ERRORS = {"InputError", "StoreError", "DataError", "ClusterError"}
ON_ONE_JOB = ("read_", "report_", "export_", "judge_", "rank_", "compare_")
RAISED = {  # what each function raises where it is tested elsewhere; no function of the API raises nothing
    "plan_grid": {"InputError", "StoreError", "DataError"},
    "submit_grid": ERRORS | {"KernelsError"},
    **dict.fromkeys(["submit", "resume_job"], ERRORS),
    "get_job": {"InputError", "StoreError"},
    "verify_job": {"InputError", "StoreError", "DataError"},
    "list_jobs": {"StoreError"},
    "compact_store": {"StoreError"},
    "query_job": {"InputError", "ExtraMissingError", "StoreError"},
    **{name: {"InputError", "StoreError"} for name in API if name.startswith(ON_ONE_JOB)},
}


@pytest.mark.parametrize("name", API)
def test_a_docstring_documents_every_parameter_and_error(name: str) -> None:
    sections = sections_of(inspect.getdoc(API[name]) or "")
    assert sections[""].endswith(".")
    assert list(entries_of(sections["Args"])) == list(inspect.signature(API[name]).parameters)
    assert sections["Returns"].strip()
    assert entries_of(sections["Raises"]).keys() == RAISED[name]
    assert all(text.endswith(".") for key in ("Args", "Raises") for text in entries_of(sections[key]).values())


SINGLE = (mnistjobs.report_job, mnistjobs.verify_job, mnistjobs.judge_job, mnistjobs.rank_job)


def test_a_job_that_does_not_exist_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no job 'nope'"):
        mnistjobs.export_weights(tmp_path / "results", "nope", tmp_path)
    for read in (*(API[name] for name in API if name.startswith("read_")), *SINGLE):
        with pytest.raises(InputError, match="'nope'"):
            read(tmp_path / "results", "nope")


def test_a_dataset_that_changes_after_the_grid_was_read_is_refused(grid: Path, tmp_path: Path) -> None:
    plan = mnistjobs.plan_grid(grid, tmp_path / "results")
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20, seed=1)
    with pytest.raises(InputError, match="images: has changed since the grid was read; submit the grid again"):
        mnistjobs.submit_grid(plan, tmp_path / "results", in_process=True)
    assert not (tmp_path / "results").exists()


def test_observers_see_every_trial_end(grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.run.task.PROGRESS_INTERVAL_S", math.inf)
    events: list[JobEvent] = []
    mnistjobs.submit_grid(grid, tmp_path / "results", in_process=True, observe=events.append)
    assert [type(event) for event in events] == [Started, Done] * (len(events) // 2)
    ended = [event for event in events if isinstance(event, Done)]
    assert sorted(trial.seed for event in ended for trial in event.item.trials.values()) == [0, 1, 2]
