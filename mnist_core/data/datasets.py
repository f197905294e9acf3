"""Find, read, split and fingerprint datasets: MNIST, scikit-learn's digits, or a folder of four IDX files.

Letters in shapes: N images, D = 784 pixels.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_core.data.download import MIRRORS, Progress, download
from mnist_core.data.idx import SIDE, UInt8Array, read_idx_and_digest
from mnist_core.errors import DataError, DownloadError, MissingDatasetError

DIGITS = 10
PIXELS = SIDE * SIDE
_PACKAGE = Path(str(files("mnist_core")))
# name -> sha256 of MNIST's decompressed bytes. The names are those of the four files of any dataset folder.
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
        # Ray hands out read-only arrays: what would fail there fails everywhere.
        for field in ("images", "labels"):
            array = np.ascontiguousarray(getattr(self, field)).view()
            array.flags.writeable = False
            object.__setattr__(self, field, array)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Hold the three splits of a dataset, and the sha256 over them."""

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


# Pinned, so that a grid can be planned before MNIST is downloaded and without importing scikit-learn.
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
    """Describe a dataset: at once where it is named, by reading it where it is a folder.

    Raises DataError where the folder does not hold a dataset.
    """
    named = NAMED_DATASETS.get(source) if isinstance(source, str) else None
    return named or _info(_read_folder(source))


def load_dataset(source: str | Path, *, mirrors: Sequence[str] = MIRRORS, progress: Progress | None = None) -> Dataset:
    """Load "mnist", "digits" or a folder of four IDX files; MNIST is downloaded where it is not found.

    Raises DataError where the data are damaged, DownloadError where they cannot be downloaded.
    """
    if source == "mnist":
        return _read_mnist(find_mnist() or _download_mnist(mirrors, progress))
    return _load_digits() if source == "digits" else _read_folder(source)


def verify_dataset(source: str | Path) -> DatasetInfo:
    """Read a dataset from disk, check all of it and describe it.

    Raises DataError where it is damaged, MissingDatasetError where mnist is not there; nothing is downloaded.
    """
    if source != "mnist":
        return _info(load_dataset(source))
    folder = find_mnist()
    if folder is None:
        places = ", ".join(map(str, mnist_folders(os.environ)))
        raise MissingDatasetError(f"mnist: not found in {places}")
    return _info(_read_mnist(folder))


def fetch_mnist(*, mirrors: Sequence[str] = MIRRORS, progress: Progress | None = None) -> Path:
    """Download MNIST unless it is there already, check it and return its folder."""
    folder = find_mnist() or _download_mnist(mirrors, progress)
    _read_mnist(folder)
    return folder


def find_mnist() -> Path | None:
    """Find the folder that holds MNIST's four files; their content is not looked at."""
    for folder in mnist_folders(os.environ):
        if all(_locate(folder, name) for name in MNIST_SHA256):
            return folder
    return None


def mnist_folders(environ: Mapping[str, str], package: Path = _PACKAGE) -> list[Path]:
    """List where MNIST may lie, in search order: $MNISTJOBS_DATA_DIR, the checkout, the user's cache."""
    chosen = environ.get("MNISTJOBS_DATA_DIR")
    checkout = package.resolve().parent
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [
        *([Path(os.path.expanduser(chosen))] if chosen else []),
        *([checkout / "data" / "mnist"] if (checkout / "pyproject.toml").is_file() else []),
        Path(os.path.expanduser(cache)) / "mnistjobs" / "mnist",
    ]


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


def _locate(folder: Path, name: str) -> Path | None:
    dotted = name.replace("-idx", ".idx")  # as some unpackers spell it
    spellings = (f"{name}.gz", name, f"{dotted}.gz", dotted)
    # os.path: unlike Path.is_file, it takes a folder that may not be read for one without the file.
    return next((folder / spelling for spelling in spellings if os.path.isfile(folder / spelling)), None)


def _read_mnist(folder: Path) -> Dataset:
    train, test = (_read_pair(folder, prefix, MNIST_SHA256) for prefix in ("train", "t10k"))
    # The files are MNIST's to the byte, so the pinned fingerprint is theirs: no need to hash them again.
    return Dataset("mnist", NAMED_DATASETS["mnist"].fingerprint, *_split("mnist", train, test))


def _read_folder(source: str | Path) -> Dataset:
    folder = Path(os.path.expanduser(source))
    if not os.path.isdir(folder):
        problem = "is a file" if os.path.exists(folder) else "does not exist"
        raise DataError(f"{source}: {problem}; a dataset is mnist, digits or a folder of four IDX files")
    splits = _split(source, _read_pair(folder, "train"), _read_pair(folder, "t10k"))
    return Dataset(str(source), _fingerprint(splits), *splits)


