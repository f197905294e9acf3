"""The training loop, one for both models and every device.

Letters: K 10 digits.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_core.backends import Device, Evaluation, Networks, Orders, PackData, distinct_seeds, make_networks
from mnist_core.data import Dataset
from mnist_core.seeds import generator, subset_index
from mnist_core.trial import Trial, pack_shape


@dataclass(frozen=True)
class EpochRecord:
    """What one trial did in one epoch. Losses are means per image, accuracies fractions, both after the epoch."""

    trial: Trial
    epoch: int  # from 1
    learning_rate: float  # the one used in this epoch
    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    seconds: float


@dataclass(frozen=True, eq=False)
class TrialResult:
    """What one trial came to. The test set's figures are None where the trial diverged."""

    trial: Trial
    status: Literal["finished", "diverged"]
    epochs: tuple[EpochRecord, ...]
    test_loss: float | None
    test_accuracy: float | None
    confusion: NDArray[np.int64] | None  # (K actual, K predicted) counts over the test set
    weights: dict[str, NDArray[Any]]
    seconds: float


@dataclass(frozen=True, eq=False)
class Snapshot:
    """Where a trial stood after an epoch: all that it takes to go on from there.

    The learning rate and the state of the shuffle follow from the epochs done.
    """

    trial: Trial
    epochs: tuple[EpochRecord, ...]
    weights: dict[str, NDArray[Any]]
    velocities: dict[str, NDArray[Any]]  # empty without momentum

    def has_diverged(self) -> bool:
        """Tell whether the last epoch left a loss that is NaN or infinite."""
        return _has_diverged(self.epochs)


def train(
    trials: Sequence[Trial], dataset: Dataset, device: Device = "cpu", snapshots: Sequence[Snapshot] = ()
) -> "Training":
    """Train trials of one shape in lock-step: yield a record per trial and epoch, and each trial's result as it ends.

    With snapshots, one for each trial of this very pack, it goes on from there; what they hold is not yielded again.
    A trial's numbers do not depend on the trials beside it: on the CPU to the bit, on CUDA but for rounding.
    Raises ValueError where the trials differ in shape or the dataset has too few images, OutOfDeviceMemory where the
    pack does not fit on its device.
    """
    _check_pack(trials, dataset)
    size = len(dataset.train.labels)
    index = {seed: subset_index(size, trials[0].subset_size, seed) for seed in distinct_seeds(trials)}
    return Training(trials, lambda: make_networks(trials, PackData(dataset, index), device), snapshots)


