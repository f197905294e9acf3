"""How long trials are expected to take: as long as those in the store, scaled where none has their size."""

from pathlib import Path

import pytest
from support.tiny_study import DIVERGING, part_rows, submit_tiny, tiny_trial

import mnistjobs
from jobs.run.plan import read_stored_rows
from jobs.run.timings import Timings, learn_timings
from jobs.store.layout import Store
from jobs.store.parts import write_part
from mnist_core.backends.interface import Device
from mnist_core.cost import guess_seconds
from mnist_core.data.datasets import Dataset
from mnist_core.trial import Trial

SMALL, LARGE = tiny_trial(0), tiny_trial(0, subset_size=40)


def learnt(folder: Path, dataset: Dataset, seconds: dict[Trial, float], device: Device = "cpu") -> Timings:
    """Store trials as if each had taken so many seconds, and learn from them."""
    store, place = Store(folder / "results"), 0
    rows = part_rows(dataset, folder, *seconds).to_pylist()
    for place, taken in enumerate(seconds.values()):
        rows[place]["seconds"] = taken
    write_part(store, type(part_rows(dataset, folder)).from_pylist(rows))
    return learn_timings(read_stored_rows(store)[0], dataset.fingerprint, 6, device)


def test_before_anything_is_stored_the_arithmetic_is_counted(tmp_path: Path, tiny: Dataset) -> None:
    timings = learn_timings(read_stored_rows(Store(tmp_path))[0], tiny.fingerprint, 6, "cpu")
    assert timings.expected_seconds(SMALL) == pytest.approx(guess_seconds(SMALL, 6))
    assert timings.is_grounded(SMALL)


def test_a_trial_takes_as_long_as_the_median_of_its_size(tmp_path: Path, tiny: Dataset) -> None:
    timings = learnt(tmp_path, tiny, {tiny_trial(0): 1.0, tiny_trial(1): 2.0, tiny_trial(2, learning_rate=0.1): 9.0})
    assert timings.expected_seconds(tiny_trial(7, momentum=0.5)) == 2.0


def test_seconds_are_in_proportion_to_the_epochs(tmp_path: Path, tiny: Dataset) -> None:
    timings = learnt(tmp_path, tiny, {SMALL: 1.0})
    assert timings.expected_seconds(tiny_trial(0, epochs=20)) == 10.0


def test_another_size_is_scaled_from_the_nearest_of_the_model(tmp_path: Path, tiny: Dataset) -> None:
    timings = learnt(tmp_path, tiny, {SMALL: 1.0, LARGE: 5.0})
    larger = tiny_trial(0, subset_size=60)
    expected = 5.0 * guess_seconds(larger, 6) / guess_seconds(LARGE, 6)
    assert timings.expected_seconds(larger) == pytest.approx(expected)
    cnn = tiny_trial(0, model="cnn")
    assert timings.expected_seconds(cnn) == pytest.approx(guess_seconds(cnn, 6))


def test_other_devices_datasets_and_diverged_trials_teach_nothing(tmp_path: Path, tiny: Dataset) -> None:
    on_gpu = learnt(tmp_path, tiny, {SMALL: 1.0}, device="cuda")
    assert not on_gpu.timed
    assert not on_gpu.is_grounded(SMALL)
    rows = read_stored_rows(Store(tmp_path / "results"))[0]
    assert not learn_timings(rows, "another", 6, "cpu").timed
    diverged = learnt(tmp_path / "other", tiny, {tiny_trial(0, DIVERGING): 1.0})
    assert not diverged.timed


def test_a_plan_learns_from_its_store(tmp_path: Path) -> None:
    store, _ = submit_tiny(tmp_path)
    grid = tmp_path / "tiny.yaml"
    grid.write_text(grid.read_text().replace("[0, 1]", "[0, 1, 2]"))
    plan = mnistjobs.plan_grid(grid, store.root)
    (new,) = plan.missing
    (timed,) = plan.timings.timed.values()
    assert plan.expected_seconds(2) == plan.timings.expected_seconds(plan.trials[new]) == 2 * timed
