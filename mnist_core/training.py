"""The training loop of both models and all devices.

Shapes: K 10 digits.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_core.backends import Device, Evaluation, Networks, Orders, PackData, distinct_seeds, make_networks
from mnist_core.data import Dataset
from mnist_core.kernels import training_with
from mnist_core.seeds import generator, subset_index
from mnist_core.trial import Trial, pack_shape


@dataclass(frozen=True)
class EpochRecord:
    """Hold the results of one trial after one epoch. Losses are means per image, accuracies are fractions."""

    trial: Trial
    epoch: int  # from 1
    learning_rate: float  # used in this epoch
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True, eq=False)
class TrialResult:
    """Hold the final results of one trial. The results on the test set are None if the trial diverged."""

    trial: Trial
    status: Literal["finished", "diverged"]
    epochs: tuple[EpochRecord, ...]
    test_loss: float | None
    test_accuracy: float | None
    confusion: NDArray[np.int64] | None  # (K actual, K predicted) counts over the test set
    predicted: NDArray[np.uint8] | None  # (N,) digits, in the order of the test set
    weights: dict[str, NDArray[Any]]
    seconds: float
    kernels: str  # that computed it, as `mnist_core.kernels.kernels_in_use` names them


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Hold the state of a trial after an epoch, from which training can resume.

    The learning rate and the state of the shuffle follow from the number of epochs.
    """

    trial: Trial
    epochs: tuple[EpochRecord, ...]
    weights: dict[str, NDArray[Any]]
    velocities: dict[str, NDArray[Any]]  # empty without momentum

    def has_diverged(self) -> bool:
        """Return whether a loss of the last epoch is NaN or infinite."""
        return _has_diverged(self.epochs)


def train(
    trials: Sequence[Trial], dataset: Dataset, device: Device = "cpu", snapshots: Sequence[Snapshot] = ()
) -> "Training":
    """Train a pack of trials in lock-step.

    The results of a trial do not depend on the other trials of its pack: on the CPU they are equal to the bit, on CUDA
    equal up to rounding. On every x86-64 CPU with AVX2 they are equal to the bit, unless the trials ask for native
    numerics.

    Args:
        trials: Trials of one shape (`mnist_core.trial.pack_shape`).
        dataset: The dataset to train and evaluate on.
        device: Where to train.
        snapshots: The states to resume from, one for each trial and in the same order; or none, to start anew.

    Returns:
        An iterator over an EpochRecord for each trial and new epoch, and a TrialResult for each trial as it ends.

    Raises:
        ValueError: The trials differ in shape, or a subset is larger than the training set.
        OutOfDeviceMemory: The pack does not fit into the memory of the device; raised by the iterator.
        KernelsError: The kernels cannot be pinned in this process; raised by the iterator.
    """
    _check_pack(trials, dataset)
    size = len(dataset.train.labels)
    index = {seed: subset_index(size, trials[0].subset_size, seed) for seed in distinct_seeds(trials)}
    return Training(trials, lambda: make_networks(trials, PackData(dataset, index), device), snapshots, device)


