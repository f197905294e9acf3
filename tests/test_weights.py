"""Weights are read back to the bit, trial by trial, and never believed where their bytes are others."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from safetensors.numpy import load_file
from support.command_line import run
from support.job_records import trial_ids
from support.part_tables import make_old, part_table
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.errors import DamagedPartWarning, InputError, StoreError
from jobs.store.atomic_files import write_file
from jobs.store.compaction import compact
from jobs.store.job_models import Job
from jobs.store.layout import Store
from jobs.store.parts import read_parts, write_part
from jobs.store.weights import check_weights, read_weights, read_weights_of, write_weights

ID, OTHER = "ab" * 16, "cd" * 16
ONES = {"W1": np.ones(3, np.float32)}
DAY_S = 86_500  # and somewhat more


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Job]:
    return submit_tiny(tmp_path_factory.mktemp("submitted"))


@pytest.fixture
def study(submitted: tuple[Store, Job], tmp_path: Path) -> tuple[Store, Job]:
    """A copy of a store with two trials of one part."""
    store, job = submitted
    return Store(Path(shutil.copytree(store.root, tmp_path / "results"))), job


def path_of(store: Store, sha256: str) -> Path:
    return store.weights / f"{sha256}.safetensors"


def test_weights_are_read_back_to_the_bit(store: Store) -> None:
    weights: dict[str, NDArray[Any]] = {
        "W1": np.arange(6, dtype=np.float32).reshape(3, 2).T,
        "b1": np.zeros(3, np.float64),
    }
    sha256 = write_weights(store, {OTHER: ONES, ID: weights})
    found = read_weights(store, ID, sha256)
    assert found is not None
    assert found.keys() == weights.keys()
    for name, value in weights.items():
        assert found[name].dtype == value.dtype
        assert_array_equal(found[name], value)


def test_a_file_of_weights_is_named_by_its_bytes(store: Store) -> None:
    sha256 = write_weights(store, {ID: ONES, OTHER: ONES})
    (path,) = store.weights.iterdir()
    assert path == path_of(store, hashlib.sha256(path.read_bytes()).hexdigest())
    assert path == path_of(store, sha256)
    assert load_file(path).keys() == {f"{ID}/W1", f"{OTHER}/W1"}


def test_equal_weights_are_equal_bytes(store: Store) -> None:
    weights = {name: np.ones(3, np.float32) for name in "abc"}
    backwards = dict(reversed(weights.items()))
    trials = {ID: weights, OTHER: backwards}
    assert write_weights(store, trials) == write_weights(store, dict(reversed(trials.items())))


def test_missing_and_damaged_weights_are_none(store: Store) -> None:
    sha256 = write_weights(store, {ID: ONES})
    assert read_weights(store, OTHER, sha256) is None
    assert (read_weights(store, ID, "0" * 64), check_weights(store, "0" * 64)) == (None, "missing")
    path_of(store, sha256).write_bytes(path_of(store, sha256).read_bytes()[:-1] + b"\xff")
    assert (read_weights(store, ID, sha256), check_weights(store, sha256)) == (None, "damaged")
    path_of(store, OTHER * 2).mkdir()
    assert read_weights(store, ID, OTHER * 2) is None


def test_weights_of_many_trials_come_with_their_ids(store: Store) -> None:
    both = write_weights(store, {ID: ONES, OTHER: {"W1": np.zeros(3)}})
    alone = write_weights(store, {"ef" * 16: ONES})
    hashes = {ID: both, "ef" * 16: alone, OTHER: both, "12" * 16: "0" * 64}
    found = {
        trial: None if weights is None else weights["W1"].sum() for trial, weights in read_weights_of(store, hashes)
    }
    assert found == {ID: 3, OTHER: 0, "ef" * 16: 3, "12" * 16: None}


@pytest.mark.parametrize("name", ["../job", "", "0" * 63, "A" * 64, "/etc/passwd", "0" * 63 + "\n", "x" * 5000])
def test_a_hash_that_is_none_leads_nowhere(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match=r"weights: .* names no weights; allowed: 64 hexadecimal digits"):
        read_weights(store, ID, name)


@pytest.mark.parametrize("content", [b"", b"pickle", b"\xff" * 8, b"\x02" + bytes(7) + b"{}" + bytes(3)])
def test_a_file_that_is_no_weights_is_none_whatever_its_hash(store: Store, content: bytes) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    write_file(path_of(store, sha256), content)
    assert read_weights(store, ID, sha256) is None


# Weights that no part names


def test_compaction_removes_old_weights_that_no_part_names(store: Store) -> None:
    used, unused, young = (write_weights(store, {ID: {"W1": np.full(3, number)}}) for number in range(3))
    write_part(store, part_table([0], weights_sha256=used))
    (store.weights / f"{ID}.safetensors").write_bytes(b"of another version")
    for path in store.weights.iterdir():
        make_old(path, 60 if path.stem == young else DAY_S)
    assert compact(store).removed_weights == (f"{unused}.safetensors",)
    assert {path.stem for path in store.weights.iterdir()} == {used, young, ID}


def test_weights_that_a_compaction_orphans_go_when_they_are_old(store: Store) -> None:
    earlier, later = (write_weights(store, {ID: {"W1": np.full(3, number)}}) for number in range(2))
    for attempt, sha256 in enumerate((earlier, later), start=1):
        write_part(store, part_table([0], attempt=attempt, weights_sha256=sha256))
        make_old(path_of(store, sha256), DAY_S)
    assert compact(store).removed_weights == (f"{later}.safetensors",)


def test_nothing_is_removed_while_a_part_cannot_be_read(store: Store) -> None:
    sha256 = write_weights(store, {ID: ONES})
    name = write_part(store, part_table([0], weights_sha256=sha256))
    write_part(store, part_table([1]))
    whole = (store.parts / name).read_bytes()
    (store.parts / name).write_bytes(whole[:-1])
    make_old(path_of(store, sha256), DAY_S)
    assert compact(store).removed_weights == ()
    (store.parts / name).rename(store.parts.with_name("elsewhere"))
    store.quarantine.mkdir()
    (store.quarantine / name).write_bytes(whole)
    assert compact(store).removed_weights == ()
    (store.quarantine / name).unlink()
    assert compact(store).removed_weights == (f"{sha256}.safetensors",)


def test_weights_written_again_are_young_again(store: Store) -> None:
    sha256 = write_weights(store, {ID: ONES})
    make_old(path_of(store, sha256), DAY_S)
    write_weights(store, {ID: ONES})
    write_part(store, part_table([1]))
    assert compact(store).removed_weights == ()


# The API and the command


def test_the_weights_of_a_trial_are_read_by_its_id(study: tuple[Store, Job]) -> None:
    store, job = study
    weights = mnistjobs.read_weights(store.root, trial_ids(store, job)[0])
    assert {name: value.shape for name, value in weights.items()} == {
        "W1": (4, 784), "b1": (4,), "W2": (10, 4), "b2": (10,)
    }  # fmt: skip


def test_weights_that_cannot_be_read_are_one_error(study: tuple[Store, Job]) -> None:
    store, job = study
    with pytest.raises(InputError, match=f"trial '{ID}': is in no part of the store"):
        mnistjobs.read_weights(store.root, ID)
    shutil.rmtree(store.weights)
    first, _ = trial_ids(store, job)
    with pytest.raises(StoreError, match=f"trial {first}: its weights in .* are missing or damaged"):
        mnistjobs.read_weights(store.root, first)


def test_export_writes_a_file_per_trial(study: tuple[Store, Job], tmp_path: Path) -> None:
    store, job = study
    outcome = run("export", "tiny", "--weights", tmp_path / "new" / "weights", "--store", store.root)
    assert (outcome.code, outcome.out) == (0, f"Wrote 2 files to {tmp_path / 'new' / 'weights'}\n")
    for identity in trial_ids(store, job):
        exported = load_file(tmp_path / "new" / "weights" / f"{identity}.safetensors")
        expected = mnistjobs.read_weights(store.root, identity)
        assert exported.keys() == expected.keys()
        assert all(exported[name].tobytes() == expected[name].tobytes() for name in expected)
    assert len(list((tmp_path / "new" / "weights").iterdir())) == 2


def test_export_names_weights_that_are_lost_and_writes_the_others(study: tuple[Store, Job], tmp_path: Path) -> None:
    store, job = study
    first, _ = trial_ids(store, job)
    rows = read_parts(store, trial_ids(store, job)).table
    shutil.rmtree(store.parts)
    index = rows.schema.get_field_index("weights_sha256")
    for row, sha256 in enumerate(("0" * 64, rows["weights_sha256"][1].as_py())):
        write_part(store, rows.slice(row, 1).set_column(index, rows.schema.field(index), [[sha256]]))
    with pytest.raises(
        StoreError, match=f"the weights of trial {first} are missing or damaged; the others are exported"
    ):
        mnistjobs.export_weights(store.root, "tiny", tmp_path / "out")
    assert len(list((tmp_path / "out").iterdir())) == 1


def test_reading_weights_warns_of_damaged_parts(study: tuple[Store, Job]) -> None:
    store, _ = study
    damaged = store.parts / write_part(store, part_table([5]))
    damaged.write_bytes(b"damaged")
    with pytest.warns(DamagedPartWarning, match=f"part {damaged.name} is damaged"), pytest.raises(InputError):
        mnistjobs.read_weights(store.root, ID)
