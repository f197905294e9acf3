"""Two jobs compared: equal to the bit, or the paired test, in one line and as an exit code."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support import command_line
from support.study_arms import arms_of

import mnistjobs
from jobs.report import compare_arms, judge_change
from jobs.store import PART, open_store, read_parts, write_part

IMAGES = 5000
SPREAD = [0.001, -0.002, 0.003, 0.0, -0.001, 0.002]
GRID = """\
name: before
dataset: {path: images}
grid: {model: [mlp], subset_size: [20, 40], adaptive_lr: [false], seeds: 4}
train: {epochs: 4, batch_size: 16, hidden_units: 4, learning_rate: 0.01}
"""


def outcome_of(changes: Sequence[float], gate: float, seeds: int = 6) -> tuple[str, float]:
    """Judge two studies with one configuration per entry, which differ by so much."""
    sizes = [100 * (1 + index) for index in range(len(changes))]
    before = arms_of({"subset_size": sizes}, seeds, lambda trial, seed: 0.9)
    after = arms_of(
        {"subset_size": sizes},
        seeds,
        lambda trial, seed: 0.9 + changes[sizes.index(trial["subset_size"])] + SPREAD[seed],
    )
    found, by_seed = compare_arms(before, after, IMAGES)
    outcome, figures = judge_change(found, by_seed, IMAGES, gate)
    return outcome, figures["mean"]


@pytest.mark.parametrize(
    ("changes", "gate", "expected"),
    [
        ([-0.02, -0.02], 0.0, "worse"),
        ([-0.02, -0.02], 0.03, "no worse"),
        ([-0.02, 0.03], 0.0, "worse"),  # one configuration is clearly worse, although the average is better
        ([0.02, 0.02], 0.0, "open"),  # without a gate, nothing can be shown not to be worse
        ([0.02, 0.02], 0.001, "no worse"),
        ([0.0], 0.001, "open"),  # the interval is wider than the gate
    ],
)
def test_the_outcome_follows_from_the_differences(changes: list[float], gate: float, expected: str) -> None:
    outcome, mean = outcome_of(changes, gate)
    assert outcome == expected
    assert mean == pytest.approx(sum(changes) / len(changes) + sum(SPREAD) / 6, abs=1e-12)


def test_three_seeds_are_too_few_to_call_a_job_worse() -> None:
    assert outcome_of([-0.02], 0.0, seeds=3)[0] == "open"


def test_where_results_end_the_seeds_the_comparison_holds_after_every_look() -> None:
    losses = [0.02, 0.03, 0.02, 0.03]
    before = arms_of({"subset_size": [100]}, 4, lambda trial, seed: 0.9)
    after = arms_of({"subset_size": [100]}, 4, lambda trial, seed: 0.9 - losses[seed])
    changes, by_seed = compare_arms(before, after, IMAGES, first_look=3)
    outcome, figures = judge_change(changes, by_seed, IMAGES, 0.0, first_look=3)
    e_value = 17**-0.5 * (26 / (1 + 75 / 51)) ** 2  # t^2 = 75 after four seeds, g = 4
    assert (outcome, figures["method"]) == ("worse", "anytime")
    assert (figures["p"], changes[0].p_holm) == pytest.approx((1 / e_value, 1 / e_value), rel=1e-9)
    assert figures["high"] - figures["mean"] == pytest.approx(7.2 * 0.0057735 / 2, rel=0.01)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("comparison")


def submit(folder: Path, text: str, store: str) -> None:
    mnistjobs.submit_grid(command_line.write_grid(folder, text), folder / store, in_process=True)


@pytest.fixture(scope="module")
def stores(folder: Path) -> Path:
    """Two stores with the same study; the second has one more seed."""
    submit(folder, GRID, "first")
    submit(folder, GRID.replace("before", "after").replace("seeds: 4", "seeds: 5"), "second")
    return folder


def test_the_same_study_of_two_stores_is_equal_in_every_number(stores: Path) -> None:
    (after,) = (stores / "second" / "jobs").iterdir()
    (before,) = (stores / "first" / "jobs").iterdir()
    outcome = command_line.run("compare", before, after, "--store", stores / "second")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        "equal: 8 of 8 trials are equal in every number",
        "Only the second job has 2 trials more",
    ]


def altered(stores: Path, name: str, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy the first store and change its stored rows; return the folder of the job."""
    shutil.copytree(stores / "first", stores / name)
    store = open_store(stores / name)
    (job,) = store.jobs.iterdir()
    rows = read_parts(store, mnistjobs.read_trials(store.root, "before")["trial_id"].to_pylist()).table.to_pylist()
    for part in store.parts.iterdir():
        part.unlink()
    for row in rows:
        change(row)
    write_part(store, pa.Table.from_pylist(rows, PART))
    return job


def change_a_loss(row: dict[str, Any]) -> None:
    row["test_loss"] += 1e-9


def change_a_prediction(row: dict[str, Any]) -> None:
    row["predicted"] = bytes([9 - row["predicted"][0]]) + row["predicted"][1:]


def change_an_epoch(row: dict[str, Any]) -> None:
    row["epochs"][-1]["train_loss"] += 1e-9


@pytest.mark.parametrize("change", [change_a_loss, change_a_prediction, change_an_epoch])
def test_one_number_that_differs_is_found(stores: Path, change: Callable[[dict[str, Any]], None]) -> None:
    def change_one(row: dict[str, Any]) -> None:
        if row["settings"]["seed"] == 2 and row["settings"]["subset_size"] == 20:
            change(row)

    job = altered(stores, change.__name__, change_one)
    found = mnistjobs.compare_jobs(stores / "first", "before", str(job))
    assert (found.trials, found.equal, found.outcome) == (8, 7, "open")
    assert (found.mean, found.n) == (0.0, 4)


def test_a_worse_job_is_named_with_its_configurations(stores: Path) -> None:
    def lose(row: dict[str, Any]) -> None:
        row["test_accuracy"] -= 0.2 + 0.01 * (row["settings"]["seed"] % 2)

    job = altered(stores, "worse", lose)
    outcome = command_line.run("compare", "before", job, "--store", stores / "first")
    first, *others = outcome.out.splitlines()
    assert outcome.code == 3
    assert first.startswith("worse: 0 of 8 trials are equal in every number; test accuracy -20.50 pp [-21.42, -19.58]")
    assert [line.partition(" pp")[0] for line in others] == [
        f"  model mlp, subset_size {size}, adaptive_lr False: -20.50" for size in (20, 40)
    ]
    accepted = command_line.run("compare", "before", job, "--store", stores / "first", "--gate", "25pp", "--json")
    assert (accepted.code, json.loads(accepted.out)["outcome"]) == (0, "no worse")


def test_times_are_no_part_of_the_result(stores: Path) -> None:
    found = mnistjobs.compare_jobs(stores / "second", "after", "after")
    assert (found.outcome, found.equal, found.trials) == ("equal", 10, 10)


def test_jobs_without_a_common_trial_are_refused_by_name(stores: Path) -> None:
    submit(stores, GRID.replace("before", "other").replace("epochs: 4", "epochs: 5"), "second")
    outcome = command_line.run("compare", "after", "other", "--store", stores / "second")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == "after and other: have no stored trial in common; epochs 4 against 5\n"
