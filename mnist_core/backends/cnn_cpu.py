"""A pack of convolutional networks on the CPU.

Model: `mnist_core.models.cnn`, by way of `mnist_core.backends.cnn_step`.
Tests: tests/test_cnn_cpu.py::test_evaluations_equal_the_seed_reports_network
       tests/test_cnn_cpu.py::test_a_batch_larger_than_a_slice_takes_one_step

Shapes: S images of a slice, N images of a set, K 10 digits.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mnist_core.backends.cnn_step import Activations, FastCNN
from mnist_core.backends.interface import Evaluation, Images, Orders, PackData, SplitName, batches, distinct_seeds
from mnist_core.data import DIGITS
from mnist_core.models.mlp import cross_entropy
from mnist_core.seeds import generator
from mnist_core.trial import Trial

# Images that pass through a network together: enough for fast matrix products, few enough for a column of their
# activations to stay in cache. Larger batches are cut into slices, whose gradients are added.
SLICE = 256


class CNNPack:
    """Train CNNs in lock-step; implements `mnist_core.backends.interface.Networks`."""

    def __init__(self, trials: Sequence[Trial], data: PackData) -> None:
        self.trials = tuple(trials)
        self.data = data
        self.networks = [FastCNN.from_trial(trial, generator(trial.seed, "weights")) for trial in trials]
        self._activations: dict[int, Activations] = {}

    @torch.inference_mode()
    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Train every network for one epoch on its seed's subset, in the seed's order."""
        for seed in distinct_seeds(self.trials):
            subset = self.data.subsets[seed]
            indices = [index for index, trial in enumerate(self.trials) if trial.seed == seed]
            for batch in batches(orders[seed], self.trials[0].batch_size):
                for rows in batches(batch, SLICE):
                    activations, labels = self._activations_of(len(rows)), torch.from_numpy(subset.labels[rows])
                    activations.gather(torch.from_numpy(subset.images), torch.from_numpy(rows))
                    for index in indices:
                        self.networks[index].add_gradients(activations, labels)
                for index in indices:
                    self.networks[index].descend(learning_rates[index])

    def evaluate(self, split: SplitName) -> list[Evaluation]:
        """Evaluate every network on a split."""
        by_index: dict[int, Evaluation] = {}
        sets = [self.data.images(split, trial.seed) for trial in self.trials]
        for data in {id(images): images for images in sets}.values():
            indices = [index for index, images in enumerate(sets) if images is data]
            by_index.update(zip(indices, self._evaluate([self.networks[i] for i in indices], data), strict=True))
        return [by_index[index] for index in range(len(sets))]

    def weights(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the parameters of one network by name."""
        return self.networks[index].weights()

    def velocities(self, index: int) -> dict[str, NDArray[Any]]:
        """Return a copy of the momentum terms of one network by parameter name; empty without momentum."""
        return self.networks[index].velocities()

    def restore(self, index: int, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set one network to earlier results of `weights` and `velocities`."""
        self.networks[index].restore(weights, velocities)

    def keep(self, indices: Sequence[int]) -> None:
        """Continue with the networks at these indices only."""
        self.trials = tuple(self.trials[index] for index in indices)
        self.networks = [self.networks[index] for index in indices]

    @torch.inference_mode()
    def _evaluate(self, networks: Sequence[FastCNN], data: Images) -> Iterator[Evaluation]:
        """Evaluate networks on a set that they share, slice by slice."""
        logits = np.empty((len(networks), DIGITS, len(data)), np.float32)
        for start in range(0, len(data), SLICE):
            part = slice(start, start + SLICE)
            images = torch.from_numpy(data.images[part])
            activations = self._activations_of(len(images))
            activations.load(images)
            for network, of_network in zip(networks, logits, strict=True):
                of_network[:, part] = network.infer(activations).numpy()
        for of_network in logits:
            losses = cross_entropy(of_network.T, data.labels)
            yield Evaluation.from_predictions(data.labels, losses, of_network.argmax(axis=0))

    def _activations_of(self, images: int) -> Activations:
        """Return the buffers for slices of this size, which all networks use one after the other."""
        if images not in self._activations:
            self._activations[images] = Activations(images)
        return self._activations[images]
