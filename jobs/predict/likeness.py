"""Tell whether an image is unlike those that a network was trained on, whose answer then means little.

The measure is one minus the cosine between the strokes of an image and those of its nearest training image. What is
usual is learned from the test images: an image is unlike the training images where it is farther from them than 98 %
of the test images are. docs/predict.md says what that finds.
Shapes: B images, N training images, D 784 pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import SIDE, Dataset, DatasetInfo, find_mnist, load_dataset
from mnist_core.errors import DataError

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]

USUAL = 0.98  # of the test images are at most this far from the training images
_MAX_TRAIN, _MAX_TEST = 15_000, 2000  # images that are looked at
_AT_ONCE = 5000  # training images whose distances are in memory
_IN_CACHE = 250  # images whose strokes are described together
_BLUR = 0.7  # pixels
_FLAT = 0.5  # grey levels from one pixel to the next
_DIRECTIONS = 8
_CELL = 4  # pixels from the middle of a cell to that of the next


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
    test = dataset.test.images[:: -(-len(dataset.test.images) // _MAX_TEST)]  # spread over all: some are in an order
    distances = nearest(np.concatenate([test, images]), dataset.train.images[:_MAX_TRAIN])
    usual = float(np.quantile(distances[: len(test)], USUAL))
    return [Likeness(float(each), usual) for each in distances[len(test) :]]


def nearest(images: Images, train: Images) -> Floats:
    """Return, for each image (B, D), the distance to the nearest of the training images (N, D)."""
    strokes = describe_strokes(images)
    best = np.full(len(images), -1, np.float32)
    for start in range(0, len(train), _AT_ONCE):
        best = np.maximum(best, (strokes @ describe_strokes(train[start : start + _AT_ONCE]).T).max(axis=1))
    return np.clip(1 - best, 0, None)


def describe_strokes(images: Images) -> Floats:
    """Describe where strokes run, and in which of 8 directions, in 7x7 cells: unit vectors (B, 392).

    These are histograms of oriented gradients (Dalal and Triggs 2005), with cells that overlap.
    """
    cells = _cells()
    some = (images[start : start + _IN_CACHE] for start in range(0, len(images), _IN_CACHE))
    strokes = [np.sqrt(_edges(each) @ cells).reshape(len(each), -1) for each in some]
    rows = np.concatenate([np.empty((0, _DIRECTIONS * cells.shape[1]), np.float32), *strokes])
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, np.float32(1e-6)), np.float32)


def _edges(images: Images) -> Floats:
    """Return how steep each pixel of images (B, D) is in each of the directions, (B, 8, D)."""
    from scipy.ndimage import gaussian_filter

    levels = images.reshape(-1, SIDE, SIDE).astype(np.float32)
    slopes = np.gradient(gaussian_filter(levels, (0, _BLUR, _BLUR)), axis=(1, 2))
    down, right = (slope.reshape(len(images), -1) for slope in slopes)
    steepness = np.hypot(down, right)
    image, pixel = np.nonzero(steepness > _FLAT)
    steep = steepness[image, pixel]
    angle = np.arctan2(down[image, pixel], right[image, pixel]) * np.float32(_DIRECTIONS / (2 * np.pi))
    below = np.floor(angle).astype(np.intp)
    share = angle - below  # of the next direction
    edges = np.zeros((len(images), _DIRECTIONS, levels[0].size), np.float32)
    edges[image, below % _DIRECTIONS, pixel] = steep * (1 - share)
    edges[image, (below + 1) % _DIRECTIONS, pixel] = steep * share
    return edges


def _cells() -> Floats:
    """Return the weight of each pixel in each cell (D, 49): a bell around the middle of the cell."""
    middles, pixels = np.arange(_CELL // 2, SIDE, _CELL), np.arange(SIDE)[:, None]
    bells = np.exp(-((pixels - middles) ** 2) / (2 * (_CELL / 2) ** 2))
    bells /= bells.sum(axis=0)
    return np.kron(bells, bells).astype(np.float32)
