"""Checkpoints: a trial that goes on from one ends with the bytes of a trial that was never stopped."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from jobs.store.checkpoints import read_checkpoint, remove_checkpoints, write_checkpoint
from jobs.store.layout import Store
from mnist_core.backends.interface import PackData
from mnist_core.backends.stacked import StackedPack
from mnist_core.data.datasets import Dataset
from mnist_core.seeds import subset_index
from mnist_core.training import EpochRecord, Snapshot, Training, TrialResult, train
from mnist_core.trial import Trial

MADE_BY = {"numpy_version": "2.4.6", "device": "cpu"}
ID = "0" * 32


def small_trial(**settings: object) -> Trial:
    defaults = {"model": "mlp", "subset_size": 40, "adaptive_lr": True, "seed": 0, "epochs": 5, "batch_size": 16}
    return Trial(**{"learning_rate": 0.01, **defaults, **settings})  # type: ignore[arg-type]


def of_both_kinds(model: str) -> list[Trial]:
    return [
        small_trial(model=model),
        small_trial(model=model, seed=1, momentum=0.5),
        small_trial(model=model, learning_rate=1e38),
    ]


def stop_after(epoch: int, trials: Sequence[Trial], dataset: Dataset) -> list[Snapshot]:
    training = train(trials, dataset)
    done = 0
    for record in training:
        done += isinstance(record, EpochRecord) and record.trial == trials[0]
        if done == epoch and isinstance(record, EpochRecord) and record.trial == trials[1]:
            return training.snapshots()
    raise AssertionError("the training ended before")


def results(training: Training) -> dict[Trial, TrialResult]:
    return {record.trial: record for record in training if isinstance(record, TrialResult)}


def assert_same(one: TrialResult, other: TrialResult) -> None:
    assert one.status == other.status
    without_clock = [[replace(record, seconds=0.0) for record in result.epochs] for result in (one, other)]
    assert str(without_clock[0]) == str(without_clock[1])  # of a diverged trial, NaN is not equal to NaN
    assert (one.test_loss, one.test_accuracy) == (other.test_loss, other.test_accuracy)
    assert one.weights.keys() == other.weights.keys()
    for name, weight in one.weights.items():
        assert_array_equal(weight, other.weights[name])


@pytest.mark.parametrize("model", ["mlp", "cnn"])
@pytest.mark.parametrize("epoch", [2, 5])
def test_a_pack_that_goes_on_from_its_checkpoints_ends_as_if_it_had_never_stopped(
    epoch: int, model: str, tiny: Dataset, tmp_path: Path
) -> None:
    trials, store = of_both_kinds(model), Store(tmp_path)
    whole = results(train(trials, tiny))
    for place, snapshot in enumerate(stop_after(epoch, trials, tiny)):
        write_checkpoint(store, f"{place:032}", snapshot, MADE_BY)
    read = [read_checkpoint(store, f"{place:032}", trial, MADE_BY) for place, trial in enumerate(trials)]
    snapshots = [snapshot for snapshot in read if snapshot]
    assert [len(snapshot.epochs) for snapshot in snapshots] == [epoch, epoch, 1]
    resumed = train(trials, tiny, snapshots=snapshots)
    ended = results(resumed)
    assert ended.keys() == whole.keys()
    for trial in trials:
        assert_same(ended[trial], whole[trial])


def test_the_epochs_of_a_snapshot_are_not_yielded_again(tiny: Dataset) -> None:
    trials = of_both_kinds("mlp")[:2]
    records = list(train(trials, tiny, snapshots=stop_after(3, trials, tiny)))
    assert [record.epoch for record in records if isinstance(record, EpochRecord)] == [4, 4, 5, 5]


@pytest.mark.medium
def test_a_stacked_pack_goes_on_from_a_snapshot_too(tiny: Dataset) -> None:
    trials = [small_trial(model="cnn"), small_trial(model="cnn", seed=1, momentum=0.5)]
    index = {trial.seed: subset_index(len(tiny.train.labels), trial.subset_size, trial.seed) for trial in trials}

    def make() -> StackedPack:
        return StackedPack(trials, PackData(tiny, index), torch.device("cpu"))

    whole = results(Training(trials, make))
    first = Training(trials, make)
    for _ in range(4):
        next(first)
    for trial, result in results(Training(trials, make, first.snapshots())).items():
        assert_same(result, whole[trial])


def snapshot_of(trial: Trial) -> Snapshot:
    record = EpochRecord(trial, 1, 0.1, 0.3, 0.5, float("nan"), 1.0, 1e-3)
    weights = {"W1": np.array([[1.5, -0.0]], np.float32), "b1": np.array([np.nextafter(1, 2)])}
    return Snapshot(trial, (record,), weights, {"W1": np.zeros((1, 2), np.float32)})


def test_a_checkpoint_is_read_back_to_the_bit(tmp_path: Path) -> None:
    trial, store = small_trial(), Store(tmp_path)
    written = snapshot_of(trial)
    write_checkpoint(store, ID, written, MADE_BY)
    read = read_checkpoint(store, ID, trial, MADE_BY)
    assert read is not None
    assert str(read.epochs) == str(written.epochs)
    for name, weight in written.weights.items():
        assert read.weights[name].tobytes() == weight.tobytes()
    assert read.velocities.keys() == {"W1"}


def test_a_checkpoint_of_another_trial_version_or_device_is_not_believed(tmp_path: Path) -> None:
    trial, store = small_trial(), Store(tmp_path)
    write_checkpoint(store, ID, snapshot_of(trial), MADE_BY)
    (store.checkpoints / f"{ID}.checkpoint").rename(store.checkpoints / f"{'1' * 32}.checkpoint")
    assert read_checkpoint(store, "1" * 32, trial, MADE_BY) is None
    write_checkpoint(store, ID, snapshot_of(trial), MADE_BY)
    assert read_checkpoint(store, ID, trial, {**MADE_BY, "device": "cuda"}) is None
    assert read_checkpoint(store, ID, trial, {**MADE_BY, "numpy_version": "2.4.7"}) is None
    assert read_checkpoint(store, ID, trial, MADE_BY) is not None


def test_no_damaged_checkpoint_is_believed(tmp_path: Path) -> None:
    trial, store = small_trial(), Store(tmp_path)
    write_checkpoint(store, ID, snapshot_of(trial), MADE_BY)
    path = store.checkpoints / f"{ID}.checkpoint"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert read_checkpoint(store, ID, trial, MADE_BY) is None
    path.write_bytes(content[:-1])
    assert read_checkpoint(store, ID, trial, MADE_BY) is None


def test_a_checkpoint_can_be_removed_and_is_missing_without_harm(tmp_path: Path) -> None:
    trial, store = small_trial(), Store(tmp_path)
    assert read_checkpoint(store, ID, trial, MADE_BY) is None
    remove_checkpoints(store, [ID])
    write_checkpoint(store, ID, snapshot_of(trial), MADE_BY)
    remove_checkpoints(store, [ID])
    assert list(store.checkpoints.iterdir()) == []
