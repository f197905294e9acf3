"""The interval for seeds and new test images together: seeds and images as crossed random effects.

All seeds classify the same images, so an accuracy varies with both. The moments of the two-way table of hits separate
the parts: what more seeds would remove, and what the size of the test set fixes.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.report.summary import CONFIDENCE


class Crossed(NamedTuple):
    """A mean accuracy over seeds and images, with the parts of its variance."""

    mean: float
    low: float  # of the 95 % interval, cut to [0, 1]
    high: float
    seed_variance: float  # of the mean: the part that shrinks with more seeds
    image_variance: float  # of the mean: the part that only a larger test set removes


def crossed_interval(hits: NDArray[np.bool_]) -> Crossed | None:
    """Estimate the mean accuracy on new images by networks of new seeds.

    The interval is centred after adding two hits and two misses, which keeps its coverage near 100 % accuracy.

    Args:
        hits: Whether each seed classifies each test image correctly, (seeds, images).

    Returns:
        The interval; None for fewer than two seeds, or two images.
    """
    n, images = hits.shape
    if n < 2 or images < 2:
        return None
    from scipy.special import stdtrit

    mean = float(hits.mean())
    seeds, cells = hits.mean(axis=1) - mean, hits.mean(axis=0) - mean
    ms_seed = images * float(seeds @ seeds) / (n - 1)
    ms_image = n * float(cells @ cells) / (images - 1)
    total = n * images * mean * (1 - mean)
    ms_rest = max(0.0, (total - ms_seed * (n - 1) - ms_image * (images - 1)) / ((n - 1) * (images - 1)))
    variance = max(0.0, (ms_seed + ms_image - ms_rest) / (n * images))
    centre = (images * mean + 2) / (images + 4)
    widened = variance + max(0.0, centre * (1 - centre) / (images + 4) - mean * (1 - mean) / images)
    half = float(stdtrit(_degrees(ms_seed, ms_image, ms_rest, n, images), (1 + CONFIDENCE) / 2)) * math.sqrt(widened)
    of_seeds = max(0.0, ms_seed - ms_rest) / (n * images)
    of_images = max(0.0, ms_image - ms_rest) / (n * images)
    return Crossed(mean, max(0.0, centre - half), min(1.0, centre + half), of_seeds + ms_rest / (n * images), of_images)


def _degrees(ms_seed: float, ms_image: float, ms_rest: float, n: int, images: int) -> float:
    """Return Satterthwaite's degrees of freedom of the variance, at least those of the seeds alone."""
    spread = ms_seed**2 / (n - 1) + ms_image**2 / (images - 1) + ms_rest**2 / ((n - 1) * (images - 1))
    total = ms_seed + ms_image - ms_rest
    return max(n - 1.0, total**2 / spread) if spread > 0 and total > 0 else n - 1.0
