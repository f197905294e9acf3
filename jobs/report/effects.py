"""Effects: how much each axis changes the test accuracy on average over the others, and how two axes interact.

An effect is a contrast within each seed, and a one-sample t-test over the seeds. In a full design with two levels per
axis that is repeated-measures analysis of variance: F = t^2. An ordered axis is represented by its largest and its
smallest level.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from statistics import fmean
from typing import Any, NamedTuple

import pyarrow as pa

from jobs.report.arms import Arms, Level, Pair, is_ordered, level_pairs
from jobs.report.contrasts import format_level
from jobs.report.paired import holm, t_test
from jobs.report.sequential import looked_at
from jobs.report.summary import binomial_std
from jobs.store import SeedRule, column
from mnist_core.trial import SETTINGS

_FLOAT = pa.float64()

# Where the seeds end by a rule, interval and p hold after every look, as those of the contrasts do.
EFFECTS = pa.schema(
    [
        column("effect", pa.string(), "An axis, or two with an x between them: their interaction."),
        column("level_a", pa.string(), "Level of the axis, or levels of both."),
        column("level_b", pa.string(), "Level with which level_a is compared."),
        column("n", pa.int64(), "Number of seeds that finished in every configuration of the effect.", unit="seeds"),
        column("mean", _FLOAT, "Mean over seeds of the effect on the test accuracy, a minus b.", nullable=True),
        column("low", _FLOAT, "Lower end of the 95 % interval of the mean; null below three seeds.", nullable=True),
        column("high", _FLOAT, "Upper end of the 95 % interval of the mean; null below three seeds.", nullable=True),
        column("p", _FLOAT, "Two-sided p of an effect of zero; null below four seeds.", nullable=True),
        column("p_holm", _FLOAT, "p, corrected for the number of effects in the table (Holm).", nullable=True),
    ]
)


class Effect(NamedTuple):
    """A weighted sum of the accuracies of configurations."""

    name: str
    level_a: str
    level_b: str
    weights: Mapping[str, float]  # by configuration_id
    pairs: Sequence[Pair] = ()  # of configurations, whose differences a main effect averages


def effect_table(
    arms: Arms, test_images: int, baseline: Mapping[str, Level] | None = None, until: SeedRule | None = None
) -> pa.Table:
    """Average every axis, and every pair of axes, over the rest of the design.

    Args:
        arms: The study.
        test_images: The number of images that every accuracy is a share of.
        baseline: For some axes, the level with which all others are compared.
        until: The rule by which the seeds end, where their number was not given: tests and intervals then hold for
            all looks together.

    Returns:
        A table with the schema EFFECTS: the axes, then their interactions.
    """
    effects = *main_effects(arms, baseline or {}), *_interactions(arms, baseline or {})
    rows = [_test(arms, effect, test_images, until) for effect in effects]
    tested = [row for row in rows if row["p"] is not None]
    for row, corrected in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = corrected
    return pa.Table.from_pylist(rows, EFFECTS)


def _level_pairs(arms: Arms, axis: str, baseline: Mapping[str, Level]) -> list[tuple[Level, Level]]:
    """Pair each level with the baseline; without one, the largest number with the smallest, names with the first."""
    if axis in baseline:
        return level_pairs(arms, axis, baseline[axis])
    first, *rest = arms.levels(axis)
    return [(level, first) for level in (rest[-1:] if is_ordered(axis) else rest)]


def main_effects(arms: Arms, baseline: Mapping[str, Level]) -> Iterator[Effect]:
    """Yield the effect of each axis, averaged over all pairs of configurations that differ in it alone."""
    for axis in arms.axes:
        for level_a, level_b in _level_pairs(arms, axis, baseline):
            pairs = list(arms.pairs(axis, level_a, level_b))
            if pairs:
                yield Effect(axis, format_level(level_a), format_level(level_b), _mean_of(pairs), pairs)


def _interactions(arms: Arms, baseline: Mapping[str, Level]) -> Iterator[Effect]:
    """Compare the effect of one axis at two levels of another."""
    for one, other in combinations(arms.axes, 2):
        if _uses(one, other) or _uses(other, one):
            continue  # at one level of an axis the other has no levels
        for a, b in _level_pairs(arms, one, baseline):
            for at_a, at_b in _level_pairs(arms, other, baseline):
                pairs: dict[Level, list[Pair]] = {at_a: [], at_b: []}
                for pair in arms.pairs(one, a, b):
                    level = pair.context[other]
                    if level is not None and level in pairs:
                        pairs[level].append(pair)
                if pairs[at_a] and pairs[at_b]:
                    yield Effect(
                        f"{one} x {other}",
                        f"{format_level(a)}, {format_level(at_a)}",
                        f"{format_level(b)}, {format_level(at_b)}",
                        _difference(_mean_of(pairs[at_a]), _mean_of(pairs[at_b])),
                    )


def _uses(axis: str, setting: str) -> bool:
    """Tell whether one level of an axis alone uses a setting, as an adaptive rate alone uses lr_decay."""
    condition = SETTINGS[setting].only_where
    return condition is not None and condition[0] == axis


def _mean_of(pairs: list[Pair]) -> dict[str, float]:
    """Weight the configurations so that their sum is the mean difference of the pairs."""
    weights: dict[str, float] = {}
    for pair in pairs:
        weights[pair.a] = weights.get(pair.a, 0.0) + 1 / len(pairs)
        weights[pair.b] = weights.get(pair.b, 0.0) - 1 / len(pairs)
    return weights


def _difference(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    return {arm: a.get(arm, 0.0) - b.get(arm, 0.0) for arm in (*a, *b)}


def effect_values(arms: Arms, effect: Effect, test_images: int) -> tuple[list[float], float]:
    """Return an effect within each seed.

    Args:
        arms: The study.
        effect: One of its effects.
        test_images: The number of images that every accuracy is a share of.

    Returns:
        One value per seed that every configuration of the effect has, in the order of the seeds; and the standard
        deviation to assume where they have no spread: that of a test set.
    """
    accuracies = arms.aligned(*effect.weights)
    weights = list(effect.weights.values())
    per_seed = [
        sum(weight * value for weight, value in zip(weights, seed, strict=True))
        for seed in zip(*accuracies, strict=True)
    ]
    if not per_seed:
        return [], 0.0
    spreads = (binomial_std(fmean(values), test_images) for values in accuracies)
    return per_seed, math.hypot(*(weight * spread for weight, spread in zip(weights, spreads, strict=True)))


def _test(arms: Arms, effect: Effect, test_images: int, until: SeedRule | None) -> dict[str, Any]:
    per_seed, stand_in_sd = effect_values(arms, effect, test_images)
    row = {"effect": effect.name, "level_a": effect.level_a, "level_b": effect.level_b, "n": len(per_seed)}
    if not per_seed:
        return row | dict.fromkeys(("mean", "low", "high", "p"))
    if until:
        seeds = sorted(set.intersection(*(set(arms.accuracies[arm]) for arm in effect.weights)))
        running = looked_at(dict(zip(seeds, per_seed, strict=True)), lambda n: stand_in_sd, until.at_least)
        low, high = running.interval or (None, None)
        return row | {"mean": fmean(per_seed), "low": low, "high": high, "p": running.p}
    test = t_test(per_seed, stand_in_sd)
    return row | {"mean": fmean(per_seed), "low": test.low, "high": test.high, "p": test.p}
