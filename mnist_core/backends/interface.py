"""The interface of a backend: the data that a pack trains on, and the methods that the training loop calls.

Shapes: N images of a set, D 784 pixels, K 10 digits.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import DIGITS, Dataset, Split
from mnist_core.trial import Trial

Device = Literal["cpu", "cuda"]
SplitName = Literal["train", "validation", "test"]
Orders = Mapping[int, NDArray[np.int64]]  # seed -> the epoch's order of its subset, (N,)


@dataclass(frozen=True, eq=False)
class Images:
    """Hold a set as the models read it: pixels / 255 as float32 (N, D), labels as int64 (N,)."""

    images: NDArray[np.float32]
    labels: NDArray[np.int64]

    @classmethod
    def from_split(cls, split: Split, index: NDArray[np.int64] | slice = slice(None)) -> "Images":
        """Scale the images of a split that `index` selects, all by default."""
        return cls(
            np.divide(split.images[index], np.float32(255), dtype=np.float32),
            split.labels[index].astype(np.int64),
        )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class PackData:
    """Hold the sets of a pack: a subset of the training set for each seed, and the two sets that all trials share."""

    dataset: Dataset
    subset_index: Mapping[int, NDArray[np.int64]]  # seed -> indices into the training set, (N,)

    @cached_property
    def subsets(self) -> dict[int, Images]:
        """The training images of each seed."""
        return {seed: Images.from_split(self.dataset.train, index) for seed, index in self.subset_index.items()}

    @cached_property
    def validation(self) -> Images:
        """The validation set."""
        return Images.from_split(self.dataset.validation)

    @cached_property
    def test(self) -> Images:
        """The test set, scaled on first use, which is after the last epoch."""
        return Images.from_split(self.dataset.test)

    def images(self, split: SplitName, seed: int) -> Images:
        """Return a set by name; the training set is the subset of the given seed."""
        if split == "train":
            return self.subsets[seed]
        return self.validation if split == "validation" else self.test


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Hold the result of one network on one set."""

    loss: float  # mean per image
    accuracy: float  # fraction of the images
    confusion: NDArray[np.int64]  # (K actual, K predicted) counts
    predicted: NDArray[np.uint8]  # (N,) digits, in the order of the set

    @classmethod
    def from_predictions(
        cls, labels: NDArray[np.int64], losses: NDArray[np.floating[Any]], predicted: NDArray[np.integer[Any]]
    ) -> "Evaluation":
        """Count labels (N,) by predictions (N,), both in the order of the set; average the losses (N,) in float64."""
        pairs = np.bincount(DIGITS * labels + predicted, minlength=DIGITS * DIGITS)
        confusion = pairs.reshape(DIGITS, DIGITS).astype(np.int64)
        accuracy = float(np.trace(confusion) / len(labels))
        return cls(float(losses.mean(dtype=np.float64)), accuracy, confusion, predicted.astype(np.uint8))


class Networks(Protocol):
    """The networks of a pack, one for each trial and in the order of the trials, on the device that trains them.

    `index` is the position of a network among those that have been kept.
    """

    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Train every network for one epoch on its seed's subset, in the seed's order.

        Args:
            orders: seed -> order of its subset, (N,).
            learning_rates: The learning rate of each network.
        """

    def evaluate(self, split: SplitName) -> list[Evaluation]:
        """Evaluate every network on a split; return the results in the order of the networks."""

    def weights(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters of one network by name."""

    def velocities(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the momentum terms of one network by parameter name; empty without momentum."""

    def restore(self, index: int, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set one network to earlier results of `weights` and `velocities`, from this or another process."""

    def keep(self, indices: Sequence[int]) -> None:
        """Continue with the networks at these indices only, and drop the others, which have diverged."""


def batches(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Split an order (N,) into batches of `size`; the last batch may be shorter."""
    return (order[start : start + size] for start in range(0, len(order), size))


def distinct_seeds(trials: Sequence[Trial]) -> tuple[int, ...]:
    """Return the seeds of a pack in order, each once."""
    return tuple(dict.fromkeys(trial.seed for trial in trials))
