"""The NumPy backend against the plain MLP of `mnist_core.models.mlp`, and the reproducibility of its bits."""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray

from mnist_core.backends.interface import Evaluation, Images, PackData, batches, distinct_seeds
from mnist_core.backends.mlp_numpy import MLPPack
from mnist_core.backends.nonzero_prefix import BLOCK, Batches, SortedImages, pixel_order
from mnist_core.data.datasets import Dataset, Split
from mnist_core.models.mlp import MLP, cross_entropy
from mnist_core.seeds import generator, subset_index
from mnist_core.trial import Trial

# For weights up to about 1, after four epochs in float32. The cases below differ by at most 7e-8.
PLAIN_TOLERANCE = 1e-6
TRIAL = Trial(model="mlp", subset_size=300, adaptive_lr=False, seed=3, batch_size=32, learning_rate=0.005)
TRAIN_AND_HASH = """
import sys
sys.path.insert(0, {tests!r})
from test_mlp_numpy import digest_of_a_trial
from mnist_core.data.datasets import load_dataset
from threadpoolctl import threadpool_limits
with threadpool_limits(1):
    digest = digest_of_a_trial(load_dataset({folder!r}))
sys.stdout.write(digest)
"""


def pack_of(trials: Sequence[Trial], dataset: Dataset) -> MLPPack:
    size = len(dataset.train.labels)
    index = {seed: subset_index(size, trials[0].subset_size, seed) for seed in distinct_seeds(trials)}
    return MLPPack(trials, PackData(dataset, index))


def train_epochs(pack: MLPPack, epochs: int, start: int = 0) -> None:
    """Train a pack as the training loop does, starting with epoch `start`."""
    shuffles = {seed: generator(seed, "shuffle") for seed in distinct_seeds(pack.trials)}
    for epoch in range(start + epochs):
        orders = {seed: shuffle.permutation(pack.trials[0].subset_size) for seed, shuffle in shuffles.items()}
        if epoch >= start:
            with np.errstate(over="ignore", invalid="ignore"):
                pack.train_epoch(orders, [trial.learning_rate / (1 + epoch) for trial in pack.trials])


def plain_mlp(trial: Trial, dataset: Dataset, epochs: int) -> MLP:
    """Train one trial with `MLP.step`, on the same batches."""
    mlp, shuffle = MLP.from_trial(trial, generator(trial.seed, "weights")), generator(trial.seed, "shuffle")
    index = subset_index(len(dataset.train.labels), trial.subset_size, trial.seed)
    subset = Images.from_split(dataset.train, index)
    for epoch in range(epochs):
        for batch in batches(shuffle.permutation(trial.subset_size), trial.batch_size):
            with np.errstate(over="ignore", invalid="ignore"):
                mlp.step(subset.images[batch], subset.labels[batch], trial.learning_rate / (1 + epoch))
    return mlp


def plain_evaluation(mlp: MLP, split: Split) -> Evaluation:
    data = Images.from_split(split)
    logits = mlp.logits(data.images)
    return Evaluation.from_predictions(data.labels, cross_entropy(logits, data.labels), logits.argmax(axis=1))


def bits(weights: dict[str, NDArray[np.float32]]) -> dict[str, bytes]:
    return {name: weight.tobytes() for name, weight in weights.items()}


def digest_of_a_trial(dataset: Dataset) -> str:
    pack = pack_of([replace(TRIAL, subset_size=40, momentum=0.5)], dataset)
    train_epochs(pack, 3)
    figures = [*bits(pack.weights(0)).values(), np.float64(pack.evaluate("validation")[0].loss).tobytes()]
    return hashlib.sha256(b"".join(figures)).hexdigest()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"momentum": 0.9, "learning_rate": 0.001},
        {"hidden_units": 1},
        {"hidden_units": 300, "weight_init_std": 0.05},
        {"batch_size": 1, "subset_size": 70},
        {"batch_size": 256},
        {"batch_size": 1_000, "learning_rate": 0.001},
        {"subset_size": 1},
        {"subset_size": 1_297, "batch_size": 256, "momentum": 0.5, "learning_rate": 0.001},
    ],
    ids=str,
)
def test_epochs_give_the_weights_of_the_plain_mlp(settings: dict[str, float], digits: Dataset) -> None:
    trial = replace(TRIAL, **settings)  # type: ignore[arg-type]
    pack = pack_of([trial], digits)
    train_epochs(pack, 4)
    plain = plain_mlp(trial, digits, 4)
    for name, weight in pack.weights(0).items():
        assert weight.dtype == np.float32
        assert_allclose(weight, plain.parameters[name], rtol=0, atol=PLAIN_TOLERANCE, err_msg=name)


