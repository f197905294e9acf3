"""The training loop, one for both models.

Letters: B images of a batch, N images of a set, D 784 pixels, K 10 digits.
"""

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_core.datasets import Dataset, Split
from mnist_core.mlp import DIGITS, MLP, cross_entropy
from mnist_core.trial import Trial

# Large enough to keep a matrix product busy, small enough that a tile's activations stay in cache.
EVALUATION_BATCH = 256


@dataclass(frozen=True)
class EpochRecord:
    """What one trial did in one epoch. Losses are means per image, accuracies fractions, both after the epoch."""

    trial: Trial
    epoch: int  # from 1
    learning_rate: float  # the one used in this epoch
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What one trial came to. The test set's figures are None where the trial diverged."""

    trial: Trial
    status: Literal["finished", "diverged"]
    epochs: tuple[EpochRecord, ...]
    test_loss: float | None
    test_accuracy: float | None
    confusion: NDArray[np.int64] | None  # (K actual, K predicted) counts over the test set
    weights: dict[str, NDArray[Any]]
    seconds: float


class Network(Protocol):
    """What the loop asks of a model; images are float32 (B, D), labels int64 (B,)."""

    def step(self, images: NDArray[np.float32], labels: NDArray[np.int64], learning_rate: float) -> None: ...
    def logits(self, images: NDArray[np.float32]) -> NDArray[np.floating[Any]]: ...
    def weights(self) -> dict[str, NDArray[Any]]: ...


@dataclass(frozen=True, eq=False)
class Images:
    """A split as the models see it: pixels / 255 as float32 (N, D), labels as int64 (N,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def from_split(cls, split: Split, index: NDArray[np.int64] | slice = slice(None)) -> "Images":
        """Scale the images of a split that `index` selects."""
        return cls(
            np.divide(split.images[index], np.float32(255), dtype=np.float32),
            split.labels[index].astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.labels)


def train(trials: Sequence[Trial], dataset: Dataset) -> Iterator[EpochRecord | TrialResult]:
    """Train trials of one shape in lock-step: yield a record per trial and epoch, and each trial's result as it ends.

    A trial's numbers do not depend on the trials beside it. Raises ValueError where the trials differ in shape or the
    dataset has too few images.
    """
    _check_pack(trials, dataset)
    validation = Images.from_split(dataset.validation)
    running = [_Run(trial, dataset) for trial in trials]
    for _ in range(trials[0].epochs):
        for run in list(running):
            yield run.train_epoch(validation)
            if run.has_diverged():
                running.remove(run)
                yield run.result("diverged")
    test = Images.from_split(dataset.test)
    for run in running:
        yield run.result("finished", test)


def generator(seed: int, purpose: Literal["subset", "weights", "shuffle"]) -> np.random.Generator:
    """Make a trial's generator for one purpose; the streams of a seed are independent of each other."""
    stream = ("subset", "weights", "shuffle").index(purpose)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


def subset_index(train_size: int, subset_size: int, seed: int) -> NDArray[np.int64]:
    """Choose the subset's images, (subset_size,): the first of the training set in an order drawn from the seed.

    It depends on nothing else, so a smaller subset of a seed lies inside a larger one.
    """
    return generator(seed, "subset").permutation(train_size)[:subset_size]


def _check_pack(trials: Sequence[Trial], dataset: Dataset) -> None:
    shapes = {_shape(trial) for trial in trials}
    if len(shapes) != 1:
        raise ValueError(f"a pack holds trials of {len(shapes)} shapes; allowed: exactly one")
    subset_size, available = trials[0].subset_size, len(dataset.train.labels)
    if not 1 <= subset_size <= available:
        raise ValueError(f"subset_size {subset_size}: allowed 1 to {available}, the training images of {dataset.name}")


def _shape(trial: Trial) -> tuple[object, ...]:
    """Return what trials of one pack have in common: all but the seed and what the learning rate does."""
    varying = {"seed", "adaptive_lr", "learning_rate", "lr_decay", "momentum", "weight_init_std"}
    return tuple(value for setting, value in asdict(trial).items() if setting not in varying)


class _Run:
    """The state of one trial on its way through the epochs."""

    def __init__(self, trial: Trial, dataset: Dataset) -> None:
        index = subset_index(len(dataset.train.labels), trial.subset_size, trial.seed)
        self.trial = trial
        self.subset = Images.from_split(dataset.train, index)
        self.network = _initial_network(trial)
        self.shuffle = generator(trial.seed, "shuffle")
        self.learning_rate = trial.learning_rate
        self.records: list[EpochRecord] = []

    def train_epoch(self, validation: Images) -> EpochRecord:
        """Go once through the subset in a fresh order, then evaluate on it and on the validation set."""
        started = time.perf_counter()
        # Too high a rate overflows; that is a result (`diverged`), found in the loss, not a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            self._steps()
            train_loss, train_accuracy, _ = evaluate(self.network, self.subset)
            validation_loss, validation_accuracy, _ = evaluate(self.network, validation)
        record = EpochRecord(
            trial=self.trial,
            epoch=len(self.records) + 1,
            learning_rate=self.learning_rate,
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=time.perf_counter() - started,
        )
        self.records.append(record)
        if self.trial.lr_decay is not None:
            self.learning_rate *= self.trial.lr_decay
        return record

    def _steps(self) -> None:
        order = self.shuffle.permutation(len(self.subset))
        for start in range(0, len(order), self.trial.batch_size):
            batch = order[start : start + self.trial.batch_size]
            self.network.step(self.subset.images[batch], self.subset.labels[batch], self.learning_rate)

    def has_diverged(self) -> bool:
        """Tell whether the last epoch left a loss that is NaN or infinite."""
        last = self.records[-1]
        return not (math.isfinite(last.train_loss) and math.isfinite(last.validation_loss))

    def result(self, status: Literal["finished", "diverged"], test: Images | None = None) -> TrialResult:
        """Close the trial, with its figures on the test set where one is given."""
        started = time.perf_counter()
        loss, accuracy, confusion = evaluate(self.network, test) if test else (None, None, None)
        return TrialResult(
            trial=self.trial,
            status=status,
            epochs=tuple(self.records),
            test_loss=loss,
            test_accuracy=accuracy,
            confusion=confusion,
            weights=self.network.weights(),
            seconds=sum(record.seconds for record in self.records) + time.perf_counter() - started,
        )


def _initial_network(trial: Trial) -> Network:
    rng = generator(trial.seed, "weights")
    if trial.model == "mlp":
        return MLP.from_trial(trial, rng)
    # torch takes over a second to import: only trials that need it pay.
    from mnist_core.cnn import CNN

    return CNN.from_trial(trial, rng)


def evaluate(network: Network, data: Images) -> tuple[float, float, NDArray[np.int64]]:
    """Pass a set forward: return mean loss, accuracy and the confusion matrix (K actual, K predicted)."""
    losses = np.empty(len(data))
    predicted = np.empty(len(data), np.int64)
    for start in range(0, len(data), EVALUATION_BATCH):
        tile = slice(start, start + EVALUATION_BATCH)
        logits = network.logits(data.images[tile])
        losses[tile] = cross_entropy(logits, data.labels[tile])
        predicted[tile] = logits.argmax(axis=1)
    pairs = np.bincount(DIGITS * data.labels + predicted, minlength=DIGITS * DIGITS)
    confusion = pairs.reshape(DIGITS, DIGITS).astype(np.int64)
    return float(losses.mean()), float(np.trace(confusion) / len(data)), confusion
