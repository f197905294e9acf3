"""The summary: accuracies per configuration, aggregated over its seeds."""

import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from jobs.report.configurations import CONFIGURATION_COLUMNS
from jobs.report.sequential import ALPHA, RunningMean, looked_at
from jobs.store import SUMMARY, SeedRule

SUMMARY_COLUMNS = (  # read from trials
    "trial_id",
    "status",
    "test_accuracy",
    "train_accuracy",
    "validation_accuracy",
    "collapsed",
)
PREDICTION_COLUMNS = ("actual", "predicted")  # read as well, for the interval that covers new images
CONFIDENCE = 0.95
ANYTIME = "anytime"  # by jobs.report.sequential: valid however often one has looked
MIN_INTERVAL_N = 3  # with fewer seeds an interval says less than the values themselves

Row = dict[str, Any]


class _Result(NamedTuple):
    """The SUMMARY_COLUMNS of one stored trial."""

    trial_id: str
    status: str
    test_accuracy: float | None
    train_accuracy: float
    validation_accuracy: float
    collapsed: bool | None

    def is_measured(self) -> bool:
        """Return whether the trial finished with all of its accuracies."""
        accuracies = (self.test_accuracy, self.train_accuracy, self.validation_accuracy)
        return self.status == "finished" and all(each is not None and math.isfinite(each) for each in accuracies)