def test_images_without_zeros_give_the_plain_weights(tiny: Dataset) -> None:
    trial = replace(TRIAL, subset_size=60, batch_size=40)
    pack = pack_of([trial], tiny)
    train_epochs(pack, 4)
    for name, weight in plain_mlp(trial, tiny, 4).parameters.items():
        assert_allclose(pack.weights(0)[name], weight, rtol=0, atol=PLAIN_TOLERANCE, err_msg=name)


def test_evaluations_equal_those_of_the_plain_mlp(digits: Dataset) -> None:
    trial = replace(TRIAL, subset_size=1_297)
    pack = pack_of([trial], digits)
    train_epochs(pack, 2)
    mlp = MLP(pack.weights(0))
    of_split = {"train": digits.train, "validation": digits.validation, "test": digits.test}
    for name, split in of_split.items():
        (found,), plain = pack.evaluate(name), plain_evaluation(mlp, split)  # type: ignore[arg-type]
        assert found.loss == pytest.approx(plain.loss, rel=PLAIN_TOLERANCE)
        assert_array_equal(found.confusion, plain.confusion)
        order = subset_index(1_297, 1_297, trial.seed) if name == "train" else slice(None)
        assert_array_equal(found.predicted, plain.predicted[order])


def test_a_black_subset_trains_the_biases_only(tiny: Dataset) -> None:
    black = replace(tiny, train=Split(np.zeros((1, 784), np.uint8), np.array([7], np.uint8)))
    trial = replace(TRIAL, subset_size=1)
    pack = pack_of([trial], black)
    train_epochs(pack, 4)
    plain = plain_mlp(trial, black, 4).parameters
    for name, weight in pack.weights(0).items():
        assert_allclose(weight, plain[name], rtol=0, atol=PLAIN_TOLERANCE, err_msg=name)
    assert pack.weights(0)["b1"].any()
    # The other sets use pixels that this subset does not use.
    assert pack.evaluate("test")[0].loss == pytest.approx(plain_evaluation(MLP(plain), tiny.test).loss, rel=1e-5)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_initial_weights_equal_the_plain_mlp_bitwise(momentum: float, tiny: Dataset) -> None:
    trial = replace(TRIAL, subset_size=60, momentum=momentum)
    found = pack_of([trial], tiny).weights(0)
    assert bits(found) == bits(MLP.from_trial(trial, generator(trial.seed, "weights")).weights())


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rate", [1.0, 1e10, 1e20, 1e30, 1e35, 1e38])
def test_high_rates_diverge_when_the_plain_mlp_does(rate: float, momentum: float, digits: Dataset) -> None:
    trial = replace(TRIAL, learning_rate=rate, momentum=momentum)
    pack = pack_of([trial], digits)
    train_epochs(pack, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        losses = (
            pack.evaluate("validation")[0].loss,
            plain_evaluation(plain_mlp(trial, digits, 2), digits.validation).loss,
        )
    assert np.isfinite(losses[0]) == np.isfinite(losses[1])


def test_a_trial_does_not_depend_on_its_pack(digits: Dataset) -> None:
    trials = [
        replace(TRIAL, momentum=0.9),
        replace(TRIAL, learning_rate=1e38),
        replace(TRIAL, seed=4, weight_init_std=0.3),
        replace(TRIAL, adaptive_lr=True, lr_decay=0.5),
        replace(TRIAL, seed=4, learning_rate=1e30, momentum=0.5),
    ]
    pack = pack_of(trials, digits)
    train_epochs(pack, 2)
    with np.errstate(over="ignore", invalid="ignore"):
        of_two_epochs = pack.evaluate("train")
    assert not np.isfinite(of_two_epochs[1].loss)
    kept = [0, 2, 3]
    pack.keep(kept)
    train_epochs(pack, 2, start=2)
    for index, trial in enumerate(trials[number] for number in kept):
        alone = pack_of([trial], digits)
        train_epochs(alone, 2)
        assert alone.evaluate("train")[0].loss == of_two_epochs[kept[index]].loss
        train_epochs(alone, 2, start=2)
        assert bits(alone.weights(0)) == bits(pack.weights(index))
        for split in ("train", "validation", "test"):
            assert alone.evaluate(split)[0].loss == pack.evaluate(split)[index].loss


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_restored_network_continues_bitwise(momentum: float, digits: Dataset) -> None:
    trial = replace(TRIAL, momentum=momentum)
    whole, first, second = (pack_of([trial], digits) for _ in range(3))
    train_epochs(whole, 4)
    train_epochs(first, 2)
    assert bool(first.velocities(0)) == bool(momentum)
    # A file's reader may return arrays in any memory layout.
    weights, velocities = (
        {name: np.asfortranarray(value) for name, value in saved.items()}
        for saved in (first.weights(0), first.velocities(0))
    )
    second.restore(0, weights, velocities)
    train_epochs(second, 2, start=2)
    assert bits(second.weights(0)) == bits(whole.weights(0))
    assert bits(second.velocities(0)) == bits(whole.velocities(0))


@pytest.mark.parametrize("settings", [{}, {"batch_size": 7, "hidden_units": 3, "momentum": 0.5}, {"subset_size": 1}])
def test_memory_alignment_changes_no_bit(
    settings: dict[str, float], digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = replace(TRIAL, **settings)  # type: ignore[arg-type]
    found = set()
    for offset in (0, 4, 20, 60):
        with monkeypatch.context() as patch:
            patch.setattr(np, "empty", _empty_at(offset))
            pack = pack_of([trial], digits)
        train_epochs(pack, 2)
        found.add((*bits(pack.weights(0)).values(), pack.evaluate("validation")[0].loss))
    assert len(found) == 1


def _empty_at(offset: int) -> Callable[..., NDArray[Any]]:
    """Return a replacement for np.empty whose arrays start `offset` bytes after a multiple of 64."""
    plain_empty = np.empty

    def empty(shape: int | tuple[int, ...], dtype: type = float) -> NDArray[Any]:
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        raw = plain_empty(size + 128, np.uint8)
        start = -raw.ctypes.data % 64 + offset
        return raw[start : start + size].view(dtype).reshape(shape)

    return empty


@pytest.mark.medium
def test_another_process_gives_the_same_bits(tiny: Dataset) -> None:
    script = TRAIN_AND_HASH.format(tests=str(Path(__file__).parent), folder=tiny.name)
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout == digest_of_a_trial(tiny)


def test_products_of_prefixes_are_exact(digits: Dataset) -> None:
    order = pixel_order(digits.train)
    images = SortedImages.from_split(digits.train, order, slice(0, 100))
    rng = np.random.default_rng(0)
    # Sums of small whole numbers are exact in float32, whatever their order.
    weight, grad = (rng.integers(-3, 4, (size, 5)).astype(np.float32) for size in (785, 45))
    (first, *_) = Batches(45, 785).of_epoch(images, rng.permutation(100), 45)
    # Values of an earlier batch beyond the prefixes are never read.
    whole = first.pixels.copy()
    for start, end, length in first.blocks:
        whole[start:end, length:] = 0
        first.pixels[start:end, length:] = np.nan
    product, transposed = np.empty((45, 5), np.float32), np.zeros((785, 5), np.float32)
    first.matmul(weight, out=product)
    assert_array_equal(product, whole @ weight)
    written = first.transposed_matmul(grad, out=transposed)
    assert_array_equal(transposed, whole.T @ grad)
    assert written == first.blocks[-1][2]


def test_batches_hold_the_images_of_their_order(digits: Dataset) -> None:
    images = SortedImages.from_split(digits.train, pixel_order(digits.train), slice(0, 100))
    order = np.random.default_rng(0).permutation(100)
    sums = digits.train.images.sum(axis=1)
    for number, batch in enumerate(Batches(64, 785).of_epoch(images, order, 64)):
        members = order[64 * number : 64 * (number + 1)]
        assert sorted(batch.labels) == sorted(digits.train.labels[members])
        ink = [batch.pixels[row, 1:length].sum() for start, end, length in batch.blocks for row in range(start, end)]
        assert sorted(ink) == sorted(sums[members])


def test_a_block_ends_at_its_last_nonzero_pixel(digits: Dataset) -> None:
    order = pixel_order(digits.train)
    images = SortedImages.from_split(digits.train, order, slice(0, 50))
    used = digits.train.images[:50, order].any(axis=0)
    assert images.prefix_lengths[-1] == 1 + np.flatnonzero(used)[-1] + 1  # the white pixel, and all up to the last used
    lengths = [length for _, _, length in next(Batches(50, 785).of_epoch(images, np.arange(50), 50)).blocks]
    assert lengths == [images.prefix_lengths[BLOCK - 1], images.prefix_lengths[-1]]
    dead = np.flatnonzero(~digits.train.images.any(axis=0))
    assert set(order[-len(dead) :]) == set(dead)
