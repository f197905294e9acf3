"""Skip most zeros in matrix products: order pixels and images so that each image is a short prefix and then zeros.

Model: the products with x in `mnist_core.models.mlp.MLP`: x @ W1.T and grad_a1.T @ x.
Tests: tests/test_mlp_numpy.py::test_products_of_prefixes_are_exact

Most pixels of an image are zero. Here the pixels that many images use come first, and the nonzero prefix of an image
ends at its last pixel that is not zero. For images x (B, P) whose prefixes have at most L pixels, and any w and g,

    x @ w = x[:, :L] @ w[:L]    and    x.T @ g is zero from row L on.

A set is sorted by prefix length, and so is each batch, so that neighbours need about the same number of columns.
Pixels that no image of a set uses are outside all prefixes and cost nothing.

Shapes: B images of a batch, N images of a set, D 784 pixels, P = 1 + D columns, H hidden units.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import Split

# Column 0 of every image is a pixel that is always white, so that its weight acts as the bias.
WHITE = 255
# Images used to rank the pixels. Enough for MNIST: the mean prefix is 412 pixels, and 411 with all 50,000 images.
RANKING_IMAGES = 2000
# Rows that share a prefix length. Smaller blocks skip more zeros, but their products are slower.
BLOCK = 48


def pixel_order(split: Split) -> NDArray[np.intp]:
    """Return the pixels (D,) ordered by the number of images that use them, the most used first."""
    sample = split.images[:: max(1, len(split.labels) // RANKING_IMAGES)]
    uses = np.add.reduce(sample != 0, axis=0, dtype=np.int32)
    return np.argsort(-uses, kind="stable")


@dataclass(frozen=True, eq=False)
class SortedImages:
    """Hold a set sorted by the length of its images' nonzero prefixes."""

    pixels: NDArray[np.uint8]  # (N, P) from 0 to 255: the white pixel, then the others in their order
    labels: NDArray[np.int64]  # (N,)
    prefix_lengths: NDArray[np.intp]  # (N,), the white pixel included
    rows: NDArray[np.intp]  # (N,): the row here of each image of the unsorted set

    @classmethod
    def from_split(
        cls, split: Split, order: NDArray[np.intp], index: NDArray[np.int64] | slice = slice(None)
    ) -> "SortedImages":
        """Sort the images of a split that `index` selects, with their pixels in this order (D,)."""
        pixels = np.take(split.images[index], np.concatenate([order[:1], order]), axis=1)
        pixels[:, 0] = WHITE
        lengths = pixels.shape[1] - (pixels[:, ::-1] != 0).argmax(axis=1)
        by_length = np.argsort(lengths, kind="stable")
        rows = np.empty_like(by_length)
        rows[by_length] = np.arange(len(by_length))
        return cls(pixels[by_length], split.labels[index][by_length].astype(np.int64), lengths[by_length], rows)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Batch:
    """Hold images sorted by prefix length and cut into blocks; pixels beyond a block's longest prefix are undefined."""

    pixels: NDArray[np.float32]  # (B, P)
    labels: NDArray[np.int64]  # (B,)
    blocks: Sequence[tuple[int, int, int]]  # first row, end, longest prefix

    def matmul(self, weight: NDArray[np.float32], out: NDArray[np.float32]) -> None:
        """Multiply the pixels by a weight (P, H) into `out` (B, H)."""
        for start, end, length in self.blocks:
            np.matmul(self.pixels[start:end, :length], weight[:length], out=out[start:end])

    def transposed_matmul(self, grad: NDArray[np.float32], out: NDArray[np.float32]) -> int:
        """Multiply the transposed pixels by a gradient (B, H) into the first rows of `out` (P, H).

        Returns:
            The number of rows written, which is the longest prefix of the batch; the product's other rows are zero.
        """
        written = 0
        for start, _, length in self.blocks:
            if length > written:
                # These columns are outside the prefixes of all earlier blocks.
                np.matmul(self.pixels[start:, written:length].T, grad[start:], out=out[written:length])
                written = length
        return written


class Batches:
    """Make batches of at most `size` images with `columns` pixels, one at a time and in the same memory."""

    def __init__(self, size: int, columns: int) -> None:
        self._bytes = np.empty((size, columns), np.uint8)
        self._floats = np.empty((size, columns), np.float32)

    def of_epoch(self, images: SortedImages, order: NDArray[np.int64], size: int) -> Iterator[Batch]:
        """Split an order (N,) of the unsorted set into batches of `size`; the last batch may be shorter."""
        rows = images.rows[order]
        cuts = [slice(start, start + size) for start in range(0, len(rows), size)]
        for cut in cuts:
            rows[cut].sort()
        labels, lengths = images.labels[rows], images.prefix_lengths[rows]
        for cut in cuts:
            out = self._bytes[: len(rows[cut])]
            # All rows are in range; mode "clip" avoids the copy of `out` that "raise" makes.
            pixels = np.take(images.pixels, rows[cut], axis=0, out=out, mode="clip")
            yield self._batch(pixels, labels[cut], lengths[cut], BLOCK)

    def tile(self, images: SortedImages, rows: slice) -> Batch:
        """Make a batch with one block of consecutive images of a sorted set."""
        pixels = images.pixels[rows]
        return self._batch(pixels, images.labels[rows], images.prefix_lengths[rows], len(pixels))

    def _batch(
        self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], lengths: NDArray[np.intp], block: int
    ) -> Batch:
        """Convert the pixels inside the prefixes to float32, and only those."""
        blocks = []
        for start in range(0, len(pixels), block):
            end = min(start + block, len(pixels))
            length = int(lengths[end - 1])
            self._floats[start:end, :length] = pixels[start:end, :length]
            blocks.append((start, end, length))
        return Batch(self._floats[: len(pixels)], labels, blocks)
