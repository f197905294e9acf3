"""The summary: accuracies per configuration, aggregated over its seeds."""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import pyarrow as pa

from jobs.report.configurations import CONFIGURATION, CONFIGURATION_COLUMNS

# One row per configuration. Accuracies are fractions; null where too few trials finished.
SUMMARY = pa.schema(
    [
        *CONFIGURATION,
        pa.field("seeds_requested", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # finished trials with a test accuracy
        pa.field("test_accuracy_mean", pa.float64()),
        pa.field("test_accuracy_std", pa.float64()),  # of the sample: n - 1 degrees of freedom
        pa.field("test_accuracy_low", pa.float64()),  # 95 % t-interval of the mean, not clipped to [0, 1]
        pa.field("test_accuracy_high", pa.float64()),
        pa.field("train_accuracy_mean", pa.float64()),
        pa.field("validation_accuracy_mean", pa.float64()),
        pa.field("train_validation_gap", pa.float64()),
        pa.field("diverged", pa.int64(), nullable=False),
        pa.field("failed", pa.int64(), nullable=False),
        pa.field("missing", pa.int64(), nullable=False),  # neither stored nor failed
        pa.field("note", pa.string(), nullable=False),  # empty where n equals seeds_requested
    ]
)

SUMMARY_COLUMNS = ("trial_id", "status", "test_accuracy", "train_accuracy", "validation_accuracy")  # read from trials
CONFIDENCE = 0.95

Row = dict[str, Any]


class _Result(NamedTuple):
    """The SUMMARY_COLUMNS of one stored trial."""

    trial_id: str
    status: str
    test_accuracy: float | None
    train_accuracy: float
    validation_accuracy: float


def summarize(trials: pa.Table, requested: pa.Table, failed_ids: Collection[str] = ()) -> pa.Table:
    """Aggregate stored trials over seeds.

    Args:
        trials: The stored trials, with at least SUMMARY_COLUMNS; the order of the rows does not matter.
        requested: One row per requested trial, in the schema REQUESTED.
        failed_ids: The trials that failed for good.

    Returns:
        A table with the schema SUMMARY: one row per requested configuration, in the order in which `requested` first
        mentions it.
    """
    # Column by column: dicts of 100,000 rows would take longer than everything that follows.
    results = {one.trial_id: one for one in map(_Result, *(trials[name].to_pylist() for name in SUMMARY_COLUMNS))}
    seeds: dict[str, list[str]] = {}  # trial ids by configuration_id
    first_rows = []
    ids = zip(requested["configuration_id"].to_pylist(), requested["trial_id"].to_pylist(), strict=True)
    for index, (configuration, trial_id) in enumerate(ids):
        if configuration not in seeds:
            first_rows.append(index)
        seeds.setdefault(configuration, []).append(trial_id)
    settings = requested.select(CONFIGURATION_COLUMNS).take(pa.array(first_rows, pa.int64())).to_pylist()
    failed = frozenset(failed_ids)
    rows = [row | _aggregate(each, results, failed) for row, each in zip(settings, seeds.values(), strict=True)]
    return pa.Table.from_pylist(rows, schema=SUMMARY)


def _aggregate(trial_ids: Sequence[str], results: Mapping[str, _Result], failed: frozenset[str]) -> Row:
    """Return the columns of one configuration, apart from its settings."""
    found = [results[trial_id] for trial_id in trial_ids if trial_id in results]
    finished = [trial for trial in found if trial.status == "finished" and all(map(_is_number, trial[2:]))]
    absent = [trial_id for trial_id in trial_ids if trial_id not in results]
    counts = {
        "diverged": sum(trial.status == "diverged" for trial in found),
        "failed": sum(trial_id in failed for trial_id in absent),
        "missing": sum(trial_id not in failed for trial_id in absent),
    }
    return {
        "seeds_requested": len(trial_ids),
        "n": len(finished),
        **_accuracies(finished),
        **counts,
        "note": _note(len(finished), len(trial_ids), counts),
    }


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _accuracies(finished: Sequence[_Result]) -> dict[str, float]:
    # fmean and stdev round an exact sum once, so the result does not depend on the order of the trials.
    if not finished:
        return {}
    test = [trial.test_accuracy for trial in finished if trial.test_accuracy is not None]
    train = fmean(trial.train_accuracy for trial in finished)
    validation = fmean(trial.validation_accuracy for trial in finished)
    return {
        "test_accuracy_mean": fmean(test),
        **_spread(test),
        "train_accuracy_mean": train,
        "validation_accuracy_mean": validation,
        "train_validation_gap": train - validation,
    }


def _spread(test: Sequence[float]) -> dict[str, float]:
    """Return the standard deviation over seeds and the t-interval of the mean, or nothing for a single seed."""
    n = len(test)
    if n < 2:
        return {}
    from scipy.special import stdtrit  # takes a quarter of a second to import, and `plan` does not need it

    mean, std = fmean(test), stdev(test)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n)
    return {"test_accuracy_std": std, "test_accuracy_low": mean - half, "test_accuracy_high": mean + half}


def _note(n: int, seeds_requested: int, counts: Mapping[str, int]) -> str:
    if n == seeds_requested:
        return ""
    unmeasured = seeds_requested - n - sum(counts.values())
    reasons = {**counts, "without a test accuracy": unmeasured}
    return f"n is {n} of {seeds_requested}: " + ", ".join(f"{count} {why}" for why, count in reasons.items() if count)
