"""Simulated studies that stop when they are decided: what the intervals, the ranking and the comparison say then."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from jobs.report.comparison import compare_arms, judge_change
from jobs.report.crossed import SEEDS_ALPHA, crossed_interval, widen_to_new_images
from jobs.report.paired import MIN_FOR_P, t_test
from jobs.report.sequential import MIN_SEEDS, looked_at
from jobs.report.summary import binomial_std
from support.simulated_studies import (
    ALPHA,
    ARM_SHIFT,
    IMAGE_SPREAD,
    SEED_SPREAD,
    Floats,
    centre_for,
    decided_after,
    draw_shared,
    mean_accuracy,
    running_log_e,
    t_test_p,
    truth_on,
)
from support.study_arms import arms_of

_BATCH = 50  # studies


@dataclass(frozen=True)
class StoppedCoverage:
    """How often intervals hold their targets where the results end the seeds, and their mean widths in points."""

    n: float  # seeds, on average
    seeds: float  # at the end
    seeds_width: float
    new_images: float
    new_images_width: float
    seeds_always: float  # after every look together
    new_images_always: float
    fixed_seeds_always: float  # the same for the intervals that are made for a fixed number of seeds
    fixed_new_images_always: float
    fixed_new_images_width: float


def simulate_stopped_coverage(accuracy: float, images: int, at_most: int, studies: int) -> StoppedCoverage:
    """Simulate studies of two configurations that stop when their difference is decided.

    Args:
        accuracy: Of the first configuration, over all seeds and images.
        images: Test images.
        at_most: Seeds.
        studies: How many studies to simulate.
    """
    centre = centre_for(accuracy)
    truth = mean_accuracy(centre, math.hypot(IMAGE_SPREAD, SEED_SPREAD))
    rng = np.random.default_rng([at_most, images])
    rows: list[list[float]] = []
    for _ in range(studies // _BATCH):
        own, other = (centre + IMAGE_SPREAD * each for each in draw_shared(rng, (_BATCH, 1, images)))
        quality, other_quality = (SEED_SPREAD * each for each in draw_shared(rng, (_BATCH, at_most, 1)))
        hits, other_hits = (
            rng.random((_BATCH, at_most, images)) < expit(logits)
            for logits in (own + quality, other - ARM_SHIFT + other_quality)
        )
        differences = hits.mean(axis=2) - other_hits.mean(axis=2)
        stops = np.minimum(decided_after(differences, math.sqrt(2) * binomial_std(accuracy, images)), at_most)
        here = truth_on(own)
        rows += [_stopped(hits[each, : stops[each]], float(here[each]), truth) for each in range(_BATCH)]
    return StoppedCoverage(*(float(each) for each in np.nanmean(np.array(rows), axis=0)))


def _stopped(hits: NDArray[np.bool_], here: float, truth: float) -> list[float]:
    """Return the figures of StoppedCoverage for one study."""
    looks = np.array([_look(hits[:n], here, truth) for n in range(MIN_SEEDS, len(hits) + 1)])
    always = looks.min(axis=0)
    end = looks[-1]
    return [len(hits), *end[:4], always[0], always[2], always[4], always[5], end[6]]


def _look(hits: NDArray[np.bool_], here: float, truth: float) -> list[float]:
    """Return whether each interval of the seeds so far covers its target, and some widths, in points."""
    accuracies = dict(enumerate(hits.mean(axis=1).tolist()))
    values, images = list(accuracies.values()), hits.shape[1]

    def stand_in(n: int) -> float:
        return binomial_std(float(np.mean(values[:n])), images)

    fixed, crossed = t_test(values, stand_in(len(values))), crossed_interval(hits)
    assert crossed is not None
    assert fixed.low is not None
    assert fixed.high is not None
    of_fixed = [
        float(fixed.low <= here <= fixed.high),
        float(crossed.low <= truth <= crossed.high),
        100 * (crossed.high - crossed.low),
    ]
    interval, wider = (looked_at(accuracies, stand_in, MIN_SEEDS, alpha).interval for alpha in (ALPHA, SEEDS_ALPHA))
    if interval is None or wider is None:
        return [1.0, math.nan, 1.0, math.nan, *of_fixed]
    of_all = widen_to_new_images(wider, hits)
    assert of_all is not None
    return [
        float(interval[0] <= here <= interval[1]),
        100 * (interval[1] - interval[0]),
        float(of_all[0] <= truth <= of_all[1]),
        100 * (of_all[1] - of_all[0]),
        *of_fixed,
    ]


def stopped_means(effect: float, studies: int, at_most: int = 40) -> tuple[float, float, float]:
    """Simulate studies that stop when they are decided, with differences of a standard deviation of 1.

    Args:
        effect: The true mean difference.
        studies: How many studies to simulate.
        at_most: Seeds.

    Returns:
        Averages over the studies: seeds, mean difference and standard deviation at the end.
    """
    values = np.random.default_rng(3).normal(effect, 1.0, (studies, at_most))
    seeds = np.minimum(decided_after(values), at_most)
    ends = [each[:n] for each, n in zip(values, seeds, strict=True)]
    means, spreads = ([float(fn(end)) for end in ends] for fn in (np.mean, lambda end: np.std(end, ddof=1)))
    return float(seeds.mean()), float(np.mean(means)), float(np.mean(spreads))


@dataclass(frozen=True)
class Choices:
    """What the ranking says in studies that look at it after every seed; shares of the studies."""

    loses_best: float  # some look calls the truly best configuration behind
    is_wrong: float  # some look calls a configuration behind that is not


def simulate_choices(
    effects: tuple[float, ...], studies: int, looks: int, *, is_anytime: bool = True, seed: int = 7
) -> Choices:
    """Simulate studies in which the best configuration is chosen, as jobs.report.ranking does it.

    Args:
        effects: Mean of each configuration, in standard deviations of a paired difference; the last is the best.
        studies: How many studies to simulate.
        looks: Seeds.
        is_anytime: Whether p is that of the e-process; otherwise that of an ordinary t-test.
        seed: Of the random numbers.
    """
    rng, count = np.random.default_rng(seed), len(effects)
    truth = np.array(effects)[:, None, None]
    arms = rng.normal(0, math.sqrt(0.5), (count, studies, looks)) + truth
    best = arms.cumsum(axis=2).argmax(axis=0)
    p = np.full((count, count, studies, looks), 2.0)  # where the best one is compared with itself
    for a, b in combinations(range(count), 2):
        p[a, b] = p[b, a] = _anytime_p(arms[a] - arms[b]) if is_anytime else _t_p(arms[a] - arms[b])
    of_best = np.moveaxis(p[best, :, np.arange(studies)[:, None], np.arange(looks)], -1, 0)
    is_behind = _holm(of_best, count - 1) < ALPHA
    is_false = is_behind & (truth >= truth[best, 0, 0])
    return Choices(float(is_behind[-1].any(axis=1).mean()), float(is_false.any(axis=(0, 2)).mean()))


def _anytime_p(differences: Floats) -> Floats:
    return np.asarray(np.minimum(1.0, np.exp(-running_log_e(differences))))


def _t_p(differences: Floats) -> Floats:
    """Return the p of a paired t-test after every seed from which there is one."""
    n = np.arange(1, differences.shape[1] + 1)
    return np.asarray(np.where(n < MIN_FOR_P, 1.0, t_test_p(differences)))


def _holm(p: Floats, tests: int) -> Floats:
    """Correct p values along the first axis, one of which is no test."""
    order = np.argsort(p, axis=0)
    factors = np.maximum(tests - np.arange(len(p)), 1).reshape(-1, *[1] * (p.ndim - 1))
    corrected = np.empty_like(p)
    ordered = np.maximum.accumulate(np.take_along_axis(p, order, axis=0) * factors, axis=0)
    np.put_along_axis(corrected, order, ordered, axis=0)
    return corrected


def regression_alarms(effect: float, studies: int, at_most: int, *, is_anytime: bool = True) -> float:
    """Return the share of unchanged jobs that `compare` calls worse, where both jobs stop when they are decided.

    Args:
        effect: By which the two configurations of each job differ, in standard deviations of a paired difference.
        studies: How many pairs of jobs to simulate.
        at_most: Seeds of a job.
        is_anytime: Whether tests hold after every look.
    """
    rng, images, scale = np.random.default_rng(5), 5000, 0.002
    jobs = rng.normal(0, math.sqrt(0.5), (2, 2, studies, at_most))  # jobs, configurations
    jobs[:, 1] += effect
    stops = [np.minimum(decided_after(arms[1] - arms[0]), at_most) for arms in jobs]
    worse = 0
    for study in range(studies):
        accuracies = [0.9 + scale * arms[:, study, : stop[study]] for arms, stop in zip(jobs, stops, strict=True)]
        worse += _is_worse(*accuracies, images=images, first_look=MIN_SEEDS if is_anytime else None)
    return worse / studies


def _is_worse(before: Floats, after: Floats, *, images: int, first_look: int | None) -> bool:
    sizes = [100, 200]

    def of(job: Floats, trial: Mapping[str, int], seed: int) -> float:
        return float(job[sizes.index(trial["subset_size"]), seed])

    one, other = (
        arms_of({"subset_size": sizes}, job.shape[1], lambda trial, seed, job=job: of(job, trial, seed))  # type: ignore[misc]
        for job in (before, after)
    )
    changes, by_seed = compare_arms(one, other, images, first_look)
    return judge_change(changes, by_seed, images, 0.0, first_look)[0] == "worse"
