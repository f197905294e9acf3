"""Datasets: where they are found, how they are split, and what their fingerprint covers."""

import gzip
import os
import pickle
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from support.idx_files import idx_bytes, idx_contents, write_idx_folder

import mnist_core
from mnist_core.data.datasets import (
    MNIST_SHA256,
    NAMED_DATASETS,
    Dataset,
    fetch_mnist,
    inspect_dataset,
    load_dataset,
    verify_dataset,
)
from mnist_core.data.files import find_mnist, mnist_folders
from mnist_core.errors import DataError, DigestMismatch

NOWHERE = "http://127.0.0.1:9/"  # the discard port, on which nothing listens
MNIST_HERE = [Path(os.environ.get("MNISTJOBS_DATA_DIR", "")) / f"{name}.gz" for name in MNIST_SHA256]
needs_mnist = pytest.mark.skipif(
    not all(path.is_file() for path in MNIST_HERE), reason="$MNISTJOBS_DATA_DIR does not hold the MNIST files"
)


def test_a_folder_is_split_by_position(tmp_path: Path) -> None:
    write_idx_folder(tmp_path, train_count=24, test_count=5)
    contents = idx_contents(train_count=24, test_count=5)
    train = np.frombuffer(contents["train-images-idx3-ubyte"], np.uint8, offset=16).reshape(24, 784)
    test = np.frombuffer(contents["t10k-images-idx3-ubyte"], np.uint8, offset=16).reshape(5, 784)
    dataset = load_dataset(tmp_path)
    np.testing.assert_array_equal(dataset.train.images, train[:20])
    np.testing.assert_array_equal(dataset.validation.images, train[20:22])
    np.testing.assert_array_equal(dataset.test.images, test[[0, 2, 4]])
    assert dataset.validation.labels.tolist() == [0, 1]
    assert dataset.test.labels.tolist() == [0, 2, 4]


def test_a_folder_is_named_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_idx_folder(tmp_path / "digits")
    monkeypatch.chdir(tmp_path)
    assert inspect_dataset(Path("digits")).name == "digits"
    assert inspect_dataset(Path("digits")).train_size == 20
    assert inspect_dataset("digits").train_size == 1297


def test_fingerprint_ignores_folder_gzip_and_spelling(tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "zipped")
    write_idx_folder(tmp_path / "plain", gzipped=False)
    (tmp_path / "dotted").mkdir()
    for path in (tmp_path / "plain").iterdir():
        (tmp_path / "dotted" / path.name.replace("-idx", ".idx")).write_bytes(path.read_bytes())
    found = {inspect_dataset(tmp_path / folder).fingerprint for folder in ("zipped", "plain", "dotted")}
    assert len(found) == 1


def test_fingerprint_covers_pixels_labels_and_sizes(tmp_path: Path) -> None:
    def fingerprint(name: str = "", position: int = -1, **counts: int) -> str:
        write_idx_folder(tmp_path, gzipped=False, **counts)
        if name:
            content = bytearray((tmp_path / name).read_bytes())
            content[position] ^= 1
            (tmp_path / name).write_bytes(content)
        return inspect_dataset(tmp_path).fingerprint

    pixel = fingerprint("train-images-idx3-ubyte", 16)
    label = fingerprint("train-labels-idx1-ubyte", 8)
    assert len({fingerprint(), pixel, label, fingerprint(test_count=8), fingerprint(train_count=36)}) == 5


def arrays_of(dataset: Dataset) -> list[np.ndarray]:
    splits = (dataset.train, dataset.validation, dataset.test)
    return [array for split in splits for array in (split.images, split.labels)]


