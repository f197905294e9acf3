"""From a seed to everything random about a trial."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: Literal["subset", "weights", "shuffle"]) -> np.random.Generator:
    """Make a trial's generator for one purpose; the streams of a seed are independent of each other."""
    stream = ("subset", "weights", "shuffle").index(purpose)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


def subset_index(train_size: int, subset_size: int, seed: int) -> NDArray[np.int64]:
    """Choose the subset's images, (subset_size,): the first of the training set in an order drawn from the seed.

    It depends on nothing else, so a smaller subset of a seed lies inside a larger one.
    """
    return generator(seed, "subset").permutation(train_size)[:subset_size]
