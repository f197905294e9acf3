"""A pack of convolutional networks on the CPU.

Letters: S images of a slice, N images of a set, K 10 digits.
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

# Images that go through a network together: enough to keep a matrix product busy, few enough that a column of their
# activations stays in cache. A larger batch goes in slices; its gradient is the sum of theirs.
SLICE = 256


class CNNPack:
    """Train CNNs in lock-step; answers to `mnist_core.backends.interface.Networks`."""

    def __init__(self, trials: Sequence[Trial], data: PackData) -> None:
        self.trials = tuple(trials)
        self.data = data
        self.networks = [FastCNN.from_trial(trial, generator(trial.seed, "weights")) for trial in trials]
        self._activations: dict[int, Activations] = {}

    @torch.inference_mode()
    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Go once through each trial's subset in the order of its seed, each at its own learning rate."""
        for seed in distinct_seeds(self.trials):
            subset = self.data.subsets[seed]
            of_seed = [place for place, trial in enumerate(self.trials) if trial.seed == seed]
            for batch in batches(orders[seed], self.trials[0].batch_size):
                for index in batches(batch, SLICE):
                    activations, labels = self._activations_of(len(index)), torch.from_numpy(subset.labels[index])
                    activations.gather(torch.from_numpy(subset.images), torch.from_numpy(index))
                    for place in of_seed:
                        self.networks[place].add_gradients(activations, labels)
                for place in of_seed:
                    self.networks[place].descend(learning_rates[place])

    def evaluate(self, split: SplitName) -> list[Evaluation]:
        """Pass a set forward through every network."""
        by_place: dict[int, Evaluation] = {}
        sets = [self.data.images(split, trial.seed) for trial in self.trials]
        for data in {id(images): images for images in sets}.values():
            places = [place for place, images in enumerate(sets) if images is data]
            by_place.update(zip(places, self._evaluate([self.networks[place] for place in places], data), strict=True))
        return [by_place[place] for place in range(len(sets))]

    def weights(self, place: int) -> dict[str, NDArray[Any]]:
        """Return a copy of one network's parameters by name."""
        return self.networks[place].weights()

    def velocities(self, place: int) -> dict[str, NDArray[Any]]:
        """Return a copy of one network's momentum terms by parameter; empty without momentum."""
        return self.networks[place].velocities()

    def restore(self, place: int, weights: Mapping[str, NDArray[Any]], velocities: Mapping[str, NDArray[Any]]) -> None:
        """Set one network to what `weights` and `velocities` gave, of this or another process."""
        self.networks[place].restore(weights, velocities)

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the networks at these places alone."""
        self.trials = tuple(self.trials[place] for place in places)
        self.networks = [self.networks[place] for place in places]

    @torch.inference_mode()
    def _evaluate(self, networks: Sequence[FastCNN], data: Images) -> Iterator[Evaluation]:
        """Pass a set forward through networks that share it."""
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
            yield Evaluation.of(data.labels, losses, of_network.argmax(axis=0))

    def _activations_of(self, images: int) -> Activations:
        """Return the buffers for slices of this size; the networks take turns with them."""
        if images not in self._activations:
            self._activations[images] = Activations(images)
        return self._activations[images]
