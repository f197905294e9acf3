"""Every trial of a plan is stored, new or stale, and why."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.command_line import GRID, run, said, write_grid
from support.idx_files import write_idx_folder
from support.part_tables import part_table
from support.tiny_study import tiny_trial

import mnistjobs
from jobs.run.plan import Plan, explain_stale, read_stored_rows
from jobs.store.layout import Store
from jobs.store.parts import read_parts, write_part
from mnist_core import trial as trial_module
from mnist_core.data.datasets import Dataset, DatasetInfo

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

CHANGED = "dataset {} has changed"


@pytest.fixture
def grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid of three seeds, all of them stored."""
    monkeypatch.chdir(tmp_path)
    path = write_grid(tmp_path)
    mnistjobs.submit_grid(path, "results", in_process=True)
    return path


def states(plan: Plan) -> list[tuple[int, str, str]]:
    return [(trial.seed, *plan.explain(identity)) for identity, trial in plan.trials.items()]


def seeds_trained_by(grid: Path) -> set[int]:
    """Submit, and return the seeds of the trials that have finished since."""
    before = datetime.now(UTC)
    job = mnistjobs.submit_grid(grid, "results", in_process=True)
    rows = mnistjobs.read_trials("results", job.job_id).to_pylist()
    return {row["seed"] for row in rows if row["finished_at"] >= before}


def test_more_seeds_train_exactly_the_new_ones(grid: Path) -> None:
    grid.write_text(GRID.replace("seed: [0, 1, 2]", "seeds: 5"))
    plan = mnistjobs.plan_grid(grid, "results")
    stored = [(seed, "stored", "") for seed in range(3)]
    assert states(plan) == [*stored, (3, "new", ""), (4, "new", "")]
    assert seeds_trained_by(grid) == {3, 4}
    assert seeds_trained_by(grid) == set()


def test_other_settings_are_new_and_not_stale(grid: Path) -> None:
    grid.write_text(GRID.replace("epochs: 2", "epochs: 3"))
    assert states(mnistjobs.plan_grid(grid, "results")) == [(seed, "new", "") for seed in range(3)]


def test_an_edited_grid_keeps_the_trials_that_it_still_asks_for(grid: Path) -> None:
    grid.write_text(GRID.replace("[0, 1, 2]", "[2, 7]").replace("[20]", "[20, 30]"))
    found = [(trial.subset_size, trial.seed) for trial in _of_state(mnistjobs.plan_grid(grid, "results"), "stored")]
    assert found == [(20, 2)]
    assert seeds_trained_by(grid) == {2, 7}


def _of_state(plan: Plan, state: str) -> list[trial_module.Trial]:
    return [trial for identity, trial in plan.trials.items() if plan.explain(identity)[0] == state]


def test_a_dataset_that_has_changed_makes_its_trials_stale(grid: Path, tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20, seed=1)
    plan = mnistjobs.plan_grid(grid, "results")
    reason = CHANGED.format(plan.grid.dataset_info.name)
    assert states(plan) == [(seed, "stale", reason) for seed in range(3)]
    assert f"3 to train, 3 of them stale ({reason}: 3)" in said("plan", grid)
    assert seeds_trained_by(grid) == {0, 1, 2}
    assert {state for _, state, _ in states(mnistjobs.plan_grid(grid, "results"))} == {"stored"}


def test_trials_that_another_dataset_was_given_are_told_from_it(grid: Path, tmp_path: Path) -> None:
    name = mnistjobs.plan_grid(grid, "results").grid.dataset_info.name
    write_idx_folder(tmp_path / "others", train_count=72, test_count=20, seed=1)
    grid.write_text(GRID.replace("images", "others"))
    assert states(mnistjobs.plan_grid(grid, "results")) == [(seed, "stale", f"dataset was {name}") for seed in range(3)]


