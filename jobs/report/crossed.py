"""The interval for seeds and new test images together: seeds and images as crossed random effects.

All seeds classify the same images, so an accuracy varies with both. The moments of the two-way table of hits separate
the parts: what more seeds would remove, and what the size of the test set fixes.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from jobs.report.summary import CONFIDENCE

Hits = NDArray[np.bool_]  # whether each seed classifies each test image correctly, (seeds, images)

# How the 5 % of an anytime interval are divided: by the union bound, its parts may miss as often as this.
SEEDS_ALPHA, IMAGES_ALPHA = 0.04, 0.01


class Crossed(NamedTuple):
    """A mean accuracy over seeds and images, with the parts of its variance."""

    mean: float
    low: float  # of the 95 % interval, cut to [0, 1]
    high: float
    seed_variance: float  # of the mean: the part that shrinks with more seeds
    image_variance: float  # of the mean: the part that only a larger test set removes


class _Moments(NamedTuple):
    """The mean of a table of hits, and its mean squares."""

    n: int
    images: int
    mean: float
    of_seeds: float
    of_images: float
    of_rest: float


def crossed_interval(hits: Hits) -> Crossed | None:
    """Estimate the mean accuracy on new images by networks of new seeds.

    The interval is centred after adding two hits and two misses, which keeps its coverage near 100 % accuracy.

    Args:
        hits: A table of hits.

    Returns:
        The interval; None for fewer than two seeds, or two images.
    """
    found = _moments(hits)
    if found is None:
        return None
    from scipy.special import stdtrit

    variance = max(0.0, (found.of_seeds + found.of_images - found.of_rest) / hits.size)
    centre, error = _plus_four(found.mean, variance, found.images)
    half = float(stdtrit(_degrees(found), (1 + CONFIDENCE) / 2)) * error
    of_seeds = max(0.0, found.of_seeds - found.of_rest) + found.of_rest
    of_images = max(0.0, found.of_images - found.of_rest)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Crossed(found.mean, low, high, of_seeds / hits.size, of_images / hits.size)


def widen_to_new_images(of_seeds: tuple[float, float], hits: Hits) -> tuple[float, float] | None:
    """Widen an interval for seeds on this test set so that it covers new images, too, after every look.

    The mean on this test set differs from that on all images by one error, however many seeds there are: that of a mean
    of so many images, each with the share of all networks that classify it correctly. By the union bound both parts
    hold together. The variance between images is taken as the seeds so far show it, which is too large rather than too
    small.

    Args:
        of_seeds: The ends of an interval that holds after every look, at a level of SEEDS_ALPHA.
        hits: A table of hits.

    Returns:
        The ends of the 95 % interval, cut to [0, 1]; None for fewer than two seeds, or two images.
    """
    found = _moments(hits)
    if found is None:
        return None
    from scipy.special import ndtri

    variance, z = found.of_images / hits.size, float(ndtri(1 - IMAGES_ALPHA / 2))
    (low, error_low), (high, error_high) = (
        _plus_four(min(max(end, 0.0), 1.0), variance, found.images) for end in of_seeds
    )
    return max(0.0, low - z * error_low), min(1.0, high + z * error_high)


def _moments(hits: Hits) -> _Moments | None:
    n, images = hits.shape
    if n < 2 or images < 2:
        return None
    mean = float(hits.mean())
    seeds, cells = hits.mean(axis=1) - mean, hits.mean(axis=0) - mean
    of_seeds = images * float(seeds @ seeds) / (n - 1)
    of_images = n * float(cells @ cells) / (images - 1)
    rest = n * images * mean * (1 - mean) - of_seeds * (n - 1) - of_images * (images - 1)
    return _Moments(n, images, mean, of_seeds, of_images, max(0.0, rest / ((n - 1) * (images - 1))))


def _plus_four(mean: float, variance: float, images: int) -> tuple[float, float]:
    """Return the centre and the standard error of a mean after adding two hits and two misses."""
    centre = (images * mean + 2) / (images + 4)
    widening = max(0.0, centre * (1 - centre) / (images + 4) - mean * (1 - mean) / images)
    return centre, math.sqrt(variance + widening)


def _degrees(found: _Moments) -> float:
    """Return Satterthwaite's degrees of freedom of the variance, at least those of the seeds alone."""
    n, images = found.n - 1, found.images - 1
    spread = found.of_seeds**2 / n + found.of_images**2 / images + found.of_rest**2 / (n * images)
    total = found.of_seeds + found.of_images - found.of_rest
    return max(float(n), total**2 / spread) if spread > 0 and total > 0 else float(n)
