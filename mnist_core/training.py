"""The training loop, one for both models and every device.

Letters: K 10 digits.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_core.datasets import Dataset
from mnist_core.pack import Device, Evaluation, Networks, Orders, PackData, distinct_seeds
from mnist_core.seeds import generator, subset_index
from mnist_core.trial import Trial


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


def train(trials: Sequence[Trial], dataset: Dataset, device: Device = "cpu") -> Iterator[EpochRecord | TrialResult]:
    """Train trials of one shape in lock-step: yield a record per trial and epoch, and each trial's result as it ends.

    A trial's numbers do not depend on the trials beside it: on the CPU to the bit, on CUDA but for rounding.
    Raises ValueError where the trials differ in shape or the dataset has too few images, OutOfDeviceMemory where the
    pack does not fit on its device.
    """
    _check_pack(trials, dataset)
    size = len(dataset.train.labels)
    index = {seed: subset_index(size, trials[0].subset_size, seed) for seed in distinct_seeds(trials)}
    return train_networks(trials, lambda: make_networks(trials, PackData(dataset, index), device))


def make_networks(trials: Sequence[Trial], data: PackData, device: Device = "cpu") -> Networks:
    """Make a pack's networks with their initial weights."""
    # torch takes over a second to import: only trials that need it pay.
    if device == "cuda":
        import torch

        from mnist_core.stacked import StackedPack

        return StackedPack(trials, data, torch.device(device))
    if trials[0].model == "mlp":
        from mnist_core.mlp_pack import MLPPack

        return MLPPack(trials, data)
    from mnist_core.cnn_pack import CNNPack

    return CNNPack(trials, data)


def train_networks(trials: Sequence[Trial], make: Callable[[], Networks]) -> Iterator[EpochRecord | TrialResult]:
    """Train the networks that `make` gives for these trials; yields as `train` does."""
    started = time.perf_counter()
    networks, runs = make(), [_Run(trial) for trial in trials]
    epochs = _orders(trials)
    orders = next(epochs)
    for _ in range(trials[0].epochs):
        # Too high a rate overflows; that is a result (`diverged`), found in the loss, not a warning.
        with np.errstate(over="ignore", invalid="ignore"):
            networks.train_epoch(orders, [run.learning_rate for run in runs])
            orders = next(epochs, orders)  # drawn while a device is busy with the epoch before
            train, validation = networks.evaluate("train"), networks.evaluate("validation")
        seconds = (time.perf_counter() - started) / len(runs)
        for run, of_train, of_validation in zip(runs, train, validation, strict=True):
            yield run.record(of_train, of_validation, seconds)
        started = time.perf_counter()
        yield from _end_diverged(networks, runs)
        if not runs:
            return
    test = networks.evaluate("test")
    seconds = (time.perf_counter() - started) / len(runs)
    for place, (run, evaluation) in enumerate(zip(runs, test, strict=True)):
        yield run.result("finished", networks.weights(place), evaluation, seconds)


def _orders(trials: Sequence[Trial]) -> Iterator[Orders]:
    """Draw every epoch's order for each seed."""
    shuffles = {seed: generator(seed, "shuffle") for seed in distinct_seeds(trials)}
    for _ in range(trials[0].epochs):
        yield {seed: shuffle.permutation(trials[0].subset_size) for seed, shuffle in shuffles.items()}


def _end_diverged(networks: Networks, runs: list["_Run"]) -> Iterator[TrialResult]:
    """Yield the results of the trials that have diverged, and take them out of the pack."""
    diverged = {place for place, run in enumerate(runs) if run.has_diverged()}
    if not diverged:
        return
    for place in sorted(diverged):
        yield runs[place].result("diverged", networks.weights(place))
    going_on = [place for place in range(len(runs)) if place not in diverged]
    runs[:] = [runs[place] for place in going_on]
    if runs:
        networks.keep(going_on)


def _check_pack(trials: Sequence[Trial], dataset: Dataset) -> None:
    shapes = {_shape(trial) for trial in trials}
    if len(shapes) != 1:
        raise ValueError(f"a pack holds trials of {len(shapes)} shapes; allowed: exactly one")
    subset_size, available = trials[0].subset_size, len(dataset.train.labels)
    if not 1 <= subset_size <= available:
        raise ValueError(f"subset_size {subset_size}: allowed 1 to {available}, the training images of {dataset.name}")


def _shape(trial: Trial) -> tuple[object, ...]:
    """Return what trials of one pack have in common: all but the seed and what the learning rate does."""
    varying = {"seed", "adaptive_lr", "learning_rate", "lr_decay", "momentum", "weight_init_std"}
    return tuple(value for setting, value in asdict(trial).items() if setting not in varying)


class _Run:
    """The course of one trial through the epochs."""

    def __init__(self, trial: Trial) -> None:
        self.trial = trial
        self.learning_rate = trial.learning_rate
        self.records: list[EpochRecord] = []

    def record(self, train: Evaluation, validation: Evaluation, seconds: float) -> EpochRecord:
        """Close an epoch: keep its record and set the next epoch's learning rate."""
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
        if self.trial.lr_decay is not None:
            self.learning_rate *= self.trial.lr_decay
        return record

    def has_diverged(self) -> bool:
        """Tell whether the last epoch left a loss that is NaN or infinite."""
        last = self.records[-1]
        return not (math.isfinite(last.train_loss) and math.isfinite(last.validation_loss))

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
