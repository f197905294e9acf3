"""Tell whether an image is unlike those that a network was trained on, whose answer then means little.

The measure is one minus the cosine between an image and its nearest training image, both blurred a little, so that a
stroke that lies a pixel aside counts as near. What is usual is learned from the test images: an image is unlike the
training images where it is farther from them than 98 % of the test images are. docs/predict.md says what that finds.
Shapes: B images, N training images, D 784 pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import SIDE, Dataset, DatasetInfo, find_mnist, load_dataset
from mnist_core.errors import DataError

Images = NDArray[np.uint8]

USUAL = 0.98  # of the test images are at most this far from the training images
_MAX_TRAIN, _MAX_TEST = 20_000, 1000  # images that are looked at
_AT_ONCE = 5000  # training images whose distances are in memory
_BLUR = 1.0  # pixels


@dataclass(frozen=True)
class Likeness:
    """How far an image is from the nearest training image, and how far it may usually be."""

    distance: float
    usual: float

    @property
    def is_unlike(self) -> bool:
        return self.distance > self.usual


def find_dataset(info: DatasetInfo) -> Dataset | None:
    """Load a dataset if this machine has it, without downloading it; None where it is missing or another one."""
    if info.name == "mnist" and find_mnist() is None:
        return None
    try:
        dataset = load_dataset(info.name)
    except DataError:
        return None
    return dataset if dataset.fingerprint == info.fingerprint else None


def compare_with(dataset: Dataset, images: Images) -> list[Likeness]:
    """Measure how far images (B, D) are from a dataset's training images, and what is usual for its test images."""
    test = dataset.test.images[:_MAX_TEST]
    distances = nearest(np.concatenate([test, images]), dataset.train.images[:_MAX_TRAIN])
    usual = float(np.quantile(distances[: len(test)], USUAL))
    return [Likeness(float(each), usual) for each in distances[len(test) :]]


def nearest(images: Images, train: Images) -> NDArray[np.float32]:
    """Return, for each image (B, D), the distance to the nearest of the training images (N, D)."""
    unit = _unit(images)
    best = np.full(len(images), -1, np.float32)
    for start in range(0, len(train), _AT_ONCE):
        best = np.maximum(best, (unit @ _unit(train[start : start + _AT_ONCE]).T).max(axis=1))
    return np.clip(1 - best, 0, None)


def _unit(images: Images) -> NDArray[np.float32]:
    """Blur images, and scale each to the length 1."""
    from scipy.ndimage import gaussian_filter

    blurred = gaussian_filter(images.reshape(-1, SIDE, SIDE).astype(np.float32), (0, _BLUR, _BLUR))
    rows = blurred.reshape(len(images), -1)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1), np.float32)
