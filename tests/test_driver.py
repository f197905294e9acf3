"""Submitting a grid from end to end: what is trained, what is found, and what survives."""

import os
import re
import signal
from collections import Counter
from collections.abc import Generator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from support import command_line
from support.failing_tasks import (
    FEWER,
    GRID,
    MLP_ONLY,
    ONE_CONFIGURATION,
    PackTask,
    submit_with,
    unwritable_weights,
    write_grid,
)
from support.wall_clock import without_wall_clock
from support.warm_processes import WarmProcess

import mnistjobs
from cluster import InProcessSession, Session
from jobs.errors import InputError
from jobs.grid.grid import load_grid
from jobs.run import Pack, TaskContext, TaskResult, run_pack
from jobs.store.job_models import JobState
from jobs.store.job_record import find_job
from jobs.store.layout import Store
from mnist_core.data.datasets import Dataset, load_dataset
from mnist_core.devices import has_cuda

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    return write_grid(tmp_path)


@pytest.fixture
def dataset(grid: Path) -> Dataset:
    return load_dataset(grid.parent / "images")


def tables(store: Path) -> dict[str, pa.Table]:
    """Read the flat tables of the store's only job."""
    (folder,) = (store / "jobs").iterdir()
    return tables_of(folder)


def tables_of(folder: Path) -> dict[str, pa.Table]:
    """Read a job's flat tables without the columns of the wall clock."""
    read = {name: pq.read_table(folder / f"{name}.parquet") for name in ("trials", "metrics", "confusion", "summary")}
    return {name: without_wall_clock(table) for name, table in read.items()}


@pytest.mark.ray
def test_in_process_one_worker_and_two_workers_give_equal_tables(
    grid: Path, tmp_path: Path, ray_of_two: Session
) -> None:
    grid.write_text(FEWER.replace("adaptive_lr: [true]", "adaptive_lr: [false, true]"))
    command_line.said("submit", grid, "--store", tmp_path / "here", "--in-process")
    of_one = WarmProcess("submit", grid, "--store", tmp_path / "one", "--workers", 1)  # a Ray of its own
    of_two = submit_with(lambda task: task, grid, tmp_path / "two", ray_of_two)
    mnistjobs.report_job(tmp_path / "two", of_two.job_id)
    assert command_line.finish(of_one).code == 0
    here, one, two = (tables(tmp_path / name) for name in ("here", "one", "two"))
    assert here["trials"].num_rows == 8
    assert here["metrics"].num_rows == 16
    assert here == one == two


