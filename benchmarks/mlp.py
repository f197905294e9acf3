"""Time an epoch of the MLP on one core: the NumPy backend, its matrix products alone, the model, and plain PyTorch.

An epoch is one pass of training, and the evaluation of the training subset and the validation set. The limit is SGEMM
on the shapes of these passes, with all 784 columns of every image. The backend has the pinned kernels that trials train
with, everything else those that the CPU prefers. Prints a table for 50,000 images and one for 2,000;
takes about a minute. Run as `python benchmarks/mlp.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from measure import Times, interleaved, one_thread, print_machine, print_times
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from mnist_core.backends.interface import Evaluation, Images, PackData, batches
from mnist_core.backends.mlp_numpy import MLPPack
from mnist_core.data import DIGITS, PIXELS, Dataset, Split, find_mnist, load_dataset
from mnist_core.kernels import training_with
from mnist_core.models.mlp import MLP, cross_entropy
from mnist_core.seeds import generator, subset_index
from mnist_core.trial import Trial

ROUNDS = {50_000: 15, 2_000: 100}
TILE = 512  # images, in the evaluations of the other variants: the fastest of 128 to 5,000 for SGEMM
SAME_WEIGHTS = 1e-5  # after one epoch
PAIR = "backend, two trials of a seed"

Order = NDArray[np.int64]
Weights = dict[str, NDArray[np.float32]]


class Sgemm:
    """Compute only the products of an epoch, in the fastest memory layouts."""

    def __init__(self, trial: Trial, train: Images, validation: Images) -> None:
        assert trial.hidden_units is not None
        hidden, rows = trial.hidden_units, max(TILE, trial.batch_size)
        self.size, self.train, self.validation = trial.batch_size, train.images, validation.images
        rng = np.random.default_rng(0)
        self.weight1 = rng.standard_normal((PIXELS, hidden), dtype=np.float32)
        self.weight2 = rng.standard_normal((hidden, DIGITS), dtype=np.float32)
        self.hidden, self.logits = np.empty((2, rows, hidden), np.float32), np.empty((rows, DIGITS), np.float32)
        self.grad1, self.grad2 = np.empty_like(self.weight1), np.empty_like(self.weight2)

    def epoch(self) -> None:
        """Compute the products of training and of both evaluations."""
        for images in _tiles(self.train, self.size):
            f1, grad_f1, logits = self._forward(images)
            np.matmul(f1.T, logits, out=self.grad2)
            np.matmul(logits, self.weight2.T, out=grad_f1)
            np.matmul(images.T, f1, out=self.grad1)
        for split in (self.train, self.validation):
            for images in _tiles(split, TILE):
                self._forward(images)

    def _forward(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        f1, other = self.hidden[:, : len(images)]
        logits = self.logits[: len(images)]
        np.matmul(images, self.weight1, out=f1)
        np.matmul(f1, self.weight2, out=logits)
        return f1, other, logits


class Textbook:
    """Train the model `MLP`, textbook NumPy."""

    def __init__(self, trial: Trial, train: Images, validation: Images, order: Order) -> None:
        self.trial, self.train, self.validation, self.order = trial, train, validation, order
        self.mlp = MLP.from_trial(trial, generator(trial.seed, "weights"))

    def epoch(self) -> None:
        """Train and evaluate twice."""
        for batch in batches(self.order, self.trial.batch_size):
            self.mlp.step(self.train.images[batch], self.train.labels[batch], self.trial.learning_rate)
        for data in (self.train, self.validation):
            logits = np.concatenate([self.mlp.logits(images) for images in _tiles(data.images, TILE)])
            Evaluation.from_predictions(data.labels, cross_entropy(logits, data.labels), logits.argmax(axis=1))

    def weights(self) -> Weights:
        """Return the parameters by name."""
        return self.mlp.weights()


class PlainTorch:
    """Train a plain PyTorch network, with the data in tensors from the start."""

    def __init__(self, trial: Trial, train: Images, validation: Images, order: Order) -> None:
        assert trial.hidden_units is not None
        self.size, self.order = trial.batch_size, torch.from_numpy(order)
        self.sets = [(torch.from_numpy(data.images), torch.from_numpy(data.labels)) for data in (train, validation)]
        start = MLP.from_trial(trial, generator(trial.seed, "weights")).weights()
        self.network = nn.Sequential(
            nn.Linear(PIXELS, trial.hidden_units), nn.Sigmoid(), nn.Linear(trial.hidden_units, DIGITS)
        )
        names = ("0.weight", "0.bias", "2.weight", "2.bias")
        self.network.load_state_dict(
            {name: torch.from_numpy(value) for name, value in zip(names, start.values(), strict=True)}
        )
        self.optimizer = torch.optim.SGD(self.network.parameters(), lr=trial.learning_rate)

    def epoch(self) -> None:
        """Train and evaluate twice."""
        images, labels = self.sets[0]
        for batch in torch.split(self.order, self.size):
            self.optimizer.zero_grad()
            F.cross_entropy(self.network(images[batch]), labels[batch], reduction="sum").backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
        with torch.no_grad():
            for images, labels in self.sets:
                for some_images, some_labels in zip(torch.split(images, TILE), torch.split(labels, TILE), strict=True):
                    logits = self.network(some_images)
                    F.cross_entropy(logits, some_labels, reduction="sum").item()
                    (logits.argmax(1) == some_labels).sum().item()

    def weights(self) -> Weights:
        """Return the parameters by name."""
        return dict(zip(("W1", "b1", "W2", "b2"), (p.detach().numpy() for p in self.network.parameters()), strict=True))


class Backend:
    """Train a pack of the NumPy backend, as `mnist_core.training.train` does."""

    def __init__(self, trials: list[Trial], dataset: Dataset, index: Order, order: Order) -> None:
        self.trials, self.orders = trials, {trials[0].seed: order}
        self.pack = MLPPack(trials, PackData(dataset, {trials[0].seed: index}))

    def epoch(self) -> None:
        """Train and evaluate twice."""
        self.pack.train_epoch(self.orders, [trial.learning_rate for trial in self.trials])
        self.pack.evaluate("train")
        self.pack.evaluate("validation")

    def weights(self) -> Weights:
        """Return the parameters by name."""
        return self.pack.weights(0)


def main() -> None:
    """Print both tables."""
    dataset = _dataset()
    print_machine()
    print("one thread; milliseconds per epoch and trial")
    for size in ROUNDS:
        with one_thread():
            times = _measure(dataset, size)
        print()
        print_times(
            f"{size:,} images", times, limit="SGEMM, 784 columns", baselines=("textbook NumPy", "plain PyTorch")
        )


def _measure(dataset: Dataset, size: int) -> dict[str, Times]:
    trial = Trial(model="mlp", subset_size=size, adaptive_lr=False, seed=0)
    index = subset_index(len(dataset.train.labels), size, trial.seed)
    order = generator(trial.seed, "shuffle").permutation(size)
    train, validation = Images.from_split(dataset.train, index), Images.from_split(dataset.validation)
    textbook = Textbook(trial, train, validation, order)
    plain_torch = PlainTorch(trial, train, validation, order)
    backend = Backend([trial], dataset, index, order)
    pair = Backend([trial, replace(trial, adaptive_lr=True)], dataset, index, order)
    for variant in (textbook, plain_torch, backend, pair):
        variant.epoch()
        for name, weight in variant.weights().items():
            np.testing.assert_allclose(weight, textbook.weights()[name], rtol=0, atol=SAME_WEIGHTS)
    variants: dict[str, Callable[[], None]] = {
        "SGEMM, 784 columns": Sgemm(trial, train, validation).epoch,
        "textbook NumPy": textbook.epoch,
        "plain PyTorch": plain_torch.epoch,
        "backend": training_with("pinned")(backend.epoch),
        PAIR: training_with("pinned")(pair.epoch),
    }
    times = interleaved(variants, ROUNDS[size])
    return times | {PAIR: Times(tuple(seconds / 2 for seconds in times[PAIR].seconds))}


def _tiles(images: NDArray[np.float32], size: int) -> Iterator[NDArray[np.float32]]:
    return (images[start : start + size] for start in range(0, len(images), size))


def _dataset() -> Dataset:
    if find_mnist():
        return load_dataset("mnist")
    print("MNIST not found: using the digits, repeated to the same number of images; more of their pixels are zero")
    digits = load_dataset("digits")
    return replace(digits, train=_repeated(digits.train, 50_000), validation=_repeated(digits.validation, 5_000))


def _repeated(split: Split, size: int) -> Split:
    index = np.arange(size) % len(split.labels)
    return Split(split.images[index], split.labels[index])


if __name__ == "__main__":
    main()
