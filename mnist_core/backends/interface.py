"""A pack on a device: what its networks learn from, and what the training loop asks of them.

Letters: E trials of the pack, B images of a batch, N images of a set, D 784 pixels, K 10 digits.
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
    """A set as the models see it: pixels / 255 as float32 (N, D), labels as int64 (N,)."""

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


@dataclass(frozen=True, eq=False)
class PackData:
    """The sets of a pack: each seed's subset of the training set, and the two sets that all trials share."""

    dataset: Dataset
    subset_index: Mapping[int, NDArray[np.int64]]  # seed -> places in the training set, (N,)

    @cached_property
    def subsets(self) -> dict[int, Images]:
        """Each seed's training images."""
        return {seed: Images.from_split(self.dataset.train, index) for seed, index in self.subset_index.items()}

    @cached_property
    def validation(self) -> Images:
        """The validation set."""
        return Images.from_split(self.dataset.validation)

    @cached_property
    def test(self) -> Images:
        """The test set; not made before the first use, which is after the last epoch."""
        return Images.from_split(self.dataset.test)

    def images(self, split: SplitName, seed: int) -> Images:
        """Return the set of this name as a trial of this seed sees it."""
        if split == "train":
            return self.subsets[seed]
        return self.validation if split == "validation" else self.test


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What one network made of one set: mean loss, accuracy, counts (K actual, K predicted)."""

    loss: float
    accuracy: float
    confusion: NDArray[np.int64]

    @classmethod
    def of(
        cls, labels: NDArray[np.int64], losses: NDArray[np.floating[Any]], predicted: NDArray[np.integer[Any]]
    ) -> "Evaluation":
        """Count the predictions (N,) against the labels (N,), and take the mean of the losses (N,) in float64."""
        pairs = np.bincount(DIGITS * labels + predicted, minlength=DIGITS * DIGITS)
        confusion = pairs.reshape(DIGITS, DIGITS).astype(np.int64)
        return cls(float(losses.mean(dtype=np.float64)), float(np.trace(confusion) / len(labels)), confusion)


class Networks(Protocol):
    """The networks of a pack, one for each trial in order, on the device that trains them."""

    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Go once through each trial's subset in the order of its seed, each at its own learning rate."""

    def evaluate(self, split: SplitName) -> list[Evaluation]:
        """Pass a set forward through every network."""

    def weights(self, place: int) -> dict[str, NDArray[Any]]:
        """Return a copy of one network's parameters by name."""

    def velocities(self, place: int) -> dict[str, NDArray[Any]]:
        """Return a copy of one network's momentum terms by parameter; empty without momentum."""

    def restore(self, place: int, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set one network to what `weights` and `velocities` gave, of this or another process."""

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the networks at these places alone; the others have diverged."""


def batches(order: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Cut an order (N,) into batches; the last one may be short."""
    return (order[start : start + size] for start in range(0, len(order), size))


def distinct_seeds(trials: Sequence[Trial]) -> tuple[int, ...]:
    """Name the seeds of a pack, each once, in order."""
    return tuple(dict.fromkeys(trial.seed for trial in trials))
