"""Let trained networks vote on images.

Shapes: B images, D 784 pixels, K 10 digits.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import DIGITS

Weights = Mapping[str, NDArray[Any]]  # by parameter


@dataclass(frozen=True)
class Vote:
    """What one network takes an image for."""

    trial_id: str
    seed: int
    probabilities: tuple[float, ...]  # of the ten digits

    @property
    def digit(self) -> int:
        """The most likely digit."""
        return int(np.argmax(self.probabilities))


def probabilities(model: str, weights: Weights, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute the probabilities (B, K) that a trained network gives the digits of images (B, D).

    Args:
        model: `mlp` or `cnn`.
        weights: Its trained parameters.
        images: Pixels from 0 to 255.
    """
    from mnist_core.models.mlp import softmax

    pixels = np.asarray(images, np.float32) / np.float32(255)
    return np.asarray(softmax(_logits(model, weights)(pixels)), np.float64)


def _logits(model: str, weights: Weights) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    if model == "mlp":
        from mnist_core.models.mlp import MLP

        return MLP({name: np.asarray(each, np.float32) for name, each in weights.items()}).logits
    from mnist_core.models.cnn import CNN  # imports torch

    return CNN.from_weights(weights).logits


def majority(votes: Sequence[Vote]) -> int:
    """Return the digit with the most votes; of several, the one with the greatest mean probability."""
    counts = Counter(vote.digit for vote in votes)
    means = np.mean([vote.probabilities for vote in votes], axis=0)
    return max(range(DIGITS), key=lambda digit: (counts[digit], means[digit]))