@pytest.mark.medium
@pytest.mark.parametrize(
    "places",
    [
        [["--in-process"], ["--in-process"]],
        pytest.param([["--workers=1"], ["--workers=1"]], marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
    ids=["in process", "on Ray"],
)
def test_two_drivers_on_one_store_at_once_end_well_and_every_trial_is_once_in_every_table(
    places: list[list[str]], grid: Path, tmp_path: Path
) -> None:
    grid.write_text(ONE_CONFIGURATION.replace("epochs: 2", "epochs: 50").replace("seed: [0, 1]", "seeds: 16"))
    command_line.said("submit", grid, "--store", tmp_path / "alone", "--in-process")
    starting = [WarmProcess("submit", grid, "--store", tmp_path / "both", *each) for each in places]
    assert [command_line.finish(process).code for process in starting] == [0, 0]
    of_one = tables(tmp_path / "alone")
    of_two = [tables_of(folder) for folder in (tmp_path / "both" / "jobs").iterdir()]
    assert of_two == [of_one, of_one]
    assert len(set(of_one["trials"]["trial_id"].to_pylist())) == of_one["trials"].num_rows == 16


@pytest.mark.medium
def test_two_drivers_whose_grids_overlap_end_well(grid: Path, tmp_path: Path) -> None:
    store = tmp_path / "both"
    other = grid.with_name("other.yaml")
    grid.write_text(ONE_CONFIGURATION)
    other.write_text(ONE_CONFIGURATION.replace("name: tiny", "name: other").replace("seed: [0, 1]", "seed: [1, 2]"))
    code = "import mnistjobs, sys; mnistjobs.submit_grid(*sys.argv[1:], in_process=True)"
    starting = [WarmProcess(each, store, code=code) for each in (grid, other)]
    assert [command_line.finish(process).code for process in starting] == [0, 0]
    for name, seeds in (("tiny", {0, 1}), ("other", {1, 2})):
        trials = mnistjobs.read_trials(store, name)
        assert len(set(trials["trial_id"].to_pylist())) == trials.num_rows == 2
        assert set(trials["seed"].to_pylist()) == seeds
    assert [job.state for job in mnistjobs.list_jobs(store)] == ["finished", "finished"]


def test_a_second_submit_trains_nothing_and_counts_stored_trials(grid: Path, tmp_path: Path) -> None:
    grid.write_text(MLP_ONLY)
    store = tmp_path / "store"
    assert "4 trials, 0 found" in command_line.said("submit", grid, "--store", store, "--in-process")
    before = {path: path.stat().st_mtime_ns for path in (store / "parts").iterdir()}
    assert "4 trials, 4 found" in command_line.said("submit", grid, "--store", store)
    assert {path: path.stat().st_mtime_ns for path in (store / "parts").iterdir()} == before


def test_a_grid_that_overlaps_an_earlier_one_trains_only_missing_trials(grid: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    mnistjobs.submit_grid(grid, store, in_process=True)
    grid.write_text(GRID.replace("seed: [0, 1]", "seeds: 3").replace("name: tiny", "name: larger"))
    plan = mnistjobs.plan_grid(grid, store)
    assert (len(plan.trials), len(plan.stored)) == (24, 16)
    assert {plan.trials[identity].seed for identity in plan.missing} == {2}
    job = mnistjobs.submit_grid(plan, in_process=True)
    assert mnistjobs.read_trials(store, job.job_id).num_rows == 24
    assert mnistjobs.read_trials(store, "tiny").num_rows == 16


def test_trials_start_seed_by_seed_and_the_longest_first(grid: Path, tmp_path: Path) -> None:
    plan = mnistjobs.plan_grid(grid, tmp_path / "store")
    order = [plan.trials[identity] for identity in plan.missing]
    assert [trial.seed for trial in order] == [0] * 8 + [1] * 8
    assert [(trial.model, trial.subset_size) for trial in order[:8:2]] == [
        ("cnn", 60),
        ("cnn", 20),
        ("mlp", 60),
        ("mlp", 20),
    ]


def test_the_job_records_the_grid_as_submitted_and_where_it_ran(grid: Path, tmp_path: Path) -> None:
    job = mnistjobs.submit_grid(grid, tmp_path / "store", in_process=True)
    assert find_job(Store(tmp_path / "store"), "tiny") == job
    assert (job.grid, job.state, job.trial_count, job.stored_count) == (GRID, JobState.finished, 16, 0)
    assert job.record.options == {
        "address": None,
        "workers": None,
        "in_process": True,
        "grid_folder": str(grid.parent),
    }
    assert {
        "mnistjobs_version",
        "numpy_version",
        "torch_version",
        "ray_version",
        "host",
    } <= job.record.provenance.keys()


def test_a_raising_and_a_crashing_trial_take_no_other_along(grid: Path, tmp_path: Path, any_session: Session) -> None:
    in_this_process = isinstance(any_session, InProcessSession)

    def fail_seed_one(task: PackTask) -> PackTask:
        def failing(pack: Pack, context: TaskContext) -> Generator[int, None, TaskResult]:
            for trial in pack.trials.values():
                if trial.seed == 1 and trial.model == "mlp":
                    raise ArithmeticError("no such number")
                if trial.seed == 1 and trial.subset_size == 60 and not in_this_process:
                    os.kill(os.getpid(), signal.SIGKILL)
            return (yield from task(pack, context))

        return failing

    store = tmp_path / "store"
    job = submit_with(fail_seed_one, grid, store, any_session)
    failed = [(failure.kind, failure.message.split(":")[0]) for failure in job.failures]
    crashed = [] if in_this_process else [("crashed", "WorkerCrashedError")] * 2
    assert job.state == "failed"
    assert sorted(failed) == sorted(crashed + [("raised", "ArithmeticError")] * 4)
    statuses = Counter(mnistjobs.read_trials(store, "tiny")["status"].to_pylist())
    assert statuses == {"finished": 16 - len(failed), "failed": len(failed)}
    summary = mnistjobs.read_summary(store, "tiny").to_pylist()
    assert sum(row["failed"] for row in summary) == len(failed)
    assert "n is 1 of 2: 1 failed" in {row["note"].partition("; ")[0] for row in summary}


def test_the_trials_of_a_pack_that_fails_are_tried_again_one_by_one(grid: Path, tmp_path: Path) -> None:
    started: list[tuple[int, int]] = []  # trials of each pack, and its attempt

    def fail_for_one(task: PackTask) -> PackTask:
        def failing(pack: Pack, context: TaskContext) -> Generator[int, None, TaskResult]:
            started.append((len(pack.trials), pack.attempt))
            if any(trial.seed == 1 and trial.subset_size == 20 and trial.adaptive_lr for trial in pack.trials.values()):
                raise ArithmeticError("no such number")
            return (yield from task(pack, context))

        return failing

    store = tmp_path / "store"
    job = submit_with(fail_for_one, grid, store, InProcessSession())
    assert len(job.failures) == 2  # an MLP and a CNN
    trials = mnistjobs.read_trials(store, "tiny")
    attempts = trials.filter(pc.field("status") == "finished")["attempt"].to_pylist()
    assert len(attempts) == 14
    assert set(attempts) == {1, 2}
    assert max(size for size, attempt in started if attempt == 1) > 1
    assert {size for size, attempt in started if attempt == 2} == {1}


def test_a_precision_that_the_device_lacks_is_refused_before_anything_is_written(grid: Path, tmp_path: Path) -> None:
    grid.write_text(GRID.replace("epochs: 2", "epochs: 2, precision: bfloat16"))
    with pytest.raises(
        InputError, match=r"precision bfloat16: the trials would run on the CPU; allowed there: float32"
    ):
        mnistjobs.submit_grid(grid, tmp_path / "store", in_process=True)
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(has_cuda(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("place", [["--in-process"], []], ids=["in process", "on Ray"])
def test_a_gpu_that_is_not_there_is_refused_before_anything_is_written(
    grid: Path, tmp_path: Path, place: list[str]
) -> None:
    grid.write_text(GRID + "resources: {device: cuda}\n")
    outcome = command_line.run("submit", grid, "--store", tmp_path / "store", *place)
    assert outcome.code == 2
    assert re.fullmatch("resources.device cuda: (torch|no node) .*; allowed: auto or cpu\n", outcome.err)
    assert not (tmp_path / "store").exists()


@pytest.mark.medium
def test_a_part_that_another_host_wrote_elsewhere_is_a_failure_that_names_the_store(grid: Path, tmp_path: Path) -> None:
    def elsewhere(task: PackTask) -> PackTask:
        def run_there(pack: Pack, context: TaskContext) -> Generator[int, None, TaskResult]:
            return (yield from task(pack, TaskContext(context.dataset, tmp_path / "elsewhere")))

        return run_there

    job = submit_with(elsewhere, grid, tmp_path / "store", InProcessSession())
    assert len(job.failures) == 16
    assert "a store that all nodes of the cluster share" in job.failures[0].message


def test_a_worker_whose_numerics_differ_is_refused(dataset: Dataset, grid: Path, tmp_path: Path) -> None:
    trial = load_grid(grid).trials()[0]
    context = TaskContext(dataset, tmp_path, numerics_version=0)
    with pytest.raises(RuntimeError, match="install one version everywhere"):
        next(run_pack(Pack({"id": trial}), context))


@pytest.mark.usefixtures("no_wait_before_a_retry")
def test_an_exit_code_of_one_and_the_message_tell_of_failed_trials(grid: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    grid.write_text(MLP_ONLY + "retries: 0\n")
    with unwritable_weights(*mnistjobs.plan_grid(grid, store).missing[:3]):
        outcome = command_line.run("submit", grid, "--store", store, "--in-process")
    assert outcome.code == 1
    assert "3 of 4 trials failed; the report has the tracebacks" in outcome.err
    assert "Traceback" not in outcome.err
    assert sorted(mnistjobs.read_trials(store, "tiny")["status"].to_pylist()) == ["failed"] * 3 + ["finished"]
