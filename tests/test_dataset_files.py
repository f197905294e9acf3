"""Datasets as other tools leave them: found where the content is right, else described."""

import gzip
import shutil
import unicodedata
from pathlib import Path

import pytest
from support.command_line import GRID, run, said, write_grid
from support.idx_files import idx_contents, write_idx_folder

from mnist_core.data.datasets import Dataset, load_dataset, verify_dataset
from mnist_core.data.files import find_mnist
from mnist_core.errors import DataError, DigestMismatch
from mnist_core.paths import path_of, printable_path

NAME = "train-images-idx3-ubyte"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + 64 * b"4" + b"\n"
NFC, NFD = unicodedata.normalize("NFC", "données"), unicodedata.normalize("NFD", "données")
pytestmark = pytest.mark.usefixtures("figures_drawn_once")


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as raised:
        load_dataset(folder)
    return str(raised.value)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    write_idx_folder(folder := tmp_path_factory.mktemp("plain"))
    return load_dataset(folder)


def write_emnist(folder: Path, *names: str) -> None:
    """Write datasets with EMNIST's file names into one folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        for each, content in idx_contents(seed=seed).items():
            path = folder / f"emnist-{name}-{each.replace('t10k', 'test')}.gz"
            path.write_bytes(gzip.compress(content, mtime=0))


# Layouts


@pytest.mark.parametrize("layout", ["raw", "MNIST/raw", "FashionMNIST/raw", "gzip"])
def test_the_folder_that_torchvision_was_told_is_understood(tmp_path: Path, layout: str, expected: Dataset) -> None:
    write_idx_folder(tmp_path / layout)
    write_idx_folder(tmp_path / layout, gzipped=False)  # torchvision keeps both
    assert load_dataset(tmp_path).fingerprint == expected.fingerprint


def test_of_several_datasets_below_a_folder_one_has_to_be_named(tmp_path: Path, expected: Dataset) -> None:
    for name in ("KMNIST", "FashionMNIST"):
        write_idx_folder(tmp_path / name / "raw")
    message = refusal(tmp_path)
    assert "holds several datasets: FashionMNIST/raw, KMNIST/raw; name one of them, such as " in message
    assert load_dataset(Path(message.rpartition("such as ")[2])).fingerprint == expected.fingerprint


def test_emnists_names_are_understood(tmp_path: Path, expected: Dataset) -> None:
    write_emnist(tmp_path / "EMNIST" / "raw", "digits")
    assert load_dataset(tmp_path / "EMNIST" / "raw").fingerprint == expected.fingerprint


def test_of_emnists_datasets_one_is_named_by_its_prefix(tmp_path: Path, expected: Dataset) -> None:
    write_emnist(tmp_path, "digits", "mnist")
    message = refusal(tmp_path)
    assert "holds several datasets: emnist-digits, emnist-mnist; name one of them, such as " in message
    assert load_dataset(Path(message.rpartition("such as ")[2])).fingerprint == expected.fingerprint
    assert "emnist-letters: does not exist" in refusal(tmp_path / "emnist-letters")


def test_files_in_folders_of_their_own_names_are_found(tmp_path: Path, expected: Dataset) -> None:
    for name, content in idx_contents().items():
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_bytes(content)
    assert load_dataset(tmp_path).fingerprint == expected.fingerprint


def test_a_file_system_that_knows_only_capitals_is_understood(tmp_path: Path, expected: Dataset) -> None:
    for name, content in idx_contents().items():
        (tmp_path / name.upper()).write_bytes(content)
    assert load_dataset(tmp_path).fingerprint == expected.fingerprint


@pytest.mark.parametrize(("stored", "typed"), [(NFC, NFD), (NFD, NFC)])
def test_a_folder_whose_name_looks_the_same_is_found(
    tmp_path: Path, stored: str, typed: str, expected: Dataset
) -> None:
    write_idx_folder(tmp_path / stored / NFC)
    assert load_dataset(tmp_path / typed / NFC).fingerprint == expected.fingerprint


# Content


@pytest.mark.parametrize("bad", [b"", b"\x1f\x8b\x08", gzip.compress(idx_contents()[NAME])[:-20], LFS, b"<html>"])
def test_a_whole_file_beside_a_bad_archive_is_used(tmp_path: Path, bad: bytes, expected: Dataset) -> None:
    write_idx_folder(tmp_path, gzipped=False)
    (tmp_path / f"{NAME}.gz").write_bytes(bad)
    assert load_dataset(tmp_path).fingerprint == expected.fingerprint


@pytest.mark.parametrize(
    ("content", "fragment"),
    [
        (
            LFS + b"size 9912422\n",
            "is a pointer of Git LFS to the file, which has 9,912,422 bytes; fetch it with `git lfs",
        ),
        (
            b"/annex/objects/SHA256E-s9912422--44.gz\n",
            "is a pointer of git-annex to the file; fetch it with `git annex",
        ),
        (b"PK\x03\x04rest", "is a zip archive; unpack it"),
        (b"", "is empty; IDX images begin with 00 00 08 03"),
    ],
)
def test_other_content_of_a_file_is_described(tmp_path: Path, content: bytes, fragment: str) -> None:
    write_idx_folder(tmp_path)
    (tmp_path / f"{NAME}.gz").write_bytes(content)
    assert f"{NAME}.gz: {fragment}" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("target", "advice"), [("/mnt/gone", "replace it"), (".git/annex/objects/x", "fetch it with `git annex get`")]
)
def test_a_link_that_leads_nowhere_is_described(tmp_path: Path, target: str, advice: str) -> None:
    write_idx_folder(tmp_path)
    (tmp_path / f"{NAME}.gz").unlink()
    (tmp_path / f"{NAME}.gz").symlink_to(target)
    assert refusal(tmp_path).endswith(f"is a link to {target!r}, which does not exist; {advice}")
    (tmp_path / "folder").symlink_to("gone")
    assert "folder: is a link to 'gone', which does not exist; a dataset is" in refusal(tmp_path / "folder")


def test_a_folder_of_something_else_is_described(tmp_path: Path) -> None:
    assert "has no train-images-idx3-ubyte; it is empty; a dataset folder holds" in refusal(tmp_path)
    for name in ("a.png", "b.png", "c.png", "d.png", "e.png", "f.png"):
        (tmp_path / name).touch()
    assert "; it holds a.png, b.png, c.png, d.png and 2 more; a dataset" in refusal(tmp_path)


# MNIST


@pytest.fixture
def mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of MNIST's files, of which none is set by the environment."""
    folder = find_mnist()
    if folder is None:
        pytest.skip("MNIST is not on this machine")
    monkeypatch.setenv("MNISTJOBS_DATA_DIR", str(tmp_path / "data"))
    return folder