class Training:
    """Iterate over the records and results of a pack; its state can be saved between two epochs.

    Args:
        trials: Trials of one shape.
        make: Creates the networks of the pack; called once, by the first `next`.
        snapshots: The states to resume from, one for each trial and in the same order; or none.
        device: Where the networks are.
    """

    def __init__(
        self,
        trials: Sequence[Trial],
        make: Callable[[], Networks],
        snapshots: Sequence[Snapshot] = (),
        device: Device = "cpu",
    ) -> None:
        self._trials = tuple(trials)
        self._make = make
        self._device = device
        self._runs = [_Run(trial) for trial in trials]
        self._ended: list[Snapshot] = []
        self._records = self._train(snapshots)

    def __iter__(self) -> Iterator[EpochRecord | TrialResult]:
        return self._records

    def __next__(self) -> EpochRecord | TrialResult:
        return next(self._records)

    def snapshots(self) -> list[Snapshot]:
        """Return the state of every trial after the last epoch whose records have been yielded."""
        running = [self._snapshot(index) for index in range(len(self._runs))]
        return sorted([*self._ended, *running], key=lambda snapshot: self._trials.index(snapshot.trial))

    def _train(self, snapshots: Sequence[Snapshot]) -> Iterator[EpochRecord | TrialResult]:
        started = time.perf_counter()
        with self._kernels():
            self._networks = self._make()
        for index, snapshot in enumerate(snapshots):
            self._runs[index].records.extend(snapshot.epochs)
            self._networks.restore(index, snapshot.weights, snapshot.velocities)
        yield from self._end_diverged()
        epochs = islice(_orders(self._trials), len(self._runs[0].records) if self._runs else 0, None)
        orders = next(epochs, {})
        while self._runs and len(self._runs[0].records) < self._trials[0].epochs:
            # Too high a learning rate overflows. The loss shows it, and the trial ends as diverged: no warning.
            with self._kernels(), np.errstate(over="ignore", invalid="ignore"):
                self._networks.train_epoch(orders, [run.learning_rate for run in self._runs])
                orders = next(epochs, {})  # drawn while the device computes the epoch
                train, validation = self._networks.evaluate("train"), self._networks.evaluate("validation")
            seconds = (time.perf_counter() - started) / len(self._runs)
            # All records are made before the first is yielded, so that a snapshot is always of one epoch.
            yield from [
                run.record(train_result, validation_result, seconds)
                for run, train_result, validation_result in zip(self._runs, train, validation, strict=True)
            ]
            started = time.perf_counter()
            yield from self._end_diverged()
        if self._runs:
            yield from self._finish(started)

    def _finish(self, started: float) -> Iterator[TrialResult]:
        with self._kernels():
            evaluations = self._networks.evaluate("test")
        seconds = (time.perf_counter() - started) / len(self._runs)
        for index, (run, evaluation) in enumerate(zip(self._runs, evaluations, strict=True)):
            yield run.result("finished", self._networks.weights(index), self._used, evaluation, seconds)

    def _end_diverged(self) -> Iterator[TrialResult]:
        """Yield the results of the trials that have diverged, and remove them from the pack."""
        diverged = [index for index, run in enumerate(self._runs) if _has_diverged(run.records)]
        if not diverged:
            return
        ended = [self._snapshot(index) for index in diverged]
        results = [
            self._runs[index].result("diverged", self._networks.weights(index), self._used) for index in diverged
        ]
        kept = [index for index in range(len(self._runs)) if index not in diverged]
        self._ended += ended
        self._runs = [self._runs[index] for index in kept]
        if kept:
            self._networks.keep(kept)
        yield from results

    @contextmanager
    def _kernels(self) -> Iterator[None]:
        """Compute with the kernels of the trials' numerics, and no longer than until the next yield."""
        with training_with(self._trials[0].numerics, self._device) as self._used:
            yield

    def _snapshot(self, index: int) -> Snapshot:
        run = self._runs[index]
        weights, velocities = self._networks.weights(index), self._networks.velocities(index)
        return Snapshot(run.trial, tuple(run.records), weights, velocities)


def _orders(trials: Sequence[Trial]) -> Iterator[Orders]:
    """Draw the order of each seed's subset, epoch by epoch."""
    shuffles = {seed: generator(seed, "shuffle") for seed in distinct_seeds(trials)}
    for _ in range(trials[0].epochs):
        yield {seed: shuffle.permutation(trials[0].subset_size) for seed, shuffle in shuffles.items()}


def _check_pack(trials: Sequence[Trial], dataset: Dataset) -> None:
    shapes = {pack_shape(trial) for trial in trials}
    if len(shapes) != 1:
        raise ValueError(f"a pack of {len(shapes)} shapes; its trials must have one shape")
    subset_size, available = trials[0].subset_size, len(dataset.train.labels)
    if not 1 <= subset_size <= available:
        raise ValueError(f"subset_size {subset_size}: allowed 1 to {available}, the training images of {dataset.name}")


class _Run:
    """The records of one trial so far, and its learning rate."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.records: list[EpochRecord] = []

    @property
    def learning_rate(self) -> float:
        """The learning rate of the next epoch."""
        if not self.records:
            return self.trial.learning_rate
        return self.records[-1].learning_rate * (self.trial.lr_decay or 1.0)

    def record(self, train: Evaluation, validation: Evaluation, seconds: float) -> EpochRecord:
        """Create and keep the record of an epoch."""
        record = EpochRecord(
            trial=self.trial,
            epoch=len(self.records) + 1,
            learning_rate=self.learning_rate,
            train_loss=train.loss,
            train_accuracy=train.accuracy,
            validation_loss=validation.loss,
            validation_accuracy=validation.accuracy,
            seconds=seconds,
        )
        self.records.append(record)
        return record

    def result(
        self,
        status: Literal["finished", "diverged"],
        weights: dict[str, NDArray[Any]],
        kernels: str,
        test: Evaluation | None = None,
        seconds: float = 0.0,
    ) -> TrialResult:
        """Create the result of the trial, with its evaluation on the test set and the seconds of that, if any."""
        return TrialResult(
            trial=self.trial,
            status=status,
            epochs=tuple(self.records),
            test_loss=test.loss if test else None,
            test_accuracy=test.accuracy if test else None,
            confusion=test.confusion if test else None,
            predicted=test.predicted if test else None,
            weights=weights,
            seconds=sum(record.seconds for record in self.records) + seconds,
            kernels=kernels,
        )


def _has_diverged(epochs: Sequence[EpochRecord]) -> bool:
    """Return whether a loss of the last epoch is NaN or infinite."""
    return not all(math.isfinite(loss) for last in epochs[-1:] for loss in (last.train_loss, last.validation_loss))