def test_arrays_stay_read_only_after_pickling(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    dataset = load_dataset(tmp_path)
    buffers: list[pickle.PickleBuffer] = []
    small = pickle.dumps(dataset, protocol=5, buffer_callback=buffers.append)
    copy = pickle.loads(small, buffers=[bytearray(buffer.raw()) for buffer in buffers])  # noqa: S301 - our own bytes
    assert len(buffers) == 6
    assert sum(buffer.raw().nbytes for buffer in buffers) == (20 + 2 + 3) * 785
    for before, after in zip(arrays_of(dataset), arrays_of(copy), strict=True):
        np.testing.assert_array_equal(before, after, strict=True)
        assert not before.flags.writeable
        assert not after.flags.writeable


def test_verify_reports_the_sizes_of_a_good_folder(tmp_path: Path) -> None:
    write_idx_folder(tmp_path, train_count=120, test_count=11)
    info = verify_dataset(tmp_path)
    assert (info.train_size, info.validation_size, info.test_size) == (100, 10, 6)
    assert info == inspect_dataset(tmp_path)


@pytest.mark.parametrize(("train_count", "test_count"), [(11, 6), (0, 6), (24, 0)])
def test_a_folder_with_too_few_images_is_refused(tmp_path: Path, train_count: int, test_count: int) -> None:
    write_idx_folder(tmp_path, train_count, test_count)
    found = f"has only {train_count} training images and {test_count} test images"
    with pytest.raises(DataError, match=f"{found}; at least 12 and 1 are required"):
        load_dataset(tmp_path)


def test_unequal_numbers_of_images_and_labels_are_refused(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").write_bytes(idx_bytes(np.zeros(23, np.uint8)))
    with pytest.raises(DataError, match="has 24 images and 23 labels in the train files"):
        load_dataset(tmp_path)


def test_exchanged_images_and_labels_are_refused(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    labels = tmp_path / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes((tmp_path / "t10k-images-idx3-ubyte.gz").read_bytes())
    with pytest.raises(DataError, match="holds images; labels are expected"):
        load_dataset(tmp_path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_idx_folder(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(
        DataError, match=r"has no t10k-labels-idx1-ubyte; it holds t10k-.*; a dataset folder holds train-images"
    ):
        verify_dataset(tmp_path)


def test_an_unknown_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MNIST: does not exist; a dataset is mnist, digits or a folder"):
        load_dataset(str(tmp_path / "MNIST"))
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: is not a folder; a dataset is"):
        inspect_dataset(tmp_path / "file")


def test_digits_are_enlarged_and_padded() -> None:
    # The file behind sklearn.datasets.load_digits, whose import takes two seconds.
    rows = np.loadtxt(Path(find_spec("sklearn").origin).parent / "datasets/data/digits.csv.gz", delimiter=",")  # type: ignore[union-attr, arg-type]
    dataset = load_dataset("digits")
    image = dataset.validation.images[0].reshape(28, 28)
    original = rows[np.flatnonzero(rows[:, -1] == 0)[0], :-1].reshape(8, 8)
    assert dataset.validation.labels[0] == 0
    assert image[[0, 1, 26, 27]].sum() == image[:, [0, 1, 26, 27]].sum() == 0
    np.testing.assert_array_equal(image[2:26:3, 2:26:3], np.rint(original * 255 / 16))
    np.testing.assert_array_equal(image[4:26:3, 3:26:3], np.rint(original * 255 / 16))


def test_digits_splits_are_disjoint_and_balanced() -> None:
    dataset = load_dataset("digits")
    for split in (dataset.validation, dataset.test):
        counts = np.bincount(split.labels, minlength=10)
        assert counts.min() >= 24
        assert counts.max() <= 26
    images = np.concatenate([dataset.train.images, dataset.validation.images, dataset.test.images])
    assert len(np.unique(images, axis=0)) == 1797


def test_pinned_values_of_digits_match_the_data() -> None:
    assert verify_dataset("digits") == inspect_dataset("digits")


def test_describing_named_datasets_imports_nothing_slow() -> None:
    code = (
        "import sys; from mnist_core.data.datasets import inspect_dataset as i; i('mnist'), i('digits');"
        "sys.exit(bool({'sklearn', 'scipy', 'torch'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@needs_mnist
@pytest.mark.mnist
def test_pinned_values_of_mnist_match_the_files() -> None:
    by_path = inspect_dataset(MNIST_HERE[0].parent)
    assert replace(by_path, name="mnist") == NAMED_DATASETS["mnist"]


@needs_mnist
@pytest.mark.mnist
def test_mnist_is_split_as_the_study_requires() -> None:
    dataset = load_dataset("mnist", mirrors=[NOWHERE])
    assert verify_dataset("mnist") == NAMED_DATASETS["mnist"]
    assert dataset.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert dataset.test.labels[:4].tolist() == [7, 1, 4, 4]
    assert (len(dataset.train.images), len(dataset.validation.images)) == (50_000, 5_000)


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MNISTJOBS_DATA_DIR", str(tmp_path / "chosen"))
    return tmp_path / "chosen"


def test_mnist_is_found_in_the_chosen_folder_first(data_dir: Path) -> None:
    write_idx_folder(data_dir)
    assert find_mnist() == data_dir


def test_foreign_files_are_refused_with_both_digests(data_dir: Path) -> None:
    write_idx_folder(data_dir)
    expected = MNIST_SHA256["train-images-idx3-ubyte"]
    with pytest.raises(DigestMismatch, match=f"-images.*bytes is [0-9a-f]{{64}}, MNIST's is {expected}; delete"):
        load_dataset("mnist")
    with pytest.raises(DigestMismatch, match="download MNIST again"):
        fetch_mnist()
    with pytest.raises(DigestMismatch, match="MNIST's is"):
        verify_dataset("mnist")


def test_a_damaged_file_of_mnist_is_named(data_dir: Path) -> None:
    write_idx_folder(data_dir)
    (data_dir / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(b"<html>"))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz: is a web page"):
        verify_dataset("mnist")


def test_folders_are_searched_in_order(tmp_path: Path) -> None:
    environ = {"MNISTJOBS_DATA_DIR": "/chosen", "XDG_CACHE_HOME": "/cache"}
    (tmp_path / "pyproject.toml").touch()
    expected = [Path("/chosen"), tmp_path / "data/mnist", Path("/cache/mnistjobs/mnist")]
    assert mnist_folders(environ, package=tmp_path / "mnist_core") == expected


def test_site_packages_is_not_taken_for_a_checkout(tmp_path: Path) -> None:
    expected = [Path.home() / ".cache/mnistjobs/mnist"]
    assert mnist_folders({"MNISTJOBS_DATA_DIR": ""}, package=tmp_path / "mnist_core") == expected


def message_when_installed(tmp_path: Path, call: str, **environ: Path) -> str:
    """Run a call with the package copied out of this checkout, which may hold MNIST; return its DataError."""
    shutil.copytree(Path(mnist_core.__file__).parent, tmp_path / "site" / "mnist_core")
    code = (
        "from mnist_core import errors\n"
        "from mnist_core.data import datasets\n"
        f"try: datasets.{call}\n"
        "except errors.DataError as error: print(type(error).__name__, error)"
    )
    environment = {"PYTHONPATH": tmp_path / "site", "XDG_CACHE_HOME": tmp_path / "cache", **environ}
    return subprocess.check_output([sys.executable, "-c", code], env=environment, cwd=tmp_path, text=True)


def test_verify_lists_the_folders_and_downloads_nothing(tmp_path: Path) -> None:
    message = message_when_installed(tmp_path, "verify_dataset('mnist')", MNISTJOBS_DATA_DIR=tmp_path / "x")
    folders = f"{tmp_path}/x, {tmp_path}/cache/mnistjobs/mnist"
    advice = "download it, or set $MNISTJOBS_DATA_DIR to its folder"
    assert message == f"DatasetNotFound mnist: not found in {folders}; {advice}\n"
    assert not (tmp_path / "cache").exists()


def test_mnist_downloads_to_the_first_writable_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    call = f"load_dataset('mnist', mirrors=['{NOWHERE}'])"
    message = message_when_installed(tmp_path, call, MNISTJOBS_DATA_DIR=tmp_path / "file" / "below")
    assert message.startswith("NoMirrorDelivered train-images-idx3-ubyte.gz: no mirror delivered it")
    assert (tmp_path / "cache" / "mnistjobs" / "mnist").is_dir()


def test_unwritable_folders_are_listed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = message_when_installed(tmp_path, "fetch_mnist()", XDG_CACHE_HOME=tmp_path / "file")
    folder = f"{tmp_path}/file/mnistjobs/mnist"
    assert message == f"DownloadError mnist: cannot write to {folder}; set $MNISTJOBS_DATA_DIR\n"