def summarize(
    trials: pa.Table,
    requested: pa.Table,
    failed_ids: Collection[str] = (),
    *,
    test_images: int,
    until: SeedRule | None = None,
) -> pa.Table:
    """Aggregate stored trials over seeds.

    Args:
        trials: The stored trials, with at least SUMMARY_COLUMNS, and PREDICTION_COLUMNS for the interval that covers
            new images; the order of the rows does not matter.
        requested: One row per requested trial, in the schema REQUESTED.
        failed_ids: The trials that failed for good.
        test_images: Number of images in the test set.
        until: The rule by which the seeds end, where their number was not given: the intervals then hold for all looks
            together.

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
    hits = _Hits(trials)
    names = ["configuration_id", *CONFIGURATION_COLUMNS]
    settings = requested.select(names).take(pa.array(first_rows, pa.int64())).to_pylist()
    failed = frozenset(failed_ids)
    rows = [
        {**row, "test_images": test_images, **_aggregate(each, results, failed, test_images, hits)}
        for row, each in zip(settings, seeds.values(), strict=True)
    ]
    if until:
        seed_of = dict(zip(requested["trial_id"].to_pylist(), requested["seed"].to_pylist(), strict=True))
        for row, each in zip(rows, seeds.values(), strict=True):
            finished = {seed_of[trial_id]: results[trial_id] for trial_id in each if trial_id in results}
            row.update(_anytime_intervals(finished, test_images, until, hits))
    return pa.Table.from_pylist(rows, schema=SUMMARY)


class _Hits:
    """Which test images each stored trial classifies correctly, where the predictions have been read."""

    def __init__(self, trials: pa.Table) -> None:
        self._columns = [trials[name] for name in PREDICTION_COLUMNS if name in trials.column_names]
        self._row = {trial_id: row for row, trial_id in enumerate(trials["trial_id"].to_pylist())}

    def interval(self, trial_ids: Sequence[str]) -> Row:
        """Return the interval for seeds and new images; nothing for fewer than MIN_INTERVAL_N seeds."""
        from jobs.report.crossed import crossed_interval

        hits = self._table(trial_ids)
        found = None if hits is None else crossed_interval(hits)
        if found is None:
            return {}
        return {
            "new_images_low": found.low,
            "new_images_high": found.high,
            "seeds_std_error": math.sqrt(found.seed_variance),
            "images_std_error": math.sqrt(found.image_variance),
        }

    def anytime_interval(self, trial_ids: Sequence[str], of_seeds: tuple[float, float] | None) -> Row:
        """Return the interval that holds after every look, made from the one for the seeds; nulls without that."""
        from jobs.report.crossed import widen_to_new_images

        hits = self._table(trial_ids)
        found = None if hits is None or of_seeds is None else widen_to_new_images(of_seeds, hits)
        low, high = found or (None, None)
        return {"new_images_low": low, "new_images_high": high}

    def _table(self, trial_ids: Sequence[str]) -> NDArray[np.bool_] | None:
        """Return which images each trial classifies correctly, (trials, images), where that is known of all."""
        if len(trial_ids) < MIN_INTERVAL_N or len(self._columns) < len(PREDICTION_COLUMNS):
            return None
        pairs = [[column[self._row[trial_id]].as_py() for column in self._columns] for trial_id in trial_ids]
        if any(actual is None or predicted is None for actual, predicted in pairs):
            return None
        if len({len(each) for pair in pairs for each in pair}) != 1:
            return None
        actual, predicted = (np.frombuffer(b"".join(each), np.uint8) for each in zip(*pairs, strict=True))
        hits: NDArray[np.bool_] = (actual == predicted).reshape(len(pairs), -1)
        return hits


def _aggregate(
    trial_ids: Sequence[str],
    results: Mapping[str, _Result],
    failed: frozenset[str],
    test_images: int,
    hits: _Hits,
) -> Row:
    """Return the columns of one configuration, apart from its settings."""
    found = [results[trial_id] for trial_id in trial_ids if trial_id in results]
    finished = [trial for trial in found if trial.is_measured()]
    absent = [trial_id for trial_id in trial_ids if trial_id not in results]
    collapsed = sum(bool(trial.collapsed) for trial in finished)
    counts = {
        "diverged": sum(trial.status == "diverged" for trial in found),
        "failed": sum(trial_id in failed for trial_id in absent),
        "missing": sum(trial_id not in failed for trial_id in absent),
    }
    return {
        "seeds_requested": len(trial_ids),
        "n": len(finished),
        "collapsed": collapsed,
        **_accuracies(finished, test_images),
        **hits.interval([trial.trial_id for trial in finished]),
        **counts,
        "note": _note(len(finished), len(trial_ids), counts, collapsed),
    }


def _accuracies(finished: Sequence[_Result], test_images: int) -> Row:
    # fmean and stdev round an exact sum once, so the result does not depend on the order of the trials.
    if not finished:
        return {}
    test = [trial.test_accuracy for trial in finished if trial.test_accuracy is not None]
    intact = [trial.test_accuracy for trial in finished if trial.test_accuracy is not None and not trial.collapsed]
    train = fmean(trial.train_accuracy for trial in finished)
    validation = fmean(trial.validation_accuracy for trial in finished)
    return {
        "test_accuracy_mean": fmean(test),
        "test_accuracy_mean_without_collapsed": fmean(intact) if intact else None,
        "test_accuracy_min": min(test),
        "test_accuracy_max": max(test),
        "test_accuracy_std": stdev(test) if len(test) > 1 else None,
        **_interval(test, test_images),
        "train_accuracy_mean": train,
        "validation_accuracy_mean": validation,
        "train_validation_gap": train - validation,
    }


def _interval(test: Sequence[float], test_images: int) -> Row:
    """Return the 95 % interval of the mean over seeds, on this test set; nothing for fewer than MIN_INTERVAL_N seeds.

    Where all seeds agree, a t-interval would have no width. The standard deviation that one test set gives to the
    accuracy of a single network then replaces the one over seeds.
    """
    n = len(test)
    if n < MIN_INTERVAL_N:
        return {}
    from scipy.special import stdtrit  # takes a quarter of a second to import, and `plan` does not need it

    mean, std = fmean(test), stdev(test)
    kind = "t" if std > 0 else "binomial"
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * (std or binomial_std(mean, test_images)) / math.sqrt(n)
    return _ends(mean - half, mean + half, kind)


def _anytime_intervals(trials: Mapping[int, _Result], test_images: int, until: SeedRule, hits: _Hits) -> Row:
    """Return the intervals that hold after every look, in place of those of `_aggregate`; nulls while without a bound.

    Args:
        trials: The stored trials of a configuration, by seed.
        test_images: Number of images in the test set.
        until: When the first look was taken.
        hits: Which images they classify correctly.
    """
    from jobs.report.crossed import SEEDS_ALPHA

    measured = {seed: each for seed, each in sorted(trials.items()) if each.is_measured()}
    known = {seed: each.test_accuracy for seed, each in measured.items() if each.test_accuracy is not None}
    values = list(known.values())

    def running(alpha: float) -> RunningMean:
        return looked_at(known, lambda n: binomial_std(fmean(values[:n]), test_images), until.at_least, alpha)

    of_seeds = running(ALPHA).interval
    return {
        **(_ends(*of_seeds, ANYTIME) if of_seeds else dict.fromkeys(_ends(0, 0, ""))),
        **hits.anytime_interval([each.trial_id for each in measured.values()], running(SEEDS_ALPHA).interval),
    }


def _ends(low: float, high: float, kind: str) -> Row:
    return {
        "test_accuracy_low": low,
        "test_accuracy_high": high,
        "test_accuracy_low_cut": max(low, 0.0),
        "test_accuracy_high_cut": min(high, 1.0),
        "interval": kind,
    }


def binomial_std(accuracy: float, images: int) -> float:
    """Return the standard deviation of an accuracy measured on so many images, as far as they cause it.

    At 0 and 1 the formula would give zero: two more images of each kind are added there, as in the interval of Agresti
    and Coull.
    """
    if 0 < accuracy < 1:
        return math.sqrt(accuracy * (1 - accuracy) / images)
    centre = (images * accuracy + 2) / (images + 4)
    return math.sqrt(centre * (1 - centre) / (images + 4))


def _note(n: int, seeds_requested: int, counts: Mapping[str, int], collapsed: int) -> str:
    """Say why n is not what was asked for, and how many of the n trials collapsed."""
    parts = []
    if n != seeds_requested:
        unmeasured = seeds_requested - n - sum(counts.values())
        reasons = {**counts, "without a test accuracy": unmeasured}
        named = ", ".join(f"{count} {why}" for why, count in reasons.items() if count)
        parts.append(f"n is {n} of {seeds_requested}: {named}")
    if collapsed:
        parts.append(f"{collapsed} of {n} collapsed")
    return "; ".join(parts)
