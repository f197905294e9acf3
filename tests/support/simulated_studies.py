"""Studies drawn from a model whose truth is known: how often intervals cover it, and how often looks mislead.

An image is classified correctly with the probability sigmoid(difficulty of the image + quality of the seed); all seeds
share the images, and both arms of a contrast share seeds and, mostly, difficulties.
"""

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pyarrow as pa
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import chi, norm, t

from jobs.report.paired import paired_difference
from jobs.report.sequential import EFFECT_VARIANCE, MIN_SEEDS
from jobs.report.summary import summarize
from jobs.store.schemas import REQUESTED
from support.study_tables import settings

ALPHA = 0.05
IMAGE_SPREAD, SEED_SPREAD = 3.0, 0.15  # standard deviations of the logits
SHARED = 0.9  # correlation of the arms, over images and over seeds
ARM_SHIFT = 0.3  # logits by which the second arm is worse
_BATCH = 100  # studies
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Coverage:
    """How often each interval holds its target, and how wide it is on average, in points."""

    seeds: float
    seeds_width: float
    new_images: float
    new_images_width: float
    contrast: float
    contrast_width: float


def mean_accuracy(centre: float, spread: float) -> float:
    """Return the mean of sigmoid(x) for a normal x."""
    nodes, weights = hermegauss(150)
    return float(expit(centre + spread * nodes) @ weights / weights.sum())


def centre_for(accuracy: float) -> float:
    """Return the mean logit of images that are classified correctly so often."""
    low, high = 0.0, 50.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if mean_accuracy(middle, _all_spread()) < accuracy else (low, middle)
    return low


def _all_spread() -> float:
    return math.hypot(IMAGE_SPREAD, SEED_SPREAD)


