"""Studies asked for an answer, from the grid to the tables: what is trained, what is said, what is left out."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support import command_line
from support.idx_files import write_idx_folder
from support.wall_clock import without_wall_clock

import mnistjobs
from cluster import Done, Session
from jobs.api import job_status
from jobs.api.handle import status_html
from jobs.cli.status_view import status_lines
from jobs.report import ARM_COLUMNS, replay
from jobs.run import JobEvent
from jobs.store import Decision, Job, find_job, open_store, read_parts, read_requested

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
# The adaptive rate is far too small after two epochs, and four times the images help much.
GRID = """\
name: answer
dataset: digits
grid: {{model: [mlp], subset_size: [100, 400], adaptive_lr: [false, true], {seeds}}}
train: {{epochs: 6, batch_size: 16, learning_rate: 0.003, lr_decay: 0.5}}
compare: {{margin: 1pp}}
"""
UNTIL = "seeds: {until: decided, at_most: 12}"
# What the schedules differ by is clear after 5 seeds with 400 images, with 100 images after 6.
SEEDS = [6, 6, 5, 5]
TABLES = ("trials", "metrics", "predictions", "summary", "contrasts", "effects")


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grid.yaml"
    path.write_text(GRID.format(seeds=UNTIL))
    return path


def submit(grid: Path, store: Path, observe: Callable[[JobEvent], None] = lambda event: None, **options: float) -> Job:
    return mnistjobs.submit_grid(grid, store, in_process=True, observe=observe, **options)  # type: ignore[arg-type]


def tables(store: Path, job: Job) -> dict[str, dict[str, list[object]]]:
    """Write a job's report; read its tables without the columns of the wall clock."""
    mnistjobs.report_job(store, job.job_id)
    folder = store / "jobs" / job.job_id
    return {name: without_wall_clock(pq.read_table(folder / f"{name}.parquet")).to_pydict() for name in TABLES}


def decided(job: Job) -> Decision:
    assert job.decision
    return job.decision


def replayed(folder: Path, job: Job) -> Decision | None:
    """Take a job's decision again, from nothing but its store."""
    store = open_store(folder)
    found = find_job(store, job.job_id)
    requested = read_requested(store, found)
    return replay(found, requested, read_parts(store, requested["trial_id"].to_pylist(), ARM_COLUMNS).table)


@pytest.mark.ray
def test_a_study_on_ray_ends_when_it_is_decided_and_so_does_one_that_was_interrupted(
    grid: Path, tmp_path: Path, ray_of_two: Session
) -> None:
    on_ray = mnistjobs.submit_grid(grid, tmp_path / "ray")
    assert (on_ray.state, on_ray.stop and on_ray.stop.reason) == ("stopped", "decided")
    decision = decided(on_ray)
    assert (list(decision.seeds.values()), decision.open, decision.answered) == (SEEDS, (), 4)
    assert on_ray.reason == "all 4 contrasts are decided after 5 to 6 seeds"
    assert replayed(tmp_path / "ray", on_ray) == decision
    expected = tables(tmp_path / "ray", on_ray)
    assert len(expected["trials"]["trial_id"]) == sum(SEEDS)
    assert expected["summary"]["n"] == expected["summary"]["seeds_requested"] == SEEDS
    assert set(expected["summary"]["interval"]) == set(expected["contrasts"]["method"]) == {"anytime"}
    assert set(expected["contrasts"]["word"]) <= {"clear", "negligible"}
    assert mnistjobs.verify_job(tmp_path / "ray", on_ray.job_id).problems == ()

    def interrupt(event: JobEvent) -> None:
        done.extend([event] if isinstance(event, Done) else [])
        if len(done) == 4:
            raise KeyboardInterrupt

    done: list[JobEvent] = []
    with pytest.raises(KeyboardInterrupt):
        submit(grid, tmp_path / "here", interrupt)
    interrupted = find_job(open_store(tmp_path / "here"))
    assert interrupted.state == "interrupted"
    assert max(decided(interrupted).seeds.values()) < 5
    resumed = mnistjobs.resume_job(tmp_path / "here", interrupted.job_id).job
    assert decided(resumed) == decision
    assert tables(tmp_path / "here", resumed) == expected


