"""Looking after every seed without being misled: anytime-valid tests and intervals of a mean.

The t statistic of n values is turned into an e-value. Whatever the variance of the values is, it is a test martingale
while their mean is zero. With an effect size of variance g under the alternative, t^2 = n mean^2 / sd^2 and v = n - 1,

    E = (1 + n g)^(-1/2) * ((1 + t^2 / v) / (1 + t^2 / (v (1 + n g))))^(n/2)

By Ville's inequality E reaches 1 / alpha with a probability of at most alpha, however often one looks. Sources: Wang
and Ramdas 2023, "Anytime-valid t-tests and confidence sequences for Gaussian means with unknown variance"; Gönen et
al. 2005, "The Bayesian two-sample t test".
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

ALPHA = 0.05
EFFECT_VARIANCE = 4.0  # g; simulated in tests/test_sequential.py
MIN_SEEDS = 3  # two values say next to nothing about their spread
MIN_FOR_ANSWER = 4  # seeds; with three, E stays below 1 / ALPHA whatever they are, and the interval has no bound
NO_SPREAD = 1e-12  # differences of equal counts of images may differ in their last bits


def log_e_value(values: Sequence[float], stand_in_sd: float, g: float = EFFECT_VARIANCE) -> float:
    """Return the logarithm of the evidence against a mean of zero.

    Args:
        values: One per seed, in the order in which they came.
        stand_in_sd: The standard deviation to assume where the values have no spread; not zero.
        g: Variance of the effect size, in standard deviations squared, under the alternative.

    Returns:
        log E; 0 for fewer than two values.
    """
    if len(values) < 2:
        return 0.0
    return log_e_value_of(len(values), fmean(values), spread(values, stand_in_sd), g)


def log_e_value_of(n: int, mean: float, sd: float, g: float = EFFECT_VARIANCE) -> float:
    """Return the logarithm of the e-value of n values, 2 or more, with this mean and standard deviation."""
    t_squared = n * (mean / sd) ** 2
    degrees = n - 1
    ratio = math.log1p(t_squared / degrees) - math.log1p(t_squared / (degrees * (1 + n * g)))
    return 0.5 * (n * ratio - math.log1p(n * g))


def spread(values: Sequence[float], stand_in_sd: float) -> float:
    """Return the standard deviation of some values, or the one to assume where they have none."""
    sd = stdev(values) if len(values) > 1 else 0.0
    return sd if sd > NO_SPREAD else stand_in_sd


def anytime_p(values: Sequence[float], stand_in_sd: float, g: float = EFFECT_VARIANCE) -> float:
    """Return a p value that is valid however often one has looked: the least 1 / E of all looks so far.

    Args:
        values: One per seed, in the order in which they came; a look is taken after each from the MIN_SEEDSth on.
        stand_in_sd: The standard deviation to assume where the values have no spread; not zero.
        g: Variance of the effect size under the alternative.
    """
    looks = (log_e_value(values[:n], stand_in_sd, g) for n in range(MIN_SEEDS, len(values) + 1))
    return min(1.0, math.exp(-max(looks, default=0.0)))


def confidence_sequence(
    values: Sequence[float], stand_in_sd: float, alpha: float, g: float = EFFECT_VARIANCE
) -> tuple[float, float]:
    """Return the interval of all means that the e-value does not reject at a level of alpha.

    Over all looks together, the probability that any of the intervals misses the true mean is at most alpha.

    Args:
        values: One per seed; at least one.
        stand_in_sd: The standard deviation to assume where the values have no spread; not zero.
        alpha: The probability of an error.
        g: Variance of the effect size under the alternative.

    Returns:
        Low and high; infinite while there are too few values for any bound.
    """
    mean = fmean(values)
    half = half_width(len(values), spread(values, stand_in_sd), alpha, g)
    return mean - half, mean + half


def half_width(n: int, sd: float, alpha: float, g: float = EFFECT_VARIANCE) -> float:
    """Return half the width of the confidence sequence of n values with this standard deviation; maybe infinite."""
    growth = 1 + n * g
    a = (1 / alpha) ** (2 / n) * growth ** (1 / n)
    if n < MIN_SEEDS or a >= growth:
        return math.inf
    return sd / math.sqrt(n) * math.sqrt((n - 1) * (a - 1) / (1 - a / growth))


@dataclass
class RunningMean:
    """A mean that is looked at again and again: its evidence only grows, and its interval only shrinks.

    Both are valid at all looks together, so the strongest evidence so far counts, and the part that all confidence
    sequences so far have in common. Where they have none, which is an error that alpha allows, the last common part
    stays.
    """

    alpha: float = ALPHA
    log_e: float = 0.0
    low: float = -math.inf
    high: float = math.inf

    def look(self, values: Sequence[float], stand_in_sd: float) -> None:
        """Take a look.

        Args:
            values: One per seed so far, in the order of the seeds.
            stand_in_sd: The standard deviation to assume where the values have no spread; not zero.
        """
        if len(values) < 2:
            return
        self.log_e = max(self.log_e, log_e_value(values, stand_in_sd))
        low, high = confidence_sequence(values, stand_in_sd, self.alpha)
        if max(low, self.low) <= min(high, self.high):
            self.low, self.high = max(low, self.low), min(high, self.high)

    @property
    def p(self) -> float:
        """The p value of a mean of zero, valid however often one has looked."""
        return min(1.0, math.exp(-self.log_e))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 1 - alpha interval; None while there is no bound."""
        return (self.low, self.high) if math.isfinite(self.low) and math.isfinite(self.high) else None


def looked_at(
    values: Mapping[int, float], stand_in_sd: Callable[[int], float], first_look: int, alpha: float = ALPHA
) -> RunningMean:
    """Look at values after each seed.

    Args:
        values: By seed.
        stand_in_sd: Returns the standard deviation to assume where the first n values have no spread.
        first_look: The number of seeds after which the first look was taken.
        alpha: The probability that any of the intervals misses the mean.
    """
    running, seeds = RunningMean(alpha), sorted(values)
    last_look = max(seeds[-1] + 1, first_look) if seeds else 0
    for look in range(first_look, last_look + 1):
        n = bisect_left(seeds, look)
        if n:
            running.look([values[seed] for seed in seeds[:n]], stand_in_sd(n))
    return running
