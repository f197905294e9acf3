"""One task from start to end: what it writes, in which order, and what it refuses."""

import hashlib
import platform
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray
from support.tiny_study import DIVERGING, pack_of, run, run_trials, tiny_trial
from threadpoolctl import threadpool_info, threadpool_limits

from jobs.errors import StoreError
from jobs.run import task
from jobs.run.provenance import versions
from jobs.run.task import TaskContext, run_pack
from jobs.store.layout import Store
from jobs.store.parts import read_parts, stored_ids
from jobs.store.weights import read_weights
from mnist_core.backends.interface import Device
from mnist_core.data.datasets import Dataset
from mnist_core.devices import torch_threads
from mnist_core.errors import OutOfDeviceMemory
from mnist_core.training import EpochRecord, Snapshot, TrialResult, train
from mnist_core.trial import NUMERICS_VERSION, Trial, trial_id

EVERY_EPOCH = 0.0  # seconds between two reports of progress


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_task_writes_its_trials_as_one_part_and_says_how_they_ended(store: Store, tiny: Dataset) -> None:
    pack = pack_of(tiny, tiny_trial(0), tiny_trial(1, DIVERGING), attempt=2)
    (written,) = run(store, tiny, pack)
    assert written.statuses == ("diverged", "finished")  # as they ended
    assert written.host == socket.gethostname()
    assert [path.name for path in store.parts.iterdir()] == [written.part]
    assert stored_ids(store) == set(pack.trials)


def test_a_row_holds_the_trial_its_place_and_its_versions(store: Store, tiny: Dataset) -> None:
    before = datetime.now(UTC)
    run(store, tiny, pack_of(tiny, tiny_trial(), attempt=3))
    (row,) = read_parts(store, [trial_id(tiny_trial(), tiny.fingerprint)]).table.to_pylist()
    assert row["settings"] == asdict(tiny_trial())
    assert (row["dataset"], row["dataset_fingerprint"]) == (tiny.name, tiny.fingerprint)
    assert (row["attempt"], row["device"], row["host"]) == (3, "cpu", socket.gethostname())
    assert before <= row["finished_at"] <= datetime.now(UTC)
    assert versions().items() <= row.items()
    assert row["python_version"] == platform.python_version()
    assert row["torch_version"] == version("torch")


@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_stored_rows_are_the_trained_results(store: Store, tiny: Dataset, model: str) -> None:
    trial = tiny_trial(model=model)
    with torch_threads(1):  # as the task's
        *_, trained = train([trial], tiny)
    assert isinstance(trained, TrialResult)
    assert trained.confusion is not None
    (identity,) = run_trials(store, tiny, trial)
    (row,) = read_parts(store, [identity]).table.to_pylist()
    assert [epoch["train_loss"] for epoch in row["epochs"]] == [epoch.train_loss for epoch in trained.epochs]
    assert (row["test_loss"], row["test_accuracy"]) == (trained.test_loss, trained.test_accuracy)
    assert row["confusion"] == trained.confusion.ravel().tolist()
    weights = read_weights(store, identity, row["weights_sha256"])
    assert weights is not None
    assert weights.keys() == trained.weights.keys()
    for name, value in trained.weights.items():
        assert_array_equal(weights[name], value)


def weights_of(store: Store, identity: str) -> dict[str, NDArray[Any]]:
    """Read a trial's weights from the file that its row names."""
    (sha256,) = read_parts(store, [identity]).table["weights_sha256"].to_pylist()
    weights = read_weights(store, identity, sha256)
    assert weights is not None
    return weights


def test_the_same_trial_gives_the_same_weights_to_the_byte_alone_or_in_a_pack(store: Store, tiny: Dataset) -> None:
    other = Store(store.root / "other")
    run(store, tiny, pack_of(tiny, tiny_trial(0), tiny_trial(1)))
    for identity in run_trials(other, tiny, tiny_trial(1), tiny_trial(0)):
        packed, alone = (weights_of(each, identity) for each in (store, other))
        assert packed.keys() == alone.keys()
        assert all(packed[name].tobytes() == alone[name].tobytes() for name in packed)