def test_mnist_is_found_where_torchvision_puts_it(mnist: Path, tmp_path: Path) -> None:
    raw = tmp_path / "data" / "MNIST" / "raw"
    shutil.copytree(mnist, raw)
    write_idx_folder(tmp_path / "data" / "FashionMNIST" / "raw")
    assert find_mnist() == raw
    assert verify_dataset("mnist").train_size == 50_000
    for path in raw.glob("*-images-*"):
        path.with_name(path.name.removesuffix(".gz").replace("-idx", ".idx")).write_bytes(b"not whole")
    assert verify_dataset("mnist").train_size == 50_000
    for path in raw.glob("*.gz"):
        path.write_bytes(gzip.compress(idx_contents()[path.name.removesuffix(".gz")]))
    with pytest.raises(DigestMismatch):
        verify_dataset("mnist")


def test_pointers_do_not_hide_a_whole_mnist(mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    for name in idx_contents():
        (tmp_path / "data" / f"{name}.gz").write_bytes(LFS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shutil.copytree(mnist, tmp_path / "mnistjobs" / "mnist")
    assert find_mnist() != tmp_path / "data"
    assert verify_dataset("mnist").train_size == 50_000


# Paths of any bytes


def test_a_path_of_any_bytes_is_written_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a\udcff\udc80é"
    path.mkdir()
    text = printable_path(path)
    text.encode()
    assert (text.endswith("a\\udcff\\udc80é"), path_of(text), path_of(path)) == (True, path, path)


def test_a_study_in_a_folder_of_any_bytes_is_trained_and_verified(tmp_path: Path) -> None:
    folder = tmp_path / "x\udcff<&\"'\n\x1b"
    folder.mkdir()
    grid, store = write_grid(folder, GRID.replace("[0, 1, 2]", "[0]")), folder / "results"
    assert "1 to train" in said("plan", grid, "--store", store)
    said("submit", grid, "--store", store, "--in-process")
    assert "1 found in" in said("plan", grid, "--store", store)
    for words in (["summary", "tiny"], ["report", "tiny"], ["verify", "tiny", "--rerun", 1], ["compact"], ["list"]):
        assert run(*words, "--store", store).code == 0, words
    said("export", "tiny", "--store", store, "--weights", folder / "weights")
    (page,) = store.glob("jobs/*/report.html")
    assert "x\\udcff&lt;&amp;" in page.read_text(encoding="utf-8")
