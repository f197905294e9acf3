"""Write small IDX files for tests."""

import gzip
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt


def idx_bytes(array: npt.NDArray[np.uint8]) -> bytes:
    """Encode an array of any shape as an IDX file of unsigned bytes."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def idx_contents(train_count: int = 24, test_count: int = 6, seed: int = 0) -> dict[str, bytes]:
    """Make the four files of a dataset, by name; the rows of a bright bar depend on the digit."""
    rng = np.random.default_rng(seed)
    contents = {}
    for prefix, count in (("train", train_count), ("t10k", test_count)):
        labels = np.arange(count, dtype=np.uint8) % 10
        images = rng.integers(0, 100, size=(count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[4 + 2 * label : 6 + 2 * label] = 255
        contents[f"{prefix}-images-idx3-ubyte"] = idx_bytes(images)
        contents[f"{prefix}-labels-idx1-ubyte"] = idx_bytes(labels)
    return contents


def write_idx_folder(
    folder: Path, train_count: int = 24, test_count: int = 6, seed: int = 0, gzipped: bool = True
) -> None:
    """Write four valid files of 28x28 images and labels."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in idx_contents(train_count, test_count, seed).items():
        if gzipped:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
