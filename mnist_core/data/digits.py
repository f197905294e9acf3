"""scikit-learn's digits, enlarged from 8x8 to MNIST's format, and how they are split.

Shapes: N images, D 784 pixels.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnist_core.data.idx import SIDE, UInt8Array
from mnist_core.errors import DataError

_HELD_OUT = 250  # images of the validation set, and of the test set
_MAX_VALUE = 16  # of a pixel in scikit-learn's file


def read_digits() -> tuple[UInt8Array, UInt8Array]:
    """Read the digits as images of 28x28 pixels from 0 to 255.

    Returns:
        Images (N, D): each pixel is enlarged to 3x3, and a border of two pixels is added. Labels (N,).

    Raises:
        DataError: scikit-learn is not installed, or its file cannot be read.
    """
    rows = _read_file()
    pixels, labels = rows[:, :-1].astype(np.float64), rows[:, -1]
    small = np.rint(pixels * 255 / _MAX_VALUE).astype(np.uint8).reshape(-1, 8, 8)
    enlarged = small.repeat(3, axis=1).repeat(3, axis=2)  # (N, 24, 24)
    images = np.pad(enlarged, ((0, 0), (2, 2), (2, 2))).reshape(-1, SIDE * SIDE)  # (N, D)
    return images, labels.astype(np.uint8)


def split_digits(labels: UInt8Array) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]:
    """Return the indices of the training, validation and test images, given all labels (N,)."""
    # The file is ordered by writer, and its last writers are harder to read. Evenly spaced images of each digit put
    # all writers and digits into every split, and do not depend on the version of a random generator.
    by_digit = np.argsort(labels, kind="stable")
    spaced = np.arange(_HELD_OUT) * len(labels) // _HELD_OUT
    validation, test = by_digit[spaced], by_digit[spaced + 3]
    return np.setdiff1d(by_digit, np.concatenate([validation, test])), validation, test


def _read_file() -> UInt8Array:
    """Read the file behind sklearn.datasets.load_digits, without the second that importing scikit-learn takes.

    Returns:
        (N, 65): 64 pixels from 0 to 16, and the label.
    """
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError("digits: scikit-learn, which contains them, is not installed; install scikit-learn")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise DataError(f"digits: {path}: {error}; install another version of scikit-learn") from error
