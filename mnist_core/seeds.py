"""Everything random about a trial, derived from its seed."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray


def generator(seed: int, purpose: Literal["subset", "weights", "shuffle"]) -> np.random.Generator:
    """Create the random generator that a trial uses for one purpose.

    The three streams of a seed are independent of each other.

    Args:
        seed: The trial's seed, 0 or larger.
        purpose: What the random numbers are for.
    """
    stream = ("subset", "weights", "shuffle").index(purpose)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(stream,)))


def subset_index(train_size: int, subset_size: int, seed: int) -> NDArray[np.int64]:
    """Choose the training images of a trial: the first `subset_size` of a random order of the training set.

    The order depends on `train_size` and `seed` alone, so a seed's smaller subset is contained in its larger ones.

    Args:
        train_size: Number of images in the training set.
        subset_size: Number of images to choose, at most `train_size`.
        seed: The trial's seed.

    Returns:
        Indices into the training set, (subset_size,).
    """
    return generator(seed, "subset").permutation(train_size)[:subset_size]
