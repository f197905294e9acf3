"""The training loop: its records, its shuffles, and the independence of the trials of a pack."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mnist_core.backends.interface import Evaluation, Images
from mnist_core.data.datasets import Dataset
from mnist_core.models.mlp import MLP, cross_entropy
from mnist_core.seeds import generator, subset_index
from mnist_core.training import EpochRecord, Snapshot, TrialResult, train
from mnist_core.trial import Trial


def small_trial(**settings: object) -> Trial:
    defaults = {"model": "mlp", "subset_size": 40, "adaptive_lr": False, "seed": 0, "epochs": 3, "batch_size": 16}
    return Trial(**{**defaults, **settings})  # type: ignore[arg-type]


def results(trials: list[Trial], dataset: Dataset) -> list[TrialResult]:
    found = [record for record in train(trials, dataset) if isinstance(record, TrialResult)]
    return sorted(found, key=lambda result: trials.index(result.trial))


def numbers(record: EpochRecord) -> tuple[float, ...]:
    """Return the values of a record that do not depend on time."""
    return (record.learning_rate, record.train_loss, record.train_accuracy, record.validation_loss, record.epoch)


def plain_evaluation(mlp: MLP, data: Images) -> Evaluation:
    logits = mlp.logits(data.images)
    return Evaluation.from_predictions(data.labels, cross_entropy(logits, data.labels), logits.argmax(axis=1))


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_epochs_are_recorded_and_the_test_set_used_once(model: str, tiny: Dataset) -> None:
    records = list(train([small_trial(model=model)], tiny))
    assert [type(record) for record in records] == [EpochRecord] * 3 + [TrialResult]
    result = records[-1]
    assert isinstance(result, TrialResult)
    assert result.confusion is not None
    assert result.predicted is not None
    assert [record.epoch for record in result.epochs] == [1, 2, 3]
    counts = np.zeros((10, 10), np.int64)
    np.add.at(counts, (tiny.test.labels, result.predicted), 1)
    assert_array_equal(result.confusion, counts)
    assert result.test_accuracy == np.trace(result.confusion) / len(tiny.test.labels)


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_both_schedules_share_the_first_epoch_bitwise(model: str, digits: Dataset) -> None:
    trials = [small_trial(model=model, subset_size=300, adaptive_lr=adaptive) for adaptive in (False, True)]
    fixed, adaptive = (results([trial], digits)[0].epochs for trial in trials)
    assert numbers(fixed[0]) == numbers(adaptive[0])
    assert numbers(fixed[1]) != numbers(adaptive[1])


@pytest.mark.medium
@pytest.mark.parametrize(("model", "epochs", "batch_size"), [("mlp", 30, 32), ("cnn", 12, 16)])
def test_both_models_learn_the_digits(model: str, epochs: int, batch_size: int, digits: Dataset) -> None:
    trial = small_trial(model=model, subset_size=1200, epochs=epochs, batch_size=batch_size, learning_rate=0.002)
    (result,) = results([trial], digits)
    assert result.test_accuracy is not None
    assert result.test_accuracy > 0.93  # three seeds gave 0.96 to 0.99
    assert result.epochs[-1].train_loss < result.epochs[0].train_loss


def test_the_adaptive_rate_decays_after_every_epoch(tiny: Dataset) -> None:
    (result,) = results([small_trial(adaptive_lr=True, learning_rate=0.5, lr_decay=0.5)], tiny)
    assert [record.learning_rate for record in result.epochs] == [0.5, 0.25, 0.125]


def test_a_seeds_smaller_subset_is_in_its_larger_one() -> None:
    small, large = subset_index(50_000, 2_000, seed=3), subset_index(50_000, 50_000, seed=3)
    assert_array_equal(small, large[:2_000])
    assert_array_equal(np.sort(large), np.arange(50_000))
    assert not np.array_equal(small, subset_index(50_000, 2_000, seed=4))


def test_the_streams_of_a_seed_differ() -> None:
    draws = [generator(0, purpose).random() for purpose in ("subset", "weights", "shuffle")]
    assert len(set(draws)) == 3


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_a_trial_does_not_depend_on_its_pack(model: str, tiny: Dataset) -> None:
    trials = [
        small_trial(model=model, seed=seed, learning_rate=rate) for seed, rate in [(0, 0.01), (1, 1e30), (2, 0.1)]
    ]
    together = results(trials, tiny)
    for trial, beside in zip(trials, together, strict=True):
        (alone,) = results([trial], tiny)
        assert alone.status == beside.status
        for name, weight in alone.weights.items():
            assert_array_equal(weight, beside.weights[name])


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_an_infinite_loss_ends_a_trial_as_diverged(model: str, tiny: Dataset) -> None:
    (result,) = results([small_trial(model=model, learning_rate=1e38)], tiny)
    assert result.status == "diverged"
    assert len(result.epochs) == 1
    assert not math.isfinite(result.epochs[-1].train_loss)
    assert (result.test_loss, result.test_accuracy, result.confusion, result.predicted) == (None, None, None, None)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
@pytest.mark.parametrize("name", ["train", "validation"])
def test_either_loss_alone_makes_a_trial_diverge(name: str, loss: float) -> None:
    trial = small_trial()
    fine = EpochRecord(trial, 1, 0.1, 0.1, 0.5, 0.1, 0.5, 0.0)
    broken = replace(fine, epoch=2, **{f"{name}_loss": loss})  # type: ignore[arg-type]
    assert not Snapshot(trial, (fine,), {}, {}).has_diverged()
    assert Snapshot(trial, (fine, broken), {}, {}).has_diverged()


def test_a_trials_seconds_include_its_epochs(tiny: Dataset) -> None:
    (result,) = results([small_trial()], tiny)
    assert result.seconds >= sum(record.seconds for record in result.epochs) > 0


def test_validation_results_are_of_the_validation_set(tiny: Dataset) -> None:
    (result,) = results([small_trial()], tiny)
    expected = plain_evaluation(MLP(result.weights), Images.from_split(tiny.validation))
    found = result.epochs[-1]
    assert found.validation_loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.validation_accuracy == expected.accuracy
    assert result.test_loss != pytest.approx(expected.loss, rel=1e-3)


def test_the_last_short_batch_is_used(tiny: Dataset) -> None:
    trials = [small_trial(batch_size=size, epochs=1, learning_rate=0.1) for size in (40, 39)]
    whole, short = (results([trial], tiny)[0].weights["W1"] for trial in trials)
    index, order = subset_index(60, 40, 0), generator(0, "shuffle").permutation(40)
    data = Images.from_split(tiny.train, index)
    mlp = MLP.from_trial(small_trial(), generator(0, "weights"))
    for batch in (order[:39], order[39:]):
        mlp.step(data.images[batch], data.labels[batch], 0.1)
    assert_allclose(mlp.weights()["W1"], short, rtol=0, atol=5e-6)
    assert not np.allclose(whole, short, rtol=0, atol=1e-3)


def test_mixed_shapes_and_large_subsets_are_refused(tiny: Dataset) -> None:
    with pytest.raises(ValueError, match="2 shapes"):
        next(train([small_trial(), small_trial(epochs=4)], tiny))
    with pytest.raises(ValueError, match="subset_size 61: allowed 1 to 60"):
        next(train([small_trial(subset_size=61)], tiny))


def test_evaluation_counts_actual_by_predicted() -> None:
    mlp = MLP({"W1": np.zeros((1, 784)), "b1": np.zeros(1), "W2": np.zeros((10, 1)), "b2": np.eye(10)[4]})
    data = Images(np.zeros((3, 784), np.float32), np.array([4, 4, 7]))
    found = plain_evaluation(mlp, data)
    assert found.accuracy == 2 / 3
    assert (found.confusion[4, 4], found.confusion[7, 4], found.confusion.sum()) == (2, 1, 3)
    assert found.predicted.tolist() == [4, 4, 4]
    e = math.e
    assert found.loss == pytest.approx((2 * math.log((e + 9) / e) + math.log(e + 9)) / 3)


def test_images_are_scaled_to_float32_fractions(tiny: Dataset) -> None:
    data = Images.from_split(tiny.train)
    assert data.images.dtype == np.float32
    assert_array_equal(data.images, tiny.train.images.astype(np.float32) / np.float32(255))
