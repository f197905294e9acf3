"""Compare two jobs: trial by trial to the bit, and where that fails, by a paired test over their common seeds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.report.arms import Accuracies, Arms, Level
from jobs.report.configurations import CONFIGURATION_COLUMNS
from jobs.report.contrasts import ALPHA
from jobs.report.paired import ANYTIME, Difference, TTest, anytime_difference, holm, paired_difference, t_test
from jobs.report.sequential import looked_at
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
    method: str  # how interval and p were found; anytime: they hold however often one has looked
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


def compare_arms(
    first: Arms, second: Arms, test_images: int, first_look: int | None = None
) -> tuple[list[ConfigurationChange], dict[int, list[float]]]:
    """Compare each configuration that both jobs have, seed by seed.

    Args:
        first: The configurations of the first job.
        second: Those of the second job.
        test_images: The number of images that every accuracy is a share of.
        first_look: Where the seeds of a job end by a rule, the number of seeds after which it looked first: tests and
            intervals then hold for all looks together.

    Returns:
        The changes, with p values corrected for their number (Holm); and by seed, for those that all of these
        configurations have in both jobs, the difference of each.
    """
    known = {_key(settings): arm for arm, settings in first.settings.items()}
    pairs = [(known[_key(settings)], arm) for arm, settings in second.settings.items() if _key(settings) in known]
    found, by_seed = [], []
    for one, other in pairs:
        before, after = first.accuracies[one], second.accuracies[other]
        seeds = sorted(before.keys() & after.keys())
        found.append((second.settings[other], _difference(after, before, seeds, test_images, first_look)))
        by_seed.append({seed: after[seed] - before[seed] for seed in seeds})
    corrected = iter(holm([difference.p for _, difference in found if difference.p is not None]))
    changes = [
        ConfigurationChange(settings, difference, None if difference.p is None else next(corrected))
        for settings, difference in found
    ]
    common = sorted(set.intersection(*map(set, by_seed))) if by_seed else []
    return changes, {seed: [each[seed] for each in by_seed] for seed in common}


def _difference(
    a: Accuracies, b: Accuracies, seeds: Sequence[int], test_images: int, first_look: int | None
) -> Difference:
    if first_look is not None:
        return anytime_difference(a, b, test_images, first_look)
    return paired_difference([a[seed] for seed in seeds], [b[seed] for seed in seeds], test_images)


def _key(settings: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(settings[name] for name in CONFIGURATION_COLUMNS)


def judge_change(
    changes: Sequence[ConfigurationChange],
    by_seed: Mapping[int, Sequence[float]],
    test_images: int,
    gate: float,
    first_look: int | None = None,
) -> tuple[Outcome, dict[str, Any]]:
    """Say whether the second job is worse than the first.

    Args:
        changes: As `compare_arms` returns them.
        by_seed: The differences of all configurations, for each seed that all of them have.
        test_images: The number of images that every accuracy is a share of.
        gate: The loss of accuracy, a fraction, that is accepted.
        first_look: As `compare_arms` takes it.

    Returns:
        `worse` where a loss beyond the gate is clear, on average or in one configuration; `no worse` where the
        interval of the average lies above minus the gate; else `open`. And the figures of the average.
    """
    means = {seed: fmean(each) for seed, each in by_seed.items()}
    mean = fmean(means.values()) if means else None
    test = _test(means, binomial_std(0.5, test_images) * 2**0.5, first_look)
    figures = {"n": len(means), "mean": mean, **test._asdict()}
    is_worse = mean is not None and mean < -gate and test.p is not None and test.p < ALPHA
    if is_worse or any(_is_clearly_worse(change, gate) for change in changes):
        return "worse", figures
    return "no worse" if gate and test.low is not None and test.low > -gate else "open", figures


def _test(means: Mapping[int, float], stand_in_sd: float, first_look: int | None) -> TTest:
    if first_look is None:
        return t_test(list(means.values()), stand_in_sd)
    running = looked_at(means, lambda n: stand_in_sd, first_look)
    low, high = running.interval or (None, None)
    return TTest(low, high, ANYTIME, running.p)


def _is_clearly_worse(change: ConfigurationChange, gate: float) -> bool:
    mean, p = change.difference.mean, change.p_holm
    return mean is not None and p is not None and mean < -gate and p < ALPHA
