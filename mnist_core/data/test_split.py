"""Read the test images of a dataset that was described earlier, to show some of them.

Shapes: N images, D 784 pixels.
"""

from pathlib import Path

from mnist_core.data.datasets import MNIST_SHA256, NAMED_DATASETS, TEST_IMAGES, DatasetInfo, load_dataset, read_file
from mnist_core.data.files import find_mnist, find_mnist_files
from mnist_core.data.idx import UInt8Array
from mnist_core.errors import DatasetNotFound, DigestMismatch


def read_test_images(info: DatasetInfo) -> UInt8Array:
    """Read the test images of a dataset if it is still the same; nothing is downloaded.

    Args:
        info: What described the dataset: its name, or the path of its folder, and its fingerprint.

    Returns:
        Pixels from 0 to 255, shape (N, D).

    Raises:
        DataError: The files are missing or damaged.
        DatasetNotFound: MNIST is in none of the folders searched.
        DigestMismatch: The dataset has changed.
    """
    if info.name == "mnist":
        images, found = _read_mnist_test_images(), NAMED_DATASETS["mnist"].fingerprint
    else:
        dataset = load_dataset(info.name if info.name in NAMED_DATASETS else Path(info.name))
        images, found = dataset.test.images, dataset.fingerprint
    if found != info.fingerprint:
        raise DigestMismatch(f"{info.name}: has changed since it was described; restore it")
    return images


def _read_mnist_test_images() -> UInt8Array:
    """Read only the file that holds them: its digest is known."""
    folder = find_mnist()
    if folder is None:
        raise DatasetNotFound("mnist: not found in the folders searched; set $MNISTJOBS_DATA_DIR to its folder")
    _, files = find_mnist_files(folder) or (folder, {})
    images: UInt8Array = read_file(folder, files, "t10k-images-idx3-ubyte", MNIST_SHA256)[TEST_IMAGES]
    return images