@pytest.mark.medium
def test_what_other_jobs_have_trained_counts_as_far_as_the_answer_needs_it(grid: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text(GRID.format(seeds="seed: [0, 1, 2, 3, 5, 8]"))
    submit(given, tmp_path / "store")
    plan = mnistjobs.plan_grid(grid, tmp_path / "store")
    assert (len(plan.trials), len(plan.stored), len(plan.certain), len(plan.missing)) == (48, 24, 4, 24)
    job = submit(grid, tmp_path / "store")
    assert list(decided(job).seeds.values()) == SEEDS
    seeds = tables(tmp_path / "store", job)["trials"]["seed"]
    assert seeds == [seed for n in SEEDS for seed in range(n)]  # those of seed 8 are in the store only
    again = mnistjobs.plan_grid(grid, tmp_path / "store")
    assert (again.missing, len(again.unneeded)) == ((), 48 - len(again.stored))
    assert decided(submit(grid, tmp_path / "store")) == decided(job)


@pytest.mark.medium
def test_a_budget_leaves_whole_seeds_in_their_order(grid: Path, tmp_path: Path) -> None:
    given = tmp_path / "given.yaml"
    given.write_text(GRID.format(seeds="seed: [0, 1, 3]"))
    submit(given, tmp_path / "store")
    stopped = submit(grid, tmp_path / "store", within_s=1e-6)
    assert (stopped.state, stopped.stop and stopped.stop.reason) == ("stopped", "budget")
    assert stopped.stop
    assert stopped.stop.seeds == (0, 1)  # seed 3 is whole, too, but seed 2 is not
    assert stopped.reason.startswith("its budget was used up with 2 of at most 12 seeds; about ")
    assert stopped.reason.endswith("; 4 of 4 contrasts are not decided after 2 seeds")
    assert tables(tmp_path / "store", stopped)["trials"]["seed"] == [0, 1] * 4
    status = job_status(tmp_path / "store", stopped.job_id)
    assert (status.counts["waiting"], status.may_end_earlier) == (36, True)
    assert "at most 48 trials: 12 finished, 36 waiting" in "\n".join(status_lines(status))
    assert "at most 48: 12 finished, 36 waiting" in status_html(status)
    assert "at most 48" in command_line.said("list", "--store", tmp_path / "store")


@pytest.mark.medium
def test_the_commands_say_what_was_decided(grid: Path, tmp_path: Path) -> None:
    store = ("--store", tmp_path / "store")
    assert "answer: at most 48 trials, 0 found in" in command_line.said("plan", grid, *store)
    assert "12 to 48 to train" in command_line.said("plan", grid, *store)
    ended = command_line.run("submit", grid, *store, "--in-process")
    assert ended.code == 0, ended
    sentence = "ll 4 contrasts are decided after 5 to 6 seeds"
    assert f"A{sentence}; 26 trials of at most 48 were not needed" in ended.out
    assert "[2 of at most 48] " in ended.err
    assert "after 6 seeds: " in ended.err
    assert "to train; that is enough" in ended.err
    assert "The results decided how many seeds were trained" in ended.out
    planned = command_line.said("plan", grid, *store)
    assert "0 to train" in planned
    assert f"by what is stored, a{sentence}" in planned
    for command in (("status",), ("summary",)):
        assert f"a{sentence}" in command_line.said(*command, *store), command
    judged = command_line.run("verdict", "answer", "--contrast", "adaptive_lr", *store)
    assert judged.code == 3
    assert judged.out.rstrip().endswith(f"; a{sentence}")
    status = json.loads(command_line.said("status", "--json", *store))
    assert (status["state"], status["trial_count"], status["counts"]["waiting"]) == ("stopped", 22, 0)
    assert not status["may_end_earlier"]
    assert "22 of at most 48" in command_line.said("list", *store)
    (listed,) = json.loads(command_line.said("list", "--json", *store))
    assert (listed["trial_count"], listed["needed_count"], listed["may_end_earlier"]) == (48, 22, False)
    assert "intervals hold however often one looks" in command_line.said("best", "answer", *store)
    compared = command_line.run("compare", "answer", "answer", *store, "--json")
    assert (compared.code, json.loads(compared.out)["method"]) == (0, "anytime")
    (row, *_) = json.loads(command_line.said("summary", "--format", "json", *store))
    assert row["new_images_low"] < row["test_accuracy_low"] < row["test_accuracy_high"] < row["new_images_high"]
    (page,) = (tmp_path / "store" / "jobs").glob("*/report.html")
    assert f"a{sentence}" in page.read_text()
    assert "so intervals and p hold for all looks together" in page.read_text()


def test_a_configuration_that_always_fails_leaves_its_contrasts_open(tmp_path: Path) -> None:
    """Its trials end, without an accuracy: they hold up nothing, and nothing is concluded from them."""
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20)
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "name: diverging\ndataset: {path: images}\n"
        "grid: {model: [mlp], subset_size: [20], adaptive_lr: [false], learning_rate: [0.01, 1.0e+38],\n"
        "       seeds: {until: decided, at_most: 5}}\n"
        "train: {epochs: 1, batch_size: 16, hidden_units: 4}\n"
    )
    job = submit(grid, tmp_path / "store")
    assert job.state == "finished"
    assert (decided(job).whole, decided(job).answered, len(decided(job).open)) == (5, 0, 2)
    assert job.reason == "the contrast is not decided after 5 seeds, as many as the grid allows"


def test_a_job_that_was_interrupted_at_once_has_a_row_for_each_configuration(grid: Path, tmp_path: Path) -> None:
    def interrupt(event: JobEvent) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        submit(grid, tmp_path / "store", interrupt)
    job = find_job(open_store(tmp_path / "store"))
    assert job.reason == "no seed has ended in every configuration"
    assert mnistjobs.read_summary(tmp_path / "store")["n"].to_pylist() == [0] * 4
