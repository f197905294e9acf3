"""Find, read, split and fingerprint datasets: MNIST, scikit-learn's digits, or a folder of four IDX files.

Shapes: N images, D 784 pixels.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_core.data.digits import read_digits, split_digits
from mnist_core.data.download import MIRRORS, Progress, download
from mnist_core.data.files import (
    Files,
    describe_content,
    find_files,
    find_mnist,
    find_mnist_files,
    mnist_folders,
    names_a_set,
)
from mnist_core.data.idx import SIDE, UInt8Array, read_idx
from mnist_core.errors import DataError, DatasetNotFound, DigestMismatch, DownloadError
from mnist_core.paths import describe_missing, path_of, printable_path

DIGITS = 10
PIXELS = SIDE * SIDE
TEST_IMAGES = slice(None, None, 2)  # of the test file: every second, because MNIST's two halves differ in difficulty
# File name -> sha256 of MNIST's decompressed bytes. Every dataset folder uses these four names.
MNIST_SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


@dataclass(frozen=True, eq=False)
class Split:
    """Hold images as uint8 (N, D) and their labels as uint8 (N,), both read-only."""

    images: UInt8Array
    labels: UInt8Array

    def __post_init__(self) -> None:
        # Arrays that arrive through Ray are read-only; making them so everywhere exposes in-place writes early.
        for field in ("images", "labels"):
            array = np.ascontiguousarray(getattr(self, field)).view()
            array.flags.writeable = False
            object.__setattr__(self, field, array)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Hold the three splits of a dataset, and the sha256 of their names, shapes and bytes."""

    name: str
    fingerprint: str
    train: Split
    validation: Split
    test: Split


@dataclass(frozen=True)
class DatasetInfo:
    """Describe a dataset without its images."""

    name: str
    train_size: int
    validation_size: int
    test_size: int
    fingerprint: str


# Pinned, so that a study can be planned before MNIST is downloaded and without reading the digits.
NAMED_DATASETS: Mapping[str, DatasetInfo] = {
    "mnist": DatasetInfo(
        name="mnist",
        train_size=50_000,
        validation_size=5_000,
        test_size=5_000,
        fingerprint="f8f4c796e8322326086dad520e51d6b95cd5c97c832cdbd17b43ece107c41910",
    ),
    "digits": DatasetInfo(
        name="digits",
        train_size=1_297,
        validation_size=250,
        test_size=250,
        fingerprint="0f7b73c9fdbd1c0daa4cf2c9252c9dd325dcfa8ec5c58b6e9b405f5c18eb2ebf",
    ),
}


def inspect_dataset(source: str | Path) -> DatasetInfo:
    """Describe a dataset; named datasets are described from pinned values, without reading a file.

    Args:
        source: "mnist", "digits" or a folder of four IDX files. A Path is always a folder.

    Raises:
        DataError: The folder does not hold a valid dataset.
    """
    named = NAMED_DATASETS.get(source) if isinstance(source, str) else None
    return named or _info(_read_folder(source))


def load_dataset(source: str | Path, *, mirrors: Sequence[str] = MIRRORS, progress: Progress | None = None) -> Dataset:
    """Load and check a dataset; download MNIST if it is not found.

    Args:
        source: "mnist", "digits" or a folder of four IDX files.
        mirrors: Addresses to download MNIST from, in the order in which to try them.
        progress: Called during a download with the file name, the bytes so far and the total, or None if unknown.

    Raises:
        DataError: The files are missing or damaged.
        DigestMismatch: A file in MNIST's folder is not MNIST's.
        DownloadError: MNIST cannot be downloaded.
    """
    if source == "mnist":
        return _read_mnist(find_mnist() or _download_mnist(mirrors, progress))
    return _load_digits() if source == "digits" else _read_folder(source)


def verify_dataset(source: str | Path) -> DatasetInfo:
    """Read and check a whole dataset, and describe it; nothing is downloaded.

    Args:
        source: "mnist", "digits" or a folder of four IDX files.

    Raises:
        DataError: The files are missing or damaged.
        DatasetNotFound: MNIST is in none of the folders searched.
        DigestMismatch: A file in MNIST's folder is not MNIST's.
    """
    if source != "mnist":
        return _info(load_dataset(source))
    folder = find_mnist()
    if folder is None:
        searched = ", ".join(map(str, mnist_folders(os.environ)))
        raise DatasetNotFound(f"mnist: not found in {searched}; download it, or set $MNISTJOBS_DATA_DIR to its folder")
    return _info(_read_mnist(folder))


def fetch_mnist(*, mirrors: Sequence[str] = MIRRORS, progress: Progress | None = None) -> Path:
    """Download MNIST if it is not found, and check it.

    Args:
        mirrors: Addresses to download from, in the order in which to try them.
        progress: Called during a download with the file name, the bytes so far and the total, or None if unknown.

    Returns:
        The folder that holds MNIST's four files.

    Raises:
        DataError: A file is damaged.
        DigestMismatch: A file in MNIST's folder is not MNIST's.
        DownloadError: MNIST cannot be downloaded.
    """
    folder = find_mnist() or _download_mnist(mirrors, progress)
    _read_mnist(folder)
    return folder


