"""Contrasts: how much one setting changes the test accuracy, everything else equal, and how sure that is."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

import pyarrow as pa

from jobs.report.arms import Arms, Level, Pair, level_pairs
from jobs.report.paired import Difference, anytime_difference, holm, paired_difference
from jobs.report.sequential import ALPHA as ALPHA
from jobs.store import SETTINGS, SeedRule, column

_FLOAT = pa.float64()

_AXIS = [
    column("axis", pa.string(), "Setting in which the two configurations differ."),
    column("level_a", pa.string(), "Value of that setting in the first configuration, as text."),
    column("level_b", pa.string(), "Value of that setting in the second configuration, as text."),
]
_RESULT = [
    column("n", pa.int64(), "Number of seeds that finished in both configurations.", unit="seeds"),
    column("collapsed", pa.int64(), "How many of these seeds have a network that collapsed, of either.", unit="seeds"),
    column("mean", _FLOAT, "Mean over seeds of the difference in test accuracy, a minus b.", nullable=True),
    column("mean_without_collapsed", _FLOAT, "The same over the other seeds; null where none is left.", nullable=True),
    column(
        "low",
        _FLOAT,
        "Lower end of the 95 % interval of the mean; null below three seeds, and while it has no bound.",
        nullable=True,
    ),
    column("high", _FLOAT, "Upper end of that interval.", nullable=True),
    column("method", pa.string(), "How interval and p were found; anytime: they hold however often one has looked."),
    column(
        "p",
        _FLOAT,
        "Two-sided p of a mean difference of zero; null below four seeds, unless the method is anytime.",
        nullable=True,
    ),
    column(
        "p_sign_flip",
        _FLOAT,
        "Exact p over all changes of sign; null below six seeds, and where the method is anytime.",
        nullable=True,
    ),
    column("p_holm", _FLOAT, "p, corrected for the number of contrasts in the family (Holm).", nullable=True),
    column("family", pa.string(), "Name of the family of contrasts that p_holm is corrected for."),
    column("family_size", pa.int64(), "Number of contrasts of the family that have a p.", unit="contrasts"),
    column("seeds_agree", pa.int64(), "Seeds whose difference has the sign of the mean.", unit="seeds", nullable=True),
    column("correlation", _FLOAT, "Pearson correlation of the two configurations over the seeds.", nullable=True),
    column("error_reduction", _FLOAT, "Share of the errors of b that a avoids.", nullable=True),
    column("word", pa.string(), "clear, suggested, negligible or open."),
]


def contrast_table(
    arms: Arms,
    test_images: int,
    baseline: Mapping[str, Level] | None = None,
    margin: float | None = None,
    until: SeedRule | None = None,
) -> pa.Table:
    """Compare every pair of configurations that differ in one setting only.

    Args:
        arms: The study.
        test_images: The number of images that every accuracy is a share of.
        baseline: For some axes, the level with which all others are compared.
        margin: The difference, a fraction, below which two configurations count as equally good.
        until: The rule by which the seeds end, where their number was not given: tests and intervals then hold for
            all looks together.

    Returns:
        One row per contrast, axis by axis. The columns between level_b and n are the settings that vary in the study;
        that of the axis itself is null.
    """
    families = [_family(arms, axis, test_images, (baseline or {}).get(axis), margin, until) for axis in arms.axes]
    return pa.Table.from_pylist([row for family in families for row in family], contrast_schema(arms.axes))


def contrast_schema(axes: Sequence[str]) -> pa.Schema:
    """Return the schema of the contrasts of a study with these axes."""
    fields = {field.name: field.with_nullable(True) for field in SETTINGS}
    return pa.schema([*_AXIS, *(fields[axis] for axis in axes), *_RESULT])


def _family(
    arms: Arms, axis: str, test_images: int, baseline: Level | None, margin: float | None, until: SeedRule | None
) -> list[dict[str, Any]]:
    """Compare along one axis, and correct for the number of tests."""
    found = [
        (level_a, level_b, pair, _compare(arms, pair, test_images, until))
        for level_a, level_b in level_pairs(arms, axis, baseline)
        for pair in arms.pairs(axis, level_a, level_b)
    ]
    p_values = [difference.p for *_, difference in found if difference.p is not None]
    corrected = iter(holm(p_values))
    rows = []
    for level_a, level_b, pair, difference in found:
        p_holm = None if difference.p is None else next(corrected)
        rows.append(
            {
                **_identity(axis, level_a, level_b, pair),
                **difference._asdict(),
                **_without_collapsed(arms, pair),
                "p_holm": p_holm,
                "family": axis if baseline is None else f"{axis} against {format_level(baseline)}",
                "family_size": len(p_values),
                "word": word(difference, p_holm, margin),
            }
        )
    return rows


def _compare(arms: Arms, pair: Pair, test_images: int, until: SeedRule | None) -> Difference:
    if until:
        return anytime_difference(
            arms.accuracies[pair.a], arms.accuracies[pair.b], test_images, first_look=until.at_least
        )
    a, b = arms.aligned(pair.a, pair.b)
    return paired_difference(a, b, test_images)


def _without_collapsed(arms: Arms, pair: Pair) -> dict[str, Any]:
    """Compare over the seeds in which neither network collapsed."""
    a, b = arms.accuracies[pair.a], arms.accuracies[pair.b]
    shared = a.keys() & b.keys()
    collapsed = shared & (arms.collapsed.get(pair.a, frozenset()) | arms.collapsed.get(pair.b, frozenset()))
    others = [a[seed] - b[seed] for seed in sorted(shared - collapsed)]
    return {"collapsed": len(collapsed), "mean_without_collapsed": fmean(others) if others else None}


def _identity(axis: str, level_a: Level, level_b: Level, pair: Pair) -> dict[str, Any]:
    return {"axis": axis, "level_a": format_level(level_a), "level_b": format_level(level_b), **pair.context}


def format_level(level: Level) -> str:
    """Write a level as a grid file does."""
    return str(level).lower() if isinstance(level, bool) else str(level)


def word(difference: Difference, p_holm: float | None, margin: float | None) -> str:
    """Say by rule what a difference shows.

    Args:
        difference: The difference.
        p_holm: Its corrected p.
        margin: The difference below which two configurations count as equally good.

    Returns:
        `negligible` where the interval lies inside the margin, whatever p is; else `clear` where the corrected p is
        below ALPHA, `suggested` where only the uncorrected p is, and `open`.
    """
    low, high, p = difference.low, difference.high, difference.p
    if margin is not None and low is not None and high is not None and -margin < low <= high < margin:
        return "negligible"
    if p is None or p_holm is None or p >= ALPHA:
        return "open"
    return "clear" if p_holm < ALPHA else "suggested"
