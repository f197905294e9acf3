"""The training loop, one for both models and every device.

Letters: K 10 digits.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnist_core.datasets import Dataset
from mnist_core.pack import Device, Evaluation, Networks, PackData, distinct_seeds
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
    Raises ValueError where the trials differ in shape or the dataset has too few images.
    """
    _check_pack(trials, dataset)
    started = time.perf_counter()
    size = len(dataset.train.labels)
    seeds = distinct_seeds(trials)
    data = PackData(dataset, {seed: subset_index(size, trials[0].subset_size, seed) for seed in seeds})
    networks = make_networks(trials, data, device)
    shuffles = {seed: generator(seed, "shuffle") for seed in seeds}
    runs = [_Run(trial) for trial in trials]
    for _ in range(trials[0].epochs):
        yield from _train_epoch(networks, runs, shuffles, started)
        started = time.perf_counter()
        ended = [run for run in runs if run.has_diverged()]
        for run in ended:
            yield run.result("diverged", networks.weights(runs.index(run)))
        if ended:
            networks.keep([place for place, run in enumerate(runs) if run not in ended])
            runs = [run for run in runs if run not in ended]
        if not runs:
            return
    evaluations = networks.evaluate("test")
    seconds = (time.perf_counter() - started) / len(runs)
    for place, (run, evaluation) in enumerate(zip(runs, evaluations, strict=True)):
        yield run.result("finished", networks.weights(place), evaluation, seconds)


def make_networks(trials: Sequence[Trial], data: PackData, device: Device = "cpu") -> Networks:
    """Make a pack's networks with their initial weights."""
    if trials[0].model == "mlp":
        from mnist_core.mlp_pack import MLPPack

        return MLPPack(trials, data)
    # torch takes over a second to import: only trials that need it pay.
    from mnist_core.cnn_pack import CNNPack

    return CNNPack(trials, data)


def _train_epoch(
    networks: Networks, runs: Sequence["_Run"], shuffles: Mapping[int, np.random.Generator], started: float
) -> Iterator[EpochRecord]:
    """Train and evaluate one epoch; the records share the time since `started`."""
    orders = {seed: shuffle.permutation(runs[0].trial.subset_size) for seed, shuffle in shuffles.items()}
    # Too high a rate overflows; that is a result (`diverged`), found in the loss, not a warning.
    with np.errstate(over="ignore", invalid="ignore"):
        networks.train_epoch(orders, [run.learning_rate for run in runs])
        train, validation = networks.evaluate("train"), networks.evaluate("validation")
    seconds = (time.perf_counter() - started) / len(runs)
    for run, of_train, of_validation in zip(runs, train, validation, strict=True):
        yield run.record(of_train, of_validation, seconds)


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
