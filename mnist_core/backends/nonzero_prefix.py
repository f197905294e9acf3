"""Images in an order that keeps most zeros out of matrix products.

Most pixels of an image are zero, and a product with zero need not be made. Here the pixels that many images use come
first, and an image's reach R is the number of places up to its last pixel that is not zero. For images x (B, P) that
reach no further than R, and for whatever stands beside them,

    x @ w = x[:, :R] @ w[:R]    and    x.T @ g is zero from row R on.

A set is kept by growing reach, and so is each batch: neighbours then need about as many places. A pixel that no image
of a set uses lies beyond all reach, and costs nothing.

Letters: B images of a batch, N images of a set, D 784 pixels, P = 1 + D places, H hidden units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import Split

# Place 0 of every image: a pixel that is always white, so that its weight is the bias of whatever stands beside it.
WHITE = 255
# Enough to rank the pixels of MNIST: all 50,000 images give a mean reach of 411, these 412.
RANKED_BY = 2000
# Smaller blocks leave out more zeros, but their products are slower.
BLOCK = 32


def pixel_order(split: Split) -> NDArray[np.intp]:
    """Order the pixels (D,) by the number of images that use them, the most used first."""
    sample = split.images[:: max(1, len(split.labels) // RANKED_BY)]
    uses = np.add.reduce(sample != 0, axis=0, dtype=np.int32)
    return np.argsort(-uses, kind="stable")


@dataclass(frozen=True, eq=False)
class ReachedImages:
    """A set by growing reach: pixels (N, P) from 0 to 255, white first and then in their order; labels, reach (N,)."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]
    reach: NDArray[np.intp]
    place: NDArray[np.intp]  # (N,): where the images of the set, as it was given, stand here

    @classmethod
    def from_split(
        cls, split: Split, order: NDArray[np.intp], index: NDArray[np.int64] | slice = slice(None)
    ) -> "ReachedImages":
        """Sort the images of a split that `index` selects, their pixels in this order (D,)."""
        pixels = np.take(split.images[index], np.concatenate([order[:1], order]), axis=1)
        pixels[:, 0] = WHITE
        reach = pixels.shape[1] - (pixels[:, ::-1] != 0).argmax(axis=1)
        by_reach = np.argsort(reach, kind="stable")
        place = np.empty_like(by_reach)
        place[by_reach] = np.arange(len(by_reach))
        return cls(pixels[by_reach], split.labels[index][by_reach].astype(np.int64), reach[by_reach], place)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Batch:
    """Images by growing reach, cut into blocks; the pixels (B, P) of a block are there up to its reach only."""

    pixels: NDArray[np.float32]
    labels: NDArray[np.int64]
    blocks: Sequence[tuple[int, int, int]]  # first row, end, reach

    def matmul(self, weight: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Multiply the pixels by a weight (P, H) into `out` (B, H)."""
        for start, end, reach in self.blocks:
            np.matmul(self.pixels[start:end, :reach], weight[:reach], out=out[start:end])

    def transposed_matmul(self, grad: NDArray[np.float32], out: NDArray[np.float32]) -> int:
        """Multiply the transposed pixels by a gradient (B, H) into `out` (P, H); return how many rows are not zero.

        The rows beyond are left as they are. The places that a block reaches first concern it and those after it.
        """
        reached = 0
        for start, _, reach in self.blocks:
            if reach > reached:
                np.matmul(self.pixels[start:, reached:reach].T, grad[start:], out=out[reached:reach])
                reached = reach
        return reached


class Batches:
    """Make batches of at most B images, one after the other, in the same memory."""

    def __init__(self, size: int, places: int) -> None:
        self._bytes = np.empty((size, places), np.uint8)
        self._floats = np.empty((size, places), np.float32)

    def of_epoch(self, images: ReachedImages, order: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Cut an order (N,) of the set as it was given into batches; the last one may be short."""
        places = images.place[order]
        cuts = [slice(start, start + size) for start in range(0, len(places), size)]
        for cut in cuts:
            places[cut].sort()
        labels, reaches = images.labels[places], images.reach[places]
        for cut in cuts:
            out = self._bytes[: len(places[cut])]
            # `clip` spares the copy of `out` that `raise` makes; no place is out of range.
            pixels = np.take(images.pixels, places[cut], axis=0, out=out, mode="clip")
            yield self._batch(pixels, labels[cut], reaches[cut], BLOCK)

    def tile(self, images: ReachedImages, rows: slice) -> Batch:
        """Make a batch of one block of neighbours in a set."""
        pixels = images.pixels[rows]
        return self._batch(pixels, images.labels[rows], images.reach[rows], len(pixels))

    def _batch(
        self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], reaches: NDArray[np.intp], block: int
    ) -> Batch:
        """Convert what the blocks reach, and no more."""
        blocks = []
        for start in range(0, len(pixels), block):
            end = min(start + block, len(pixels))
            reach = int(reaches[end - 1])
            self._floats[start:end, :reach] = pixels[start:end, :reach]
            blocks.append((start, end, reach))
        return Batch(self._floats[: len(pixels)], labels, blocks)