def test_trials_of_an_earlier_numerics_are_stale_by_the_version_that_wrote_them(
    grid: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial_module, "NUMERICS_VERSION", 99)
    version = mnistjobs.read_trials("results", "tiny")["mnistjobs_version"][0]
    reason = f"numerics changed since mnistjobs {version}"
    assert states(mnistjobs.plan_grid(grid, "results")) == [(seed, "stale", reason) for seed in range(3)]


def test_of_several_reasons_the_likeliest_is_given(tmp_path: Path, tiny: Dataset) -> None:
    store, info = Store(tmp_path), DatasetInfo("here", 60, 6, 10, "now")
    rows = [("elsewhere", "other", "1"), ("here", "before", "2"), ("here", "now", "3")]
    trial, row = tiny_trial(), part_table([0]).to_pylist()[0]
    row["settings"] = vars(trial)
    reasons = []
    for name, fingerprint, version in rows:
        changed = {"dataset": name, "dataset_fingerprint": fingerprint, "mnistjobs_version": version}
        write_part(store, part_table([]).from_pylist([{**row, **changed}], part_table([]).schema))
        reasons.append(explain_stale({"id": trial}, read_stored_rows(store)[0], info)["id"])
    assert reasons == ["dataset was elsewhere", "dataset here has changed", "numerics changed since mnistjobs 3"]


def test_a_hostile_name_in_a_row_commands_no_terminal(tmp_path: Path) -> None:
    store, trial = Store(tmp_path), tiny_trial()
    row = {**part_table([0]).to_pylist()[0], "settings": vars(trial), "dataset": "\x1b[31m"}
    write_part(store, part_table([]).from_pylist([row], part_table([]).schema))
    info = DatasetInfo("here", 60, 6, 10, "now")
    assert explain_stale({"id": trial}, read_stored_rows(store)[0], info) == {"id": r"dataset was \x1b[31m"}


def test_parts_that_cannot_be_used_are_named(grid: Path) -> None:
    (part,) = Path("results/parts").iterdir()
    part.write_bytes(b"")
    assert read_stored_rows(Store(Path("results").absolute()))[1] == (part.name,)


# Commands


def test_plan_counts_explain_stale_in_a_column_of_their_own(grid: Path, tmp_path: Path) -> None:
    assert "stale" not in said("plan", grid)
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20, seed=1)
    header, _, row = said("plan", grid).splitlines()[1:4]
    assert header.split()[-3:] == ["new", "stale", "stored"]
    assert row.split() == ["MLP", "20", "no", "0", "3", "0"]


def test_plan_lists_every_trial_with_its_state_and_why(grid: Path) -> None:
    grid.write_text(GRID.replace("[0, 1, 2]", "[0, 5]"))
    new = mnistjobs.plan_grid(grid, "results").missing[0]
    Path("results/checkpoints").mkdir(exist_ok=True)
    Path(f"results/checkpoints/{new}.checkpoint").touch()
    *_, first, second, count = said("plan", grid, "--trials").splitlines()
    assert first.split() == ["MLP", "20", "no", "0", "stored"]
    assert second.split() == ["MLP", "20", "no", "5", "new", *["resumes", "from", "its", "checkpoint"]]
    assert count == "tiny: 2 trials, 1 found in results, 1 to train, 1 of them from a checkpoint"


def test_plan_as_json_has_every_trial_and_its_settings(grid: Path, tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20, seed=1)
    found = json.loads(said("plan", grid, "--format", "json"))
    plan = mnistjobs.plan_grid(grid, "results")
    assert found["name"] == "tiny"
    assert [trial["trial_id"] for trial in found["trials"]] == list(plan.trials)
    assert {trial["state"] for trial in found["trials"]} == {"stale"}
    assert [trial["seed"] for trial in found["trials"]] == [0, 1, 2]


def test_submit_says_why_it_trains_anew(grid: Path, tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "images", train_count=72, test_count=20, seed=1)
    outcome = run("submit", grid, "--in-process")
    assert "3 to train, 3 of them stale (dataset " in outcome.out
    assert read_parts(Store(Path("results")), mnistjobs.plan_grid(grid, "results").trials.keys()).table.num_rows == 3