class Training:
    """The course of a pack through the epochs, an iterator over what `train` yields."""

    def __init__(
        self, trials: Sequence[Trial], make: Callable[[], Networks], snapshots: Sequence[Snapshot] = ()
    ) -> None:
        self._trials = tuple(trials)
        self._make = make
        self._runs = [_Run(trial) for trial in trials]
        self._ended: list[Snapshot] = []
        self._records = self._train(snapshots)

    def __iter__(self) -> Iterator[EpochRecord | TrialResult]:
        return self._records

    def __next__(self) -> EpochRecord | TrialResult:
        return next(self._records)

    def snapshots(self) -> list[Snapshot]:
        """Return where every trial stands after the last epoch of which a record has been yielded."""
        running = [self._snapshot(place) for place in range(len(self._runs))]
        return sorted([*self._ended, *running], key=lambda snapshot: self._trials.index(snapshot.trial))

    def _train(self, snapshots: Sequence[Snapshot]) -> Iterator[EpochRecord | TrialResult]:
        started = time.perf_counter()
        self._networks = self._make()
        for place, snapshot in enumerate(snapshots):
            self._runs[place].records.extend(snapshot.epochs)
            self._networks.restore(place, snapshot.weights, snapshot.velocities)
        yield from self._end_diverged()
        epochs = islice(_orders(self._trials), len(self._runs[0].records) if self._runs else 0, None)
        orders = next(epochs, {})
        while self._runs and len(self._runs[0].records) < self._trials[0].epochs:
            # Too high a rate overflows; that is a result (`diverged`), found in the loss, not a warning.
            with np.errstate(over="ignore", invalid="ignore"):
                self._networks.train_epoch(orders, [run.learning_rate for run in self._runs])
                orders = next(epochs, {})  # drawn while a device is busy with the epoch before
                train, validation = self._networks.evaluate("train"), self._networks.evaluate("validation")
            seconds = (time.perf_counter() - started) / len(self._runs)
            # All of them before the first is handed out: whenever a snapshot is asked for, it is of one epoch.
            yield from [
                run.record(of_train, of_validation, seconds)
                for run, of_train, of_validation in zip(self._runs, train, validation, strict=True)
            ]
            started = time.perf_counter()
            yield from self._end_diverged()
        if self._runs:
            yield from self._finish(started)

    def _finish(self, started: float) -> Iterator[TrialResult]:
        evaluations = self._networks.evaluate("test")
        seconds = (time.perf_counter() - started) / len(self._runs)
        for place, (run, evaluation) in enumerate(zip(self._runs, evaluations, strict=True)):
            yield run.result("finished", self._networks.weights(place), evaluation, seconds)

    def _end_diverged(self) -> Iterator[TrialResult]:
        """Yield the results of the trials that have diverged, and take them out of the pack."""
        diverged = {place for place, run in enumerate(self._runs) if _has_diverged(run.records)}
        if not diverged:
            return
        ended = [self._snapshot(place) for place in sorted(diverged)]
        results = [self._runs[place].result("diverged", self._networks.weights(place)) for place in sorted(diverged)]
        going_on = [place for place in range(len(self._runs)) if place not in diverged]
        self._ended += ended
        self._runs = [self._runs[place] for place in going_on]
        if going_on:
            self._networks.keep(going_on)
        yield from results

    def _snapshot(self, place: int) -> Snapshot:
        run = self._runs[place]
        weights, velocities = self._networks.weights(place), self._networks.velocities(place)
        return Snapshot(run.trial, tuple(run.records), weights, velocities)


def _orders(trials: Sequence[Trial]) -> Iterator[Orders]:
    """Draw every epoch's order for each seed."""
    shuffles = {seed: generator(seed, "shuffle") for seed in distinct_seeds(trials)}
    for _ in range(trials[0].epochs):
        yield {seed: shuffle.permutation(trials[0].subset_size) for seed, shuffle in shuffles.items()}


def _check_pack(trials: Sequence[Trial], dataset: Dataset) -> None:
    shapes = {pack_shape(trial) for trial in trials}
    if len(shapes) != 1:
        raise ValueError(f"a pack holds trials of {len(shapes)} shapes; allowed: exactly one")
    subset_size, available = trials[0].subset_size, len(dataset.train.labels)
    if not 1 <= subset_size <= available:
        raise ValueError(f"subset_size {subset_size}: allowed 1 to {available}, the training images of {dataset.name}")


class _Run:
    """The course of one trial through the epochs."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.records: list[EpochRecord] = []

    @property
    def learning_rate(self) -> float:
        """The next epoch's learning rate."""
        if not self.records:
            return self.trial.learning_rate
        return self.records[-1].learning_rate * (self.trial.lr_decay or 1.0)

    def record(self, train: Evaluation, validation: Evaluation, seconds: float) -> EpochRecord:
        """Close an epoch and keep its record."""
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
        test: Evaluation | None = None,
        seconds: float = 0.0,
    ) -> TrialResult:
        """Close the trial, with its figures on the test set where it has them and the seconds they took."""
        return TrialResult(
            trial=self.trial,
            status=status,
            epochs=tuple(self.records),
            test_loss=test.loss if test else None,
            test_accuracy=test.accuracy if test else None,
            confusion=test.confusion if test else None,
            weights=weights,
            seconds=sum(record.seconds for record in self.records) + seconds,
        )


def _has_diverged(epochs: Sequence[EpochRecord]) -> bool:
    """Tell whether the last epoch left a loss that is NaN or infinite."""
    return not all(math.isfinite(loss) for last in epochs[-1:] for loss in (last.train_loss, last.validation_loss))