def _read_pair(folder: Path, prefix: str, digests: Mapping[str, str] | None = None) -> Split:
    """Read one images file and its labels whole; check them against the digests, if any."""
    images = _read_file(folder, f"{prefix}-images-idx3-ubyte", digests)
    labels = _read_file(folder, f"{prefix}-labels-idx1-ubyte", digests)
    if len(images) != len(labels):
        found = f"{len(images):,} images and {len(labels):,} labels in the {prefix} files"
        raise DataError(f"{folder}: has {found}; there must be as many of one as of the other")
    return Split(images, labels)


def _read_file(folder: Path, name: str, digests: Mapping[str, str] | None) -> UInt8Array:
    path = _locate(folder, name)
    if path is None:
        wanted = ", ".join(MNIST_SHA256)
        raise DataError(f"{folder}: has no {name}; a dataset folder holds {wanted}, each gzipped or not")
    array, digest = read_idx_and_digest(path)
    if digests and digest != digests[name]:
        problem = f"the sha256 of its decompressed bytes is {digest}, MNIST's is {digests[name]}"
        raise DataError(f"{path}: {problem}; delete it and run `mnistjobs data fetch mnist`")
    kind = "images" if array.ndim == 2 else "labels"
    if kind not in name:
        raise DataError(f"{path}: holds {kind}; {name.split('-')[1]} belong here")
    return array


def _split(source: str | Path, train: Split, test: Split) -> tuple[Split, Split, Split]:
    """Split by the house rule: train, validation and test; what is left over of the files is not used."""
    end = len(train.labels) * 5 // 6
    splits = (
        _take(train, slice(end)),
        _take(train, slice(end, end + len(train.labels) // 12)),
        # Every second, because the first half of MNIST's test file is harder than the second.
        _take(test, slice(None, None, 2)),
    )
    if not all(len(split.labels) for split in splits):
        found = f"{len(train.labels)} training images and {len(test.labels)} test images"
        raise DataError(f"{source}: has only {found}; at least 12 and 1 are needed")
    return splits


def _take(split: Split, which: slice | npt.NDArray[np.intp]) -> Split:
    return Split(split.images[which], split.labels[which])


def _fingerprint(splits: Sequence[Split]) -> str:
    """Hash names, shapes and bytes of train, validation and test, in this order."""
    digest = hashlib.sha256()
    for name, split in zip(("train", "validation", "test"), splits, strict=True):
        for kind, array in (("images", split.images), ("labels", split.labels)):
            digest.update(f"{name} {kind} {'x'.join(map(str, array.shape))}\n".encode())
            digest.update(array.data)
    return digest.hexdigest()


def _read_digits() -> UInt8Array:
    """Read the file behind sklearn.datasets.load_digits, (N, 64 pixels and a label): importing that takes a second."""
    found = find_spec("sklearn")
    if found is None or found.origin is None:
        raise DataError("digits: scikit-learn, which carries them, is not installed")
    path = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        return np.loadtxt(path, delimiter=",", dtype=np.uint8)
    except (OSError, ValueError) as error:
        raise DataError(f"digits: {path}: {error}; install another version of scikit-learn") from error


def _load_digits() -> Dataset:
    rows = _read_digits()
    pixels, labels = rows[:, :-1].astype(np.float64), rows[:, -1]
    small = np.rint(pixels * 255 / 16).astype(np.uint8).reshape(-1, 8, 8)
    enlarged = small.repeat(3, axis=1).repeat(3, axis=2)  # (N, 24, 24)
    images = np.pad(enlarged, ((0, 0), (2, 2), (2, 2))).reshape(-1, SIDE * SIDE)  # (N, D)
    # The file goes writer by writer, and its last writers are harder. Evenly spaced images of each digit give
    # every split all writers and all digits, by a rule that no generator's version can change.
    by_digit = np.argsort(labels, kind="stable")
    held_out = np.arange(250) * len(labels) // 250
    validation, test = by_digit[held_out], by_digit[held_out + 3]
    train = np.setdiff1d(by_digit, np.concatenate([validation, test]))
    whole = Split(images, labels.astype(np.uint8))
    splits = tuple(_take(whole, which) for which in (train, validation, test))
    found, pinned = _fingerprint(splits), NAMED_DATASETS["digits"].fingerprint
    if found != pinned:
        problem = f"scikit-learn's data have the fingerprint {found}, not {pinned}"
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
