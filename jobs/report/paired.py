"""Paired differences between two arms that share their seeds: interval, test and correction.

Accuracies are fractions. The seeds of both arms are aligned by value, so that the subset, the initial weights and the
shuffles that they share cancel out.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import correlation, fmean, stdev
from typing import NamedTuple

import numpy as np

from jobs.report.sequential import NO_SPREAD, looked_at
from jobs.report.summary import ANYTIME as ANYTIME
from jobs.report.summary import CONFIDENCE, MIN_INTERVAL_N, binomial_std

MIN_FOR_P = 4  # seeds; with fewer, a t-test has next to no power
MIN_FOR_SIGN_FLIP = 6  # seeds; with five, no sign-flip p lies below 0.0625
PAIRED_T, STAND_IN, MEAN_ONLY = "paired t", "paired t, binomial sd", "mean only"


class Difference(NamedTuple):
    """The mean difference between two arms, a minus b, with its test."""

    n: int  # seeds that both arms have
    mean: float | None
    low: float | None  # of the confidence interval
    high: float | None
    method: str
    p: float | None  # two-sided, of a mean difference of zero
    p_sign_flip: float | None  # the same without assuming a normal distribution
    seeds_agree: int | None  # seeds whose difference has the sign of the mean
    correlation: float | None  # of the arms over the seeds
    error_reduction: float | None  # share of the errors of b that a avoids


def paired_difference(a: Sequence[float], b: Sequence[float], test_images: int) -> Difference:
    """Compare two arms seed by seed.

    Args:
        a: One test accuracy per seed.
        b: The accuracies of the other arm, for the same seeds in the same order.
        test_images: The number of images that every accuracy is a share of.

    Returns:
        The mean of a minus b with its t-interval and t-test. Where the differences have no spread, the binomial
        standard deviation of a test set stands in for it. Below MIN_INTERVAL_N and MIN_FOR_P seeds the interval and
        the p values are None.
    """
    n = len(a)
    if n == 0:
        return Difference(0, None, None, None, MEAN_ONLY, None, None, None, None, None)
    differences = [one - other for one, other in zip(a, b, strict=True)]
    mean = fmean(differences)
    errors = 1 - fmean(b)
    test = t_test(differences, stand_in_of(a, b, test_images))
    return Difference(
        n,
        mean,
        test.low,
        test.high,
        test.method,
        test.p,
        sign_flip_p(differences, test_images) if n >= MIN_FOR_SIGN_FLIP else None,
        sum(math.copysign(1, each) == math.copysign(1, mean) and each != 0 for each in differences),
        _correlation(a, b),
        mean / errors if errors > 0 else None,
    )


class TTest(NamedTuple):
    """A one-sample t-test of a mean of zero, with the interval that belongs to it."""

    low: float | None
    high: float | None
    method: str
    p: float | None


def t_test(values: Sequence[float], stand_in_sd: float) -> TTest:
    """Test whether the mean of some values is zero.

    Args:
        values: One per seed.
        stand_in_sd: The standard deviation to assume where the values have no spread; not zero.
    """
    n = len(values)
    if n < MIN_INTERVAL_N:
        return TTest(None, None, MEAN_ONLY, None)
    from scipy.special import stdtr, stdtrit  # takes a tenth of a second to import, and `plan` does not need it

    mean, sd = fmean(values), stdev(values)
    method = PAIRED_T
    if sd <= NO_SPREAD:
        method, sd = STAND_IN, stand_in_sd
    error = sd / math.sqrt(n)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    p = 2 * float(stdtr(n - 1, -abs(mean) / error)) if n >= MIN_FOR_P else None
    return TTest(mean - half, mean + half, method, p)


def anytime_difference(a: Mapping[int, float], b: Mapping[int, float], test_images: int, first_look: int) -> Difference:
    """Compare two arms as `paired_difference` does, by a test and an interval that hold after every look.

    Args:
        a: Test accuracies by seed.
        b: Those of the other arm.
        test_images: The number of images that every accuracy is a share of.
        first_look: The number of seeds after which the first look was taken; one was taken after each further seed.

    Returns:
        The difference over the seeds that both arms have. Low and high are None while there is no bound.
    """
    seeds = sorted(a.keys() & b.keys())
    ones, others = [a[seed] for seed in seeds], [b[seed] for seed in seeds]
    differences = [one - other for one, other in zip(ones, others, strict=True)]
    running = looked_at(
        dict(zip(seeds, differences, strict=True)),
        lambda n: stand_in_of(ones[:n], others[:n], test_images),
        first_look,
    )
    low, high = running.interval or (None, None)
    found = paired_difference(ones, others, test_images)
    return found._replace(low=low, high=high, method=ANYTIME, p=running.p, p_sign_flip=None)


def stand_in_of(a: Sequence[float], b: Sequence[float], test_images: int) -> float:
    """Return the standard deviation that one test set gives to the difference of two accuracies."""
    return math.hypot(binomial_std(fmean(a), test_images), binomial_std(fmean(b), test_images))


def _correlation(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Pearson's r, or None where it is not defined."""
    if len(a) < MIN_INTERVAL_N or len(set(a)) == 1 or len(set(b)) == 1:
        return None
    return correlation(a, b)


def sign_flip_p(differences: Sequence[float], test_images: int) -> float:
    """Return the exact two-sided p of a symmetric distribution around zero, over all changes of sign.

    Args:
        differences: Of accuracies, one per seed.
        test_images: The number of images that every accuracy is a share of: times it, a difference is a whole number.
    """
    counts = [round(abs(each) * test_images) for each in differences]
    observed = abs(sum(round(each * test_images) for each in differences))
    total = sum(counts)
    chances = np.zeros(2 * total + 1)  # of each sum of signed counts, from -total
    chances[total] = 1.0
    for count in counts:
        chances = (np.roll(chances, count) + np.roll(chances, -count)) / 2
    sums = np.abs(np.arange(-total, total + 1))
    return float(min(1.0, chances[sums >= observed].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Correct the p values of a family of tests, so that at most alpha of all families hold a false alarm (Holm 1979).

    Args:
        p_values: In any order.

    Returns:
        The corrected values, in the same order.
    """
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
