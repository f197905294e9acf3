"""The verdict on one axis: better, worse, negligible, or keep going. One may ask after every seed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from types import MappingProxyType

from jobs.errors import InputError
from jobs.report.arms import Arms, Level
from jobs.report.contrasts import ALPHA
from jobs.report.effects import Effect, effect_values, main_effects
from jobs.report.sequential import anytime_p, confidence_sequence, half_width, log_e_value_of, spread

BETTER, WORSE, NEGLIGIBLE, KEEP_GOING = "better", "worse", "negligible", "keep going"
MAX_FORECAST = 1000  # seeds; beyond it nobody would go on


@dataclass(frozen=True)
class Verdict:
    """What the seeds so far show about one axis, averaged over the rest of the study."""

    axis: str
    level_a: str
    level_b: str
    verdict: str
    n: int  # seeds
    configurations: int  # that were averaged
    mean: float | None  # difference in test accuracy, a minus b
    low: float | None  # of the interval that holds however often one looks; None: not bounded yet
    high: float | None
    p: float  # valid however often one looks
    better_in: int  # pairs of configurations in which a is better by itself, corrected for the number of pairs
    worse_in: int
    pairs: int  # of configurations whose differences were averaged
    seeds_needed: int | None  # in all, if mean and spread stay as they are; None: decided, or beyond MAX_FORECAST
    collapsed: int = 0  # trials of these configurations


def judge(
    arms: Arms,
    axis: str | None,
    test_images: int,
    level: str | None = None,
    margin: float | None = None,
    baseline: Mapping[str, Level] | None = None,
    collapsed: Mapping[str, int] = MappingProxyType({}),
) -> Verdict:
    """Judge one axis by the e-process of jobs.report.sequential.

    Args:
        arms: The study.
        axis: The axis; None: the only one.
        test_images: The number of images that every accuracy is a share of.
        level: The level of the axis to judge, as text, where it has more than two and is not ordered.
        margin: The difference, a fraction, below which two levels count as equally good.
        baseline: For some axes, the level with which all others are compared.
        collapsed: How many trials of a configuration collapsed.

    Raises:
        InputError: The axis does not vary in the study, or the axis or a level has to be chosen.
    """
    effect = _find_effect(arms, axis, level, baseline or {})
    values, stand_in_sd = effect_values(arms, effect, test_images)
    common = (effect.name, effect.level_a, effect.level_b)
    if not values:
        return Verdict(
            *common, KEEP_GOING, 0, len(effect.weights), None, None, None, 1.0, 0, 0, len(effect.pairs), None
        )
    mean, p = fmean(values), anytime_p(values, stand_in_sd)
    low, high = confidence_sequence(values, stand_in_sd, ALPHA)
    verdict = _word(mean, low, high, p, margin)
    return Verdict(
        *common,
        verdict,
        n=len(values),
        configurations=len(effect.weights),
        mean=mean,
        low=low if math.isfinite(low) else None,
        high=high if math.isfinite(high) else None,
        p=p,
        better_in=_decided(arms, effect, test_images, 1),
        worse_in=_decided(arms, effect, test_images, -1),
        pairs=len(effect.pairs),
        seeds_needed=_seeds_needed(len(values), mean, spread(values, stand_in_sd), margin)
        if verdict == KEEP_GOING
        else None,
        collapsed=sum(collapsed.get(arm, 0) for arm in effect.weights),
    )


def _find_effect(arms: Arms, axis: str | None, level: str | None, baseline: Mapping[str, Level]) -> Effect:
    """Return the effect of an axis; raise InputError where there is none, or more than one."""
    if not arms.axes:
        raise InputError("no setting varies in this study; a verdict compares the levels of one that does")
    if axis is None:
        if len(arms.axes) != 1:
            raise InputError(f"the settings that vary: {', '.join(arms.axes)}; choose the one to judge")
        (axis,) = arms.axes
    found = [effect for effect in main_effects(arms, baseline) if effect.name == axis]
    if not found:
        raise InputError(f"{axis}: does not vary in this study; varying: {', '.join(arms.axes)}")
    chosen = [effect for effect in found if level in (None, effect.level_a)]
    if len(chosen) != 1:
        allowed = ", ".join(effect.level_a for effect in found)
        wrong = f"{level!r} is not one of the levels to judge" if level else "has more than two levels"
        raise InputError(f"{axis}: {wrong}; allowed: one of {allowed}")
    return chosen[0]


def _decided(arms: Arms, effect: Effect, test_images: int, sign: int) -> int:
    """Count the pairs of configurations whose own difference is decided and has this sign."""
    count = 0
    for pair in effect.pairs:
        alone = effect._replace(weights={pair.a: 1.0, pair.b: -1.0})
        values, stand_in_sd = effect_values(arms, alone, test_images)
        p = anytime_p(values, stand_in_sd) if values else 1.0
        count += p * len(effect.pairs) < ALPHA and sign * fmean(values) > 0
    return count


def _word(mean: float, low: float, high: float, p: float, margin: float | None) -> str:
    if margin is not None and -margin < low <= high < margin:
        return NEGLIGIBLE
    if p < ALPHA:
        return BETTER if mean > 0 else WORSE
    return KEEP_GOING


def _seeds_needed(n: int, mean: float, sd: float, margin: float | None) -> int | None:
    """Return after how many seeds a mean and a spread like these would be decided."""
    for seeds in range(n + 1, MAX_FORECAST + 1):
        if log_e_value_of(seeds, mean, sd) >= math.log(1 / ALPHA):
            return seeds
        if margin is not None and abs(mean) + half_width(seeds, sd, ALPHA) < margin:
            return seeds
    return None
