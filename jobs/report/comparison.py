"""Compare two jobs: trial by trial to the bit, and where that fails, by a paired test over their common seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.arms import Arms, Level
from jobs.report.configurations import CONFIGURATION_COLUMNS
from jobs.report.contrasts import ALPHA
from jobs.report.paired import Difference, holm, paired_difference, t_test
from jobs.report.summary import binomial_std
from jobs.store import EPOCH

# What a trial computed, of the columns of a part; times and the machine are no part of it.
RESULT_COLUMNS = (
    "status",
    "test_accuracy",
    "test_loss",
    "train_accuracy",
    "train_loss",
    "validation_accuracy",
    "validation_loss",
    "epochs_run",
    "predicted",
)
_EPOCH_FIELDS = tuple(field.name for field in EPOCH if field.name != "epoch_seconds")
Outcome = Literal["equal", "no worse", "worse", "open"]


@dataclass(frozen=True)
class ConfigurationChange:
    """How a configuration changed from the first job to the second."""

    settings: Mapping[str, Level | None]
    difference: Difference  # of test accuracies, the second job minus the first
    p_holm: float | None


@dataclass(frozen=True)
class JobComparison:
    """What changed between two jobs."""

    outcome: Outcome
    trials: int  # that both jobs have, with equal settings and seed
    equal: int  # of these, equal in every number
    only_first: int  # trials that the second job lacks
    only_second: int
    n: int  # seeds that every common configuration has in both jobs
    mean: float | None  # change in test accuracy over these seeds and configurations
    low: float | None  # of its 95 % interval
    high: float | None
    p: float | None
    changes: tuple[ConfigurationChange, ...]


def count_equal(first: pa.Table, second: pa.Table) -> int:
    """Count the rows that are equal to the bit, NaN included.

    Args:
        first: Stored trials, with RESULT_COLUMNS and epochs.
        second: The trials that belong to them, row by row.
    """
    same = np.ones(first.num_rows, np.bool_)
    for name in RESULT_COLUMNS:
        same &= _same(first[name], second[name])
    lengths = [pc.list_value_length(each["epochs"]).to_numpy(zero_copy_only=False) for each in (first, second)]
    same &= lengths[0] == lengths[1]
    rows = pa.array(np.flatnonzero(same))
    epochs = [pc.list_flatten(each["epochs"].take(rows)) for each in (first, second)]
    parents = np.repeat(np.arange(len(rows)), lengths[0][same])
    differs = np.zeros(len(rows), np.bool_)
    for name in _EPOCH_FIELDS:
        equal = _same(*(pc.struct_field(each, name) for each in epochs))
        differs[parents[~equal]] = True
    return len(rows) - int(differs.sum())


def _same(a: pa.ChunkedArray, b: pa.ChunkedArray) -> NDArray[np.bool_]:
    both_null = pc.and_(pc.is_null(a, nan_is_null=True), pc.is_null(b, nan_is_null=True))
    same: NDArray[np.bool_] = pc.or_(pc.fill_null(pc.equal(a, b), False), both_null).to_numpy(zero_copy_only=False)
    return same


def compare_arms(first: Arms, second: Arms, test_images: int) -> tuple[list[ConfigurationChange], list[list[float]]]:
    """Compare each configuration that both jobs have, seed by seed.

    Args:
        first: The configurations of the first job.
        second: Those of the second job.
        test_images: The number of images that every accuracy is a share of.

    Returns:
        The changes, with p values corrected for their number (Holm); and for each seed that all of these
        configurations have in both jobs, the difference of each.
    """
    known = {_key(settings): arm for arm, settings in first.settings.items()}
    pairs = [(known[_key(settings)], arm) for arm, settings in second.settings.items() if _key(settings) in known]
    found, by_seed = [], []
    for one, other in pairs:
        before, after = first.accuracies[one], second.accuracies[other]
        seeds = sorted(before.keys() & after.keys())
        difference = paired_difference([after[seed] for seed in seeds], [before[seed] for seed in seeds], test_images)
        found.append((second.settings[other], difference))
        by_seed.append({seed: after[seed] - before[seed] for seed in seeds})
    corrected = iter(holm([difference.p for _, difference in found if difference.p is not None]))
    changes = [
        ConfigurationChange(settings, difference, None if difference.p is None else next(corrected))
        for settings, difference in found
    ]
    common = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    return changes, [[each[seed] for each in by_seed] for seed in common]


def _key(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in CONFIGURATION_COLUMNS)


def judge_change(
    changes: Sequence[ConfigurationChange], by_seed: Sequence[Sequence[float]], test_images: int, gate: float
) -> tuple[Outcome, dict[str, Any]]:
    """Say whether the second job is worse than the first.

    Args:
        changes: As `compare_arms` returns them.
        by_seed: The differences of all configurations, for each seed that all of them have.
        test_images: The number of images that every accuracy is a share of.
        gate: The loss of accuracy, a fraction, that is accepted.

    Returns:
        `worse` where a loss beyond the gate is clear, on average or in one configuration; `no worse` where the
        interval of the average lies above minus the gate; else `open`. And the figures of the average.
    """
    means = [fmean(seed) for seed in by_seed]
    mean = fmean(means) if means else None
    stand_in = binomial_std(0.5, test_images) * 2**0.5
    test = t_test(means, stand_in)
    figures = {"n": len(means), "mean": mean, "low": test.low, "high": test.high, "p": test.p}
    is_worse = mean is not None and mean < -gate and test.p is not None and test.p < ALPHA
    if is_worse or any(_is_clearly_worse(change, gate) for change in changes):
        return "worse", figures
    return "no worse" if gate and test.low is not None and test.low > -gate else "open", figures


def _is_clearly_worse(change: ConfigurationChange, gate: float) -> bool:
    mean, p = change.difference.mean, change.p_holm
    return mean is not None and p is not None and mean < -gate and p < ALPHA
