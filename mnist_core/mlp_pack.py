"""A pack of multi-layer perceptrons on the CPU."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnist_core.mlp import MLP, cross_entropy
from mnist_core.pack import Evaluation, Images, Orders, PackData, SplitName, batches, distinct_seeds
from mnist_core.seeds import generator
from mnist_core.trial import Trial

# Large enough to keep a matrix product busy, small enough that a tile's activations stay in cache.
EVALUATION_BATCH = 256


class MLPPack:
    """Train MLPs in lock-step; answers to `mnist_core.pack.Networks`."""

    def __init__(self, trials: Sequence[Trial], data: PackData) -> None:
        self.trials = tuple(trials)
        self.data = data
        self.networks = [MLP.from_trial(trial, generator(trial.seed, "weights")) for trial in trials]

    def train_epoch(self, orders: Orders, learning_rates: Sequence[float]) -> None:
        """Go once through each trial's subset in the order of its seed, each at its own learning rate."""
        for seed in distinct_seeds(self.trials):
            subset = self.data.subsets[seed]
            for batch in batches(orders[seed], self.trials[0].batch_size):
                images, labels = subset.images[batch], subset.labels[batch]
                for trial, network, learning_rate in zip(self.trials, self.networks, learning_rates, strict=True):
                    if trial.seed == seed:
                        network.step(images, labels, learning_rate)

    def evaluate(self, split: SplitName) -> list[Evaluation]:
        """Pass a set forward through every network."""
        return [
            evaluate(network, self.data.images(split, trial.seed))
            for trial, network in zip(self.trials, self.networks, strict=True)
        ]

    def weights(self, place: int) -> dict[str, NDArray[Any]]:
        """Return a copy of one network's parameters by name."""
        return self.networks[place].weights()

    def keep(self, places: Sequence[int]) -> None:
        """Go on with the networks at these places alone."""
        self.trials = tuple(self.trials[place] for place in places)
        self.networks = [self.networks[place] for place in places]


def evaluate(network: MLP, data: Images) -> Evaluation:
    """Pass a set forward in tiles."""
    losses = np.empty(len(data))
    predicted = np.empty(len(data), np.int64)
    for start in range(0, len(data), EVALUATION_BATCH):
        tile = slice(start, start + EVALUATION_BATCH)
        logits = network.logits(data.images[tile])
        losses[tile] = cross_entropy(logits, data.labels[tile])
        predicted[tile] = logits.argmax(axis=1)
    return Evaluation.of(data.labels, losses, predicted)