def test_the_weights_are_there_before_the_part_that_names_them(store: Store, tiny: Dataset) -> None:
    store.root.mkdir()
    store.parts.touch()  # a file where the folder belongs: the part cannot be written
    with pytest.raises(StoreError, match="cannot be written"):
        list(run_pack(pack_of(tiny, tiny_trial()), TaskContext(tiny, store.root)))
    (path,) = store.weights.iterdir()
    assert read_weights(store, trial_id(tiny_trial(), tiny.fingerprint), path.stem)


def test_all_rows_of_a_part_name_one_file_of_weights(store: Store, tiny: Dataset) -> None:
    run(store, tiny, pack_of(tiny, tiny_trial(0), tiny_trial(1, DIVERGING)))
    (path,) = store.weights.iterdir()
    assert path.name == f"{hashlib.sha256(path.read_bytes()).hexdigest()}.safetensors"
    assert read_parts(store, stored_ids(store)).table["weights_sha256"].to_pylist() == [path.stem] * 2


def test_progress_counts_the_epochs_of_all_trials_of_the_pack(
    store: Store, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task, "PROGRESS_INTERVAL_S", EVERY_EPOCH)
    pack = pack_of(tiny, tiny_trial(0), tiny_trial(1))
    assert list(run_pack(pack, TaskContext(tiny, store.root))) == [1, 2, 3, 4]


def test_a_task_that_is_given_up_writes_nothing(store: Store, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task, "PROGRESS_INTERVAL_S", EVERY_EPOCH)
    steps = run_pack(pack_of(tiny, tiny_trial()), TaskContext(tiny, store.root))
    next(steps)
    steps.close()
    assert not store.root.exists()


def test_a_checkpoint_that_cannot_be_written_does_not_stop_the_trial(store: Store, tiny: Dataset) -> None:
    store.root.mkdir()
    store.checkpoints.touch()  # a file where the folder belongs
    list(run_pack(pack_of(tiny, tiny_trial()), TaskContext(tiny, store.root, checkpoint_seconds=0.0)))
    assert stored_ids(store) == {trial_id(tiny_trial(), tiny.fingerprint)}


@pytest.mark.parametrize("settings", [{"model": "mlp"}, {"model": "cnn", "momentum": 0.5}])
def test_a_trial_given_up_after_a_checkpoint_goes_on_from_there_and_ends_as_if_nothing_had_happened(
    store: Store, tiny: Dataset, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], tmp_path: Path
) -> None:
    monkeypatch.setattr(task, "PROGRESS_INTERVAL_S", EVERY_EPOCH)
    trial = tiny_trial(epochs=4, **settings)
    shared = TaskContext(tiny, store.root, checkpoint_seconds=0.0)
    steps = run_pack(pack_of(tiny, trial), shared)
    assert [next(steps), next(steps)] == [1, 2]
    steps.close()
    assert [path.stem for path in store.checkpoints.iterdir()] == [trial_id(trial, tiny.fingerprint)]
    assert list(run_pack(pack_of(tiny, trial, attempt=2), shared)) == [
        2,
        3,
        4,
    ]  # the second epoch's was yet to be written
    assert list(store.checkpoints.iterdir()) == []
    run_trials(whole := Store(tmp_path / "whole"), tiny, trial)
    resumed, undisturbed = (read_parts(each, stored_ids(each)).table for each in (store, whole))
    for name in ("test_loss", "train_loss", "validation_loss", "confusion", "weights_sha256", "epochs_run"):
        assert resumed[name].to_pylist() == undisturbed[name].to_pylist()


