"""A job within a budget: what it starts, what it leaves, what its tables contain, and how it goes on."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import typer
from support import command_line
from support.idx_files import write_idx_folder
from support.tiny_study import tiny_trial

import mnistjobs
from cluster import Done, Failed, NodeJoined, Progress, Started, TaskFailure
from jobs.cli.arguments import parse_duration
from jobs.cli.budget import stop_line
from jobs.errors import InputError
from jobs.run import TaskResult
from jobs.run.budget import Budget, whole_seeds
from jobs.run.events import Cancel, CancelAsked, Command, Finish, SchedulerEvent, Start, Tick
from jobs.run.pace import Pace
from jobs.run.packs import Pack, make_packs
from jobs.run.scheduler import Rules, State, begin, step, wake_up_s
from jobs.store import Job, Stop
from mnist_core.trial import Trial

LONG, SHORT = 60, 20  # images, each of which counts for a second
FINISHED = TaskResult("part", "here", ("finished",))


def seconds(trial: Trial) -> float:
    return float(trial.subset_size)


def packs(seeds: int) -> list[Pack]:
    """A long and a short trial of each seed, each a pack."""
    trials = {f"{name}{seed}": tiny_trial(seed, subset_size=size) for seed in range(seeds) for name, size in SIZES}
    return make_packs(trials, seconds, 1, max_seeds=1)


SIZES = (("long", LONG), ("short", SHORT))


def started(state: State, within_s: float, slots: int = 1) -> tuple[State, list[str]]:
    """Let packs take what they are expected to, until the job ends; return the trials in the order of their start."""
    names: list[str] = []
    now_s, ends = 0.0, dict[Pack, float]()
    state, commands = step(state, NodeJoined("n", slots), now_s)
    while True:
        for command in commands:
            if isinstance(command, Start):
                names += command.pack.trials
                ends[command.pack] = now_s + seconds(command.pack.first_trial)
            elif isinstance(command, Cancel):
                del ends[command.pack]
        if state.outcome:
            return state, names
        now_s = min([*ends.values(), within_s])
        done = [pack for pack, end_s in ends.items() if end_s <= now_s]
        commands = ()
        for pack in done:
            del ends[pack]
            state, more = step(state, Done(pack, FINISHED), now_s)
            commands += more
        if not done:
            state, commands = step(state, Tick(), now_s)


def play(state: State, *steps: tuple[float, SchedulerEvent]) -> tuple[State, tuple[Command, ...]]:
    """Feed events at their times; return the last state, and the commands that the last event led to."""
    commands: tuple[Command, ...] = ()
    for now_s, event in steps:
        state, commands = step(state, event, now_s)
    return state, commands


def budget(within_s: float, *, is_grounded: bool = True) -> Budget:
    return Budget(within_s, Pace(seconds), is_grounded)


def rules() -> Rules:
    return Rules(0, lambda pack: 600.0)


@pytest.mark.parametrize(
    ("within_s", "slots", "expected", "outcome"),
    [
        (1000, 1, ["long0", "short0", "long1", "short1", "long2", "short2"], "finished"),
        (170, 1, ["long0", "short0", "long1", "short1"], "stopped"),
        (105, 1, ["long0", "short0", "short1"], "stopped"),  # the long one of seed 1 would not end in time
        (100, 2, ["long0", "short0", "long1", "short1"], "stopped"),
        (85, 2, ["long0", "short0", "short1"], "stopped"),  # nor is seed 2 begun, of which the short one would
        (65, 1, ["short0"], "stopped"),  # 66 s with the margin
        (10, 1, [], "stopped"),
    ],
)
def test_a_pack_that_cannot_end_in_time_is_not_started(
    within_s: float, slots: int, expected: Sequence[str], outcome: str
) -> None:
    state, names = started(begin(packs(3), rules(), budget(within_s)), within_s, slots)
    assert (names, state.outcome) == (expected, outcome)


def test_at_the_deadline_everything_that_runs_is_cancelled() -> None:
    (pack, other, *_) = packs(1)
    state, _ = step(begin([pack, other], rules(), budget(100.0)), NodeJoined("n", 1), 0.0)
    assert wake_up_s(state) == 100.0
    state, commands = step(state, Tick(), 99.9)
    assert commands == ()
    state, commands = step(state, Tick(), 100.0)
    assert commands == (Cancel(pack), Finish("stopped"))


def test_packs_that_ran_at_the_deadline_show_how_long_the_rest_takes() -> None:
    (pack, *_) = packs(1)
    state, _ = step(begin([pack], rules(), budget(100.0)), NodeJoined("n", 1), 0.0)
    state, _ = play(state, (0.0, Started(pack, "n")), (90.0, Progress(pack, 1)), (100.0, Tick()))  # of 2 epochs
    assert state.outcome == "stopped"
    assert state.budget
    assert state.budget.pace.pack_seconds(pack) == pytest.approx(180.0)


def test_the_last_pack_may_end_at_the_deadline() -> None:
    (pack,) = packs(1)[:1]
    state, _ = step(begin([pack], rules(), budget(70.0)), NodeJoined("n", 1), 0.0)
    state, commands = step(state, Done(pack, FINISHED), 70.0)
    assert commands == (Finish("finished"),)


def test_the_clock_of_the_budget_goes_on_while_the_driver_is_busy() -> None:
    (pack, other, *_) = packs(1)
    state, _ = step(begin([pack, other], rules(), budget(100.0)), NodeJoined("n", 1), 0.0)
    state, commands = step(state, Done(pack, FINISHED), 1.0, clock_s=99.0)
    assert commands == (Finish("stopped"),)


def test_expected_seconds_are_corrected_by_measured_ones() -> None:
    """Everything takes half of what was expected: the second seed fits, as it would not have."""
    work = packs(2)
    state, _ = step(begin(work, rules(), budget(100.0)), NodeJoined("n", 1), 0.0)
    now_s = 0.0
    for pack in work:
        state, _ = step(state, Started(pack, "n"), now_s)
        now_s += seconds(pack.first_trial) / 2
        state, _ = step(state, Done(pack, FINISHED), now_s)
    assert state.outcome == "finished"


@pytest.mark.parametrize(("half_s", "is_in_time"), [(20.0, True), (55.0, False)])
def test_progress_of_a_pack_that_runs_corrects_them_too(half_s: float, is_in_time: bool) -> None:
    """One pack is expected to take 60 s; from its pace follows what the other takes, which is expected to take 20 s."""
    (pack, other, *_) = packs(1)
    state, _ = step(begin([pack, other], rules(), budget(90.0)), NodeJoined("n", 1), 0.0)
    state, _ = step(state, Started(pack, "n"), 0.0)
    state, _ = step(state, Progress(pack, 1), half_s)  # of 2 epochs
    _, commands = step(state, NodeJoined("m", 1), half_s)
    assert commands == ((Start(other),) if is_in_time else ())


def test_where_nothing_is_known_the_shortest_trial_is_tried() -> None:
    """A guess may be wrong by a factor of ten: without any measurement one trial is started all the same."""
    state = begin(packs(1), rules(), budget(10.0, is_grounded=False))
    state, commands = step(state, NodeJoined("n", 2), 0.0)
    assert [[*each.pack.trials] for each in commands if isinstance(each, Start)] == [["short0"]]
    (pack,) = state.running
    state, commands = play(state, (0.0, Started(pack, "n")), (0.1, Progress(pack, 1)), (0.2, Tick()))
    assert [[*each.pack.trials] for each in commands if isinstance(each, Start)] == [["long0"]]


def test_a_retry_that_comes_too_late_is_left_out() -> None:
    (pack, *_) = packs(1)
    state = begin([pack], Rules(3, lambda pack: 600.0), budget(100.0))
    state, _ = step(state, NodeJoined("n", 1), 0.0)
    state, commands = step(state, Failed(pack, TaskFailure("crashed", "", "")), 50.0)
    assert commands[-1] == Finish("stopped")


def test_a_budget_does_not_keep_a_job_from_being_cancelled() -> None:
    (pack, *_) = packs(1)
    state, _ = step(begin([pack], rules(), budget(100.0)), NodeJoined("n", 1), 0.0)
    assert step(state, CancelAsked(), 1.0)[1] == (Cancel(pack), Finish("cancelled"))


def test_a_seed_is_whole_when_each_of_its_trials_has_ended() -> None:
    seeds = {"a": 7, "b": 7, "c": 3, "d": 3, "e": 5}
    assert whole_seeds(seeds, []) == ()
    assert whole_seeds(seeds, ["a", "c", "d", "e"]) == (3, 5)
    assert whole_seeds(seeds, "abcde") == (7, 3, 5)


def submit(folder: Path, store: str, seeds: str, rates: str = "[0.01, 0.02]", within_s: float | None = None) -> Job:
    """Submit a study of tiny trials on 60 images."""
    grid = folder / "grid.yaml"
    grid.write_text(
        "name: tiny\ndataset: {path: images}\n"
        f"grid: {{model: [mlp], subset_size: [20], adaptive_lr: [false], learning_rate: {rates}, seed: {seeds}}}\n"
        "train: {epochs: 2, batch_size: 16, hidden_units: 4}\n"
    )
    return mnistjobs.submit_grid(grid, folder / store, in_process=True, within_s=within_s)


def table(store: Path, job: Job, name: str) -> pa.Table:
    read = pq.read_table(store / "jobs" / job.job_id / f"{name}.parquet")
    return read.drop_columns({"seconds", "epoch_seconds", "host", "finished_at"} & set(read.column_names))


@pytest.mark.medium
@pytest.mark.usefixtures("figures_drawn_once")
def test_a_stopped_job_has_whole_seeds_only_and_the_next_one_completes_the_study(tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20)
    store = tmp_path / "store"
    submit(tmp_path, "store", "[0, 2]")
    submit(tmp_path, "store", "[1]", rates="[0.01]")  # seed 1 is not whole
    stopped = submit(tmp_path, "store", "[0, 1, 2, 3]", within_s=1e-6)
    assert (stopped.state, stopped.stop and stopped.stop.seeds) == ("stopped", (0, 2))
    assert stopped.reason.startswith("its budget was used up with 2 of 4 seeds; about 0 s more of training")
    mnistjobs.report_job(store, stopped.job_id)
    before = {name: table(store, stopped, name) for name in ("trials", "summary", "metrics", "predictions")}
    assert before["trials"]["seed"].to_pylist() == [0, 2, 0, 2]
    assert (
        before["summary"].select(["seeds_requested", "n", "missing"]).to_pylist()
        == [{"seeds_requested": 4, "n": 2, "missing": 2}] * 2
    )
    assert mnistjobs.read_summary(store, stopped.job_id).equals(before["summary"])
    assert mnistjobs.verify_job(store, stopped.job_id).problems == ()

    completed = submit(tmp_path, "store", "[0, 1, 2, 3]")
    alone = submit(tmp_path, "alone", "[0, 1, 2, 3]")
    for job, folder in ((completed, "store"), (alone, "alone"), (stopped, "store")):
        mnistjobs.report_job(tmp_path / folder, job.job_id)
    for name, earlier in before.items():
        assert table(store, completed, name).equals(table(tmp_path / "alone", alone, name)), name
        assert table(store, stopped, name).equals(earlier), name  # what was trained since is not in it


def test_a_budget_of_nothing_is_refused(tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20)
    with pytest.raises(InputError, match="within_s 0: allowed: seconds above 0"):
        submit(tmp_path, "store", "[0]", within_s=0)


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("10m", 600), ("1h30m", 5400), ("2h", 7200)])
def test_durations_are_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "0s", "-5m", "5 m", "1.5h", "30m1h", "1001h", "soon"])
def test_a_text_that_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="allowed: a duration up to 1000h, such as 90s, 10m or 1h30m"):
        parse_duration(text)


STOP = Stop(
    reason="budget", seeds=(0, 1, 2), seed_count=5, left_count=9, seconds_to_next_seed=200.0, seconds_left=400.0
)


@pytest.mark.parametrize(
    ("seeds", "line"),
    [
        (
            (0, 1, 2),
            "3 of 5 seeds in 10 min 00 s; about 3 min 20 s more for the next seed, about 6 min 40 s more for all 5",
        ),
        ((0, 1, 2, 3), "4 of 5 seeds in 10 min 00 s; about 6 min 40 s more for all 5"),
        (
            (),
            "none of 5 seeds in 10 min 00 s; about 3 min 20 s more for the next seed, about 6 min 40 s more for all 5",
        ),
    ],
)
def test_a_stopped_job_names_the_time_that_the_rest_takes(seeds: tuple[int, ...], line: str) -> None:
    stop = STOP.model_copy(update={"seeds": seeds})
    assert stop_line(stop, 600.0) == f"{line}; submit the same grid again to go on"


@pytest.mark.usefixtures("figures_drawn_once")
def test_a_budget_that_is_too_small_for_a_seed_ends_with_a_sentence_and_exit_code_1(tmp_path: Path) -> None:
    grid = command_line.write_grid(tmp_path, command_line.GRID.replace("epochs: 2", "epochs: 10000"))
    outcome = command_line.run("submit", grid, "--store", tmp_path / "store", "--in-process", "--within", "1s")
    assert outcome.code == 1, outcome
    assert "within 1 s: about 0 of 3 seeds, as one more takes about" in outcome.out
    assert "none of 3 seeds in 1 s; about" in outcome.out
    assert command_line.run("submit", grid, "--within", "soon").code == 2