def _download_mnist(mirrors: Sequence[str], progress: Progress | None) -> Path:
    folders = mnist_folders(os.environ)
    folder = next(filter(_is_writable, folders), None)
    if folder is None:
        raise DownloadError(f"mnist: cannot write to {', '.join(map(str, folders))}; set $MNISTJOBS_DATA_DIR")
    files = {f"{name}.gz": digest for name, digest in MNIST_SHA256.items()}
    download(files, folder, mirrors=mirrors, progress=progress)
    return folder


def _is_writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)


def _read_mnist(folder: Path) -> Dataset:
    _, files = find_mnist_files(folder) or (folder, {})
    train, test = (_read_pair(folder, files, prefix, MNIST_SHA256) for prefix in ("train", "t10k"))
    # The digests of the four files determine the fingerprint, so the splits need not be hashed as well.
    return Dataset("mnist", NAMED_DATASETS["mnist"].fingerprint, *_split("mnist", train, test))


def _read_folder(source: str | Path) -> Dataset:
    folder, name = path_of(source), printable_path(source)
    if not os.path.isdir(folder) and not names_a_set(folder):
        missing = "is not a folder" if os.path.exists(folder) else describe_missing(folder) or "does not exist"
        raise DataError(f"{name}: {missing}; a dataset is mnist, digits or a folder of four IDX files")
    files = find_files(folder)
    splits = _split(name, *(_read_pair(folder, files, prefix) for prefix in ("train", "t10k")))
    return Dataset(name, _fingerprint(splits), *splits)


def _read_pair(folder: Path, files: Files, prefix: str, digests: Mapping[str, str] | None = None) -> Split:
    """Read a file of images and its file of labels, and check their digests if given."""
    images = read_file(folder, files, f"{prefix}-images-idx3-ubyte", digests)
    labels = read_file(folder, files, f"{prefix}-labels-idx1-ubyte", digests)
    if len(images) != len(labels):
        found = f"{len(images):,} images and {len(labels):,} labels in the {prefix} files"
        raise DataError(f"{folder}: has {found}; the numbers must be equal")
    return Split(images, labels)


def read_file(folder: Path, files: Files, name: str, digests: Mapping[str, str] | None) -> UInt8Array:
    """Read the first of the files of one name that is right; where none is, raise the error of the likeliest."""
    paths = files.get(name, ())
    if not paths:
        expected = ", ".join(MNIST_SHA256)
        found = describe_content(folder)
        raise DataError(f"{folder}: has no {name}; {found}; a dataset folder holds {expected}, each gzipped or not")
    errors = []
    for path in paths:
        try:
            return _read_one(path, name, digests)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def _read_one(path: Path, name: str, digests: Mapping[str, str] | None) -> UInt8Array:
    array, digest = read_idx(path)
    if digests and digest != digests[name]:
        problem = f"the sha256 of its decompressed bytes is {digest}, MNIST's is {digests[name]}"
        raise DigestMismatch(f"{path}: {problem}; delete it and download MNIST again")
    kind = "images" if array.ndim == 2 else "labels"
    if kind not in name:
        raise DataError(f"{path}: holds {kind}; {name.split('-')[1]} are expected")
    return array


def _split(source: str | Path, train: Split, test: Split) -> tuple[Split, Split, Split]:
    """Split into the first 5/6 and the next 1/12 of the training file, and every second image of the test file."""
    end = len(train.labels) * 5 // 6
    splits = (
        _take(train, slice(end)),
        _take(train, slice(end, end + len(train.labels) // 12)),
        _take(test, TEST_IMAGES),
    )
    if not all(len(split.labels) for split in splits):
        found = f"{len(train.labels)} training images and {len(test.labels)} test images"
        raise DataError(f"{source}: has only {found}; at least 12 and 1 are required")
    return splits


def _take(split: Split, index: slice | npt.NDArray[np.intp]) -> Split:
    return Split(split.images[index], split.labels[index])


def _fingerprint(splits: Sequence[Split]) -> str:
    """Hash the names, shapes and bytes of train, validation and test, in this order."""
    digest = hashlib.sha256()
    for name, split in zip(("train", "validation", "test"), splits, strict=True):
        for kind, array in (("images", split.images), ("labels", split.labels)):
            digest.update(f"{name} {kind} {'x'.join(map(str, array.shape))}\n".encode())
            digest.update(array.data)
    return digest.hexdigest()


def _load_digits() -> Dataset:
    images, labels = read_digits()
    splits = tuple(_take(Split(images, labels), index) for index in split_digits(labels))
    found, pinned = _fingerprint(splits), NAMED_DATASETS["digits"].fingerprint
    if found != pinned:
        problem = f"scikit-learn's data has the fingerprint {found}, not {pinned}"
        raise DataError(f"digits: {problem}; install another version of scikit-learn")
    return Dataset("digits", found, *splits)


def _info(dataset: Dataset) -> DatasetInfo:
    return DatasetInfo(
        name=dataset.name,
        train_size=len(dataset.train.labels),
        validation_size=len(dataset.validation.labels),
        test_size=len(dataset.test.labels),
        fingerprint=dataset.fingerprint,
    )
