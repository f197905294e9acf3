"""How many more seeds an interval of a chosen width needs: a range, for few seeds tell little of their spread."""

import math
from collections.abc import Callable
from typing import NamedTuple

import pyarrow as pa

from jobs.report import sequential
from jobs.report.summary import CONFIDENCE, MIN_INTERVAL_N, Row, binomial_std
from jobs.store import column

NEEDED = pa.schema(
    [
        column("target", pa.float64(), "Half the width that the 95 % interval of the mean over seeds is to have."),
        column(
            "more_seeds",
            pa.int64(),
            "Seeds to add for that width if the standard deviation stays as it is; null for n below 2.",
            unit="seeds",
            nullable=True,
        ),
        column(
            "more_seeds_low",
            pa.int64(),
            "The same for the least standard deviation that agrees with the seeds so far (95 %).",
            unit="seeds",
            nullable=True,
        ),
        column(
            "more_seeds_high",
            pa.int64(),
            "The same for the greatest standard deviation that agrees with the seeds so far (95 %).",
            unit="seeds",
            nullable=True,
        ),
    ],
    metadata={"description": "Further columns of the summary where a width of its intervals is asked for."},
)


class MoreSeeds(NamedTuple):
    """How many seeds to add for an interval of a chosen width."""

    likely: int  # if the standard deviation stays as it is
    low: int  # for the ends of the 95 % interval of the standard deviation
    high: int


HalfWidth = Callable[[int, float], float]  # of the interval of the mean of n values with this standard deviation


def half_width(n: int, std: float) -> float:
    """Return half the width of the 95 % t-interval of the mean of n values with this standard deviation."""
    from scipy.special import stdtrit

    return float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n)


def anytime_half_width(n: int, std: float) -> float:
    """Return half the width of the 95 % interval that holds after every look; infinite for few values."""
    return sequential.half_width(n, std, sequential.ALPHA)


def add_seeds_needed(summary: pa.Table, target: float, *, is_anytime: bool = False) -> pa.Table:
    """Add the columns NEEDED to a summary.

    Args:
        summary: A table with the schema SUMMARY.
        target: Half the width that the interval of the mean over seeds is to have, a fraction.
        is_anytime: Whether the seeds end by a rule, so that the interval holds after every look.
    """
    found = [
        _more_seeds_of(row, target, anytime_half_width if is_anytime else half_width) for row in summary.to_pylist()
    ]
    columns = [[target] * len(found), *([each and each[index] for each in found] for index in range(3))]
    for field, values in zip(NEEDED, columns, strict=True):
        summary = summary.append_column(field, pa.array(values, field.type))
    return summary


def _more_seeds_of(row: Row, target: float, width: HalfWidth) -> MoreSeeds | None:
    std = row["test_accuracy_std"]
    if std is None:
        return None
    if row["interval"] is not None and (row["test_accuracy_high"] - row["test_accuracy_low"]) / 2 <= target:
        return MoreSeeds(0, 0, 0)
    if std == 0:  # as in the summary's interval, the standard deviation that one test set causes replaces it
        likely = more_seeds(row["n"], binomial_std(row["test_accuracy_mean"], row["test_images"]), target, width).likely
        return MoreSeeds(likely, likely, likely)
    return more_seeds(row["n"], std, target, width)


def more_seeds(n: int, std: float, target: float, width: HalfWidth = half_width) -> MoreSeeds:
    """Return how many seeds to add until half the width of the interval of the mean is at most `target`.

    Args:
        n: Seeds so far, at least two.
        std: Their standard deviation; not zero.
        target: Half the width; not zero.
        width: Returns it; by default that of the t-interval.

    Returns:
        The number if the standard deviation stays as it is, and those for the ends of its own 95 % interval (by the
        chi-squared distribution); all are 0 where the interval is narrow enough already.
    """
    from scipy.special import chdtri

    if n >= MIN_INTERVAL_N and width(n, std) <= target:
        return MoreSeeds(0, 0, 0)
    tail = (1 - CONFIDENCE) / 2
    least, greatest = (std * math.sqrt((n - 1) / float(chdtri(n - 1, share))) for share in (tail, 1 - tail))
    likely, low, high = (max(seeds_for(each, target, width) - n, 1) for each in (std, least, greatest))
    return MoreSeeds(likely, low, high)


def seeds_for(std: float, target: float, width: HalfWidth = half_width) -> int:
    """Return the least n, from MIN_INTERVAL_N on, of which half the interval's width is at most `target`."""
    enough = MIN_INTERVAL_N
    if width(enough, std) <= target:
        return enough
    while width(enough, std) > target:
        enough *= 2
    too_few = enough // 2
    while enough - too_few > 1:
        middle = (enough + too_few) // 2
        if width(middle, std) > target:
            too_few = middle
        else:
            enough = middle
    return enough