def test_a_pack_that_does_not_fit_its_device_is_trained_in_halves(
    store: Store, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[list[int]] = []

    def train_two_at_most(
        trials: Sequence[Trial], dataset: Dataset, device: Device, snapshots: Sequence[Snapshot]
    ) -> Iterator[EpochRecord | TrialResult]:
        tried.append([trial.seed for trial in trials])
        steps = train(trials, dataset, device)
        if len(trials) > 2:
            yield from islice(steps, len(trials))  # an epoch: diverged trials end with it
            yield from (step for step in islice(steps, 1) if isinstance(step, TrialResult))
            raise OutOfDeviceMemory("too many")
        yield from steps

    monkeypatch.setattr(task, "train", train_two_at_most)
    monkeypatch.setattr(task, "PROGRESS_INTERVAL_S", EVERY_EPOCH)
    trials = (tiny_trial(0), tiny_trial(1, DIVERGING), tiny_trial(2), tiny_trial(3), tiny_trial(4), tiny_trial(5))
    steps = list(run_pack(pack_of(tiny, *trials), TaskContext(tiny, store.root)))
    assert tried == [[0, 1, 2, 3, 4, 5], [0, 2], [3, 4, 5], [3], [4, 5]]
    assert steps[-1] == 2 * 5 + 1  # epochs, none of them counted twice
    assert stored_ids(store) == {trial_id(trial, tiny.fingerprint) for trial in trials}


def test_a_trial_that_does_not_fit_by_itself_is_an_error(
    store: Store, tiny: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never_fits(*_: object) -> Iterator[EpochRecord | TrialResult]:
        raise OutOfDeviceMemory("1 trial in one pack")
        yield

    monkeypatch.setattr(task, "train", never_fits)
    with pytest.raises(OutOfDeviceMemory):
        list(run_pack(pack_of(tiny, tiny_trial(0), tiny_trial(1)), TaskContext(tiny, store.root)))
    assert not store.root.exists()


def test_the_device_is_passed_on_and_recorded(store: Store, tiny: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    def train_here(
        trials: Sequence[Trial], dataset: Dataset, device: Device, snapshots: Sequence[Snapshot]
    ) -> Iterator[EpochRecord | TrialResult]:
        assert device == "cuda"
        return train(trials, dataset)

    monkeypatch.setattr(task, "train", train_here)
    monkeypatch.setattr(task, "training_kernels", lambda numerics, device: f"{numerics} of {device}")  # asks the GPU
    list(run_pack(pack_of(tiny, tiny_trial()), TaskContext(tiny, store.root, "cuda")))
    assert read_parts(store, stored_ids(store)).table["device"].to_pylist() == ["cuda"]


def test_a_machine_with_other_numerics_trains_nothing(store: Store, tiny: Dataset) -> None:
    shared = TaskContext(tiny, store.root, numerics_version=NUMERICS_VERSION + 1)
    with pytest.raises(RuntimeError, match=rf"{NUMERICS_VERSION}, the driver {NUMERICS_VERSION + 1}; install one"):
        list(run_pack(pack_of(tiny, tiny_trial()), shared))
    assert not store.root.exists()


@pytest.mark.parametrize("threads", [1, 2])
def test_blas_and_torch_are_held_to_the_trial_s_threads_while_it_trains(
    store: Store, tiny: Dataset, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    monkeypatch.setattr(task, "PROGRESS_INTERVAL_S", EVERY_EPOCH)
    task._thread_pools.cache_clear()  # as in a fresh worker: what other tests have loaded since is no pool of training
    with threadpool_limits(4):  # conftest.py limits them to one
        torch.set_num_threads(4)
        before = torch.get_num_threads(), _pool_sizes()
        assert min(_pool_sizes()) == 4
        trial = tiny_trial(model="cnn", cpus_per_trial=threads)
        steps = run_pack(pack_of(tiny, trial), TaskContext(tiny, store.root))
        next(steps)
        assert torch.get_num_threads() == threads
        assert max(_pool_sizes()) <= threads
        steps.close()
        assert (torch.get_num_threads(), _pool_sizes()) == before


def _pool_sizes() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info()]