def simulate_coverage(accuracy: float, images: int, seeds: int, studies: int) -> Coverage:
    """Simulate studies of two configurations and hold the intervals of the code against the truth.

    Args:
        accuracy: Of the first configuration, over all seeds and images.
        images: Test images.
        seeds: Seeds of each configuration.
        studies: How many studies to simulate.
    """
    centre = centre_for(accuracy)
    truth = mean_accuracy(centre, _all_spread())
    rng = np.random.default_rng([seeds, images])
    found = [_batch(rng, centre, truth, images, seeds) for _ in range(studies // _BATCH)]
    return Coverage(*(float(each) for each in np.mean(np.concatenate(found), axis=0)))


def _batch(rng: np.random.Generator, centre: float, truth: float, images: int, seeds: int) -> Floats:
    """Return, for each study, whether each interval covers its target, and its width in points."""
    own, other = (centre + IMAGE_SPREAD * each for each in draw_shared(rng, (_BATCH, 1, images)))
    quality, other_quality = (SEED_SPREAD * each for each in draw_shared(rng, (_BATCH, seeds, 1)))
    other -= ARM_SHIFT
    hits, other_hits = (
        rng.random((_BATCH, seeds, images)) < expit(logits) for logits in (own + quality, other + other_quality)
    )
    here, other_here = truth_on(own), truth_on(other)
    rows = []
    for study, row in enumerate(_summarize(hits).to_pylist()):
        low, high, new_low, new_high = (
            row[name] for name in ("test_accuracy_low", "test_accuracy_high", "new_images_low", "new_images_high")
        )
        found = paired_difference(list(hits[study].mean(axis=1)), list(other_hits[study].mean(axis=1)), images)
        assert found.low is not None
        assert found.high is not None
        difference = here[study] - other_here[study]
        rows.append(
            [
                low <= here[study] <= high,
                100 * (high - low),
                new_low <= truth <= new_high,
                100 * (new_high - new_low),
                found.low <= difference <= found.high,
                100 * (found.high - found.low),
            ]
        )
    return np.array(rows, float)


def draw_shared(rng: np.random.Generator, shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    """Draw two standard normal arrays with the correlation SHARED."""
    first = rng.normal(size=shape)
    return first, np.asarray(SHARED * first + math.sqrt(1 - SHARED**2) * rng.normal(size=shape))


def truth_on(logits: Floats) -> Floats:
    """Return the mean accuracy over all seeds, on the images of each study."""
    nodes, weights = hermegauss(7)
    means = sum(weight * expit(logits + SEED_SPREAD * node) for node, weight in zip(nodes, weights, strict=True))
    return np.asarray((means / weights.sum()).mean(axis=(1, 2)))


def _summarize(hits: NDArray[np.bool_]) -> pa.Table:
    """Summarize hits, (studies, seeds, images), with a study as a configuration."""
    studies, seeds, images = hits.shape
    ids = [f"{study}-{seed}" for study in range(studies) for seed in range(seeds)]
    accuracies = hits.mean(axis=2).ravel()
    trials = pa.table(
        {
            "trial_id": ids,
            "status": ["finished"] * len(ids),
            **dict.fromkeys(("test_accuracy", "train_accuracy", "validation_accuracy"), pa.array(accuracies)),
            "collapsed": [False] * len(ids),
            "actual": [bytes(images)] * len(ids),
            "predicted": [(~each).tobytes() for each in hits.reshape(-1, images)],
        }
    )
    rows = [{"trial_id": trial_id, "configuration_id": trial_id.partition("-")[0], **settings(0)} for trial_id in ids]
    return summarize(trials, pa.Table.from_pylist(rows, REQUESTED), test_images=images)


def running_log_e(values: Floats, stand_in_sd: float = 1.0) -> Floats:
    """Return the largest log e-value of all looks so far, as jobs.report.sequential takes them.

    Args:
        values: Paired differences, (studies, seeds).
        stand_in_sd: The standard deviation to assume where the values have no spread.
    """
    n = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(axis=1) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = np.maximum(((values**2).cumsum(axis=1) - n * mean**2) / (n - 1), 0.0)
        variance = np.where(variance > 1e-18, variance, stand_in_sd**2)
        t_squared = n * mean**2 / variance
        growth = 1 + n * EFFECT_VARIANCE
        log_e = 0.5 * (n * (np.log1p(t_squared / (n - 1)) - np.log1p(t_squared / ((n - 1) * growth))) - np.log(growth))
    return np.maximum.accumulate(np.where(n < MIN_SEEDS, 0.0, log_e), axis=1)


def decided_after(values: Floats, stand_in_sd: float = 1.0) -> NDArray[np.int64]:
    """Return after how many seeds each study is decided; one more than it has where it is not."""
    decided = running_log_e(values, stand_in_sd) >= math.log(1 / ALPHA)
    return np.asarray(np.where(decided.any(axis=1), decided.argmax(axis=1) + 1, values.shape[1] + 1))


def repeated_t_alarms(values: Floats) -> float:
    """Return the share of studies in which an ordinary t-test after every seed finds a difference."""
    n = np.arange(1, values.shape[1] + 1)
    return float(((t_test_p(values) < ALPHA) & (n >= MIN_SEEDS)).any(axis=1).mean())


def t_test_p(values: Floats) -> Floats:
    """Return the p of a t-test after every seed; nan after the first."""
    n = np.arange(1, values.shape[1] + 1)
    mean = values.cumsum(axis=1) / n
    with np.errstate(invalid="ignore", divide="ignore"):
        variance = ((values**2).cumsum(axis=1) - n * mean**2) / (n - 1)
        return np.asarray(2 * t.sf(np.sqrt(n) * np.abs(mean) / np.sqrt(variance), n - 1))


def family_alarms(studies: int, looks: int, effects: tuple[float, ...], seed: int) -> float:
    """Return the share of studies with a false alarm in a family: all pairs of arms, Holm, a look after every seed.

    Args:
        studies: How many studies to simulate.
        looks: Seeds at most.
        effects: Mean of each arm, in standard deviations of a difference; arms with equal means differ by nothing.
        seed: Of the random numbers.
    """
    rng = np.random.default_rng(seed)
    arms = rng.normal(0, math.sqrt(0.5), (len(effects), studies, looks)) + np.array(effects)[:, None, None]
    pairs = list(combinations(range(len(effects)), 2))
    # p only falls from look to look, and Holm's rejections with it only grow: the last look has all of them.
    p = np.array([np.minimum(1.0, np.exp(-running_log_e(arms[a] - arms[b])[:, -1])) for a, b in pairs])
    order = np.argsort(p, axis=0)
    factors = np.arange(len(pairs), 0, -1)[:, None]
    corrected = np.maximum.accumulate(np.take_along_axis(p, order, axis=0) * factors, axis=0)
    is_null = np.array([effects[a] == effects[b] for a, b in pairs])
    return float(((corrected < ALPHA) & is_null[order]).any(axis=0).mean())


def count_differences(accuracy: float, images: int, studies: int, looks: int, seed: int) -> Floats:
    """Draw differences of two equally good arms, each with a whole number of images correct."""
    rng = np.random.default_rng(seed)
    first, second = rng.binomial(images, accuracy, (2, studies, looks)) / images
    return np.asarray(first - second)


def fixed_plan(effect: float, power: float = 0.9) -> int:
    """Return the fewest seeds with which a paired t-test finds an effect, in standard deviations, with this power."""
    n = 2
    while True:
        n += 1
        limit, shift = t.ppf(1 - ALPHA / 2, n - 1), effect * math.sqrt(n)
        # Over the standard deviation that the seeds show; scipy's noncentral t is wrong for large shifts.
        found, _ = quad(_found_with, 0, 10, (limit, shift, n))
        if found >= power:
            return n


def _found_with(ratio: float, limit: float, shift: float, n: int) -> float:
    """Return the chance to find an effect with this ratio of the seeds' spread to the true one, times its density."""
    density = chi.pdf(ratio * math.sqrt(n - 1), n - 1) * math.sqrt(n - 1)
    return float(norm.sf(limit * ratio - shift) * density)


@dataclass(frozen=True)
class Savings:
    """Seeds of a study that stops when it is decided, and of plans that do not, per contrast."""

    at_most: int  # with which the smallest effect is decided in 90 % of the studies
    mean_seeds: float
    fixed: int  # the plan with 90 % power for the smallest effect
    informed: float  # mean of the plans that know each effect
    power: float  # share of decided studies
    wrong: float  # share of studies decided for the wrong sign, or without an effect

    @property
    def saved(self) -> float:
        """Return the share of the fixed plan's seeds that stopping saves."""
        return 1 - self.mean_seeds / self.fixed


def simulate_savings(effects: tuple[float, ...], studies: int, seed: int = 3) -> Savings:
    """Simulate studies whose effects are an even mix of these, in standard deviations of a difference."""
    rng = np.random.default_rng(seed)
    real = [effect for effect in effects if effect]
    smallest = min(real)
    after = {effect: decided_after(rng.normal(effect, 1.0, (studies, 150))) for effect in effects}
    at_most = int(np.quantile(after[smallest], 0.9, method="higher"))
    decided = {effect: float((each <= at_most).mean()) for effect, each in after.items()}
    return Savings(
        at_most=at_most,
        mean_seeds=float(np.mean([np.minimum(each, at_most).mean() for each in after.values()])),
        fixed=fixed_plan(smallest),
        informed=float(np.mean([fixed_plan(effect or smallest) for effect in effects])),
        power=float(np.mean([decided[effect] for effect in real])),
        wrong=decided.get(0.0, 0.0) / len(effects),
    )
