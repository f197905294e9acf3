"""The ranking of a study's configurations, and which of them cannot be told from the best one."""

from collections import Counter
from collections.abc import Mapping
from statistics import fmean
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from jobs.report.arms import Arms
from jobs.report.contrasts import ALPHA
from jobs.report.paired import Difference, anytime_difference, holm, paired_difference
from jobs.store import SETTINGS, SeedRule, column

LEFT_OUT = b"left_out"  # metadata of a ranking
_FLOAT = pa.float64()

RANKING = pa.schema(
    [
        column("rank", pa.int64(), "Place by mean validation accuracy, from 1."),
        column("configuration_id", pa.string(), "Hash of the dataset and the settings without the seed."),
        *(field.with_nullable(True) for field in SETTINGS if field.name != "seed"),
        column("n", pa.int64(), "Finished trials of the configuration.", unit="trials"),
        column("collapsed", pa.int64(), "Those of the n trials that collapsed: see trials.collapsed.", unit="trials"),
        column("validation_accuracy_mean", _FLOAT, "Mean accuracy on the validation set after the last epoch."),
        column("behind", _FLOAT, "Mean over common seeds of the best one's validation accuracy minus this one's."),
        column(
            "low",
            _FLOAT,
            "Lower end of the 95 % interval of `behind`; null below three seeds, and while it has no bound.",
            nullable=True,
        ),
        column("high", _FLOAT, "Upper end of that interval.", nullable=True),
        column(
            "method",
            pa.string(),
            "How interval and p were found; anytime: they hold however often one has looked; null for the best one.",
            nullable=True,
        ),
        column("p_holm", _FLOAT, "p of a difference of zero, corrected for the number of rows (Holm).", nullable=True),
        column("is_tied", pa.bool_(), "Whether the configuration cannot be told from the best one."),
        column("test_accuracy_mean", _FLOAT, "Mean test accuracy, which had no part in the ranking.", nullable=True),
    ]
)


def rank(
    validation: Arms,
    test: Arms,
    validation_images: int,
    collapsed: Mapping[str, int] = MappingProxyType({}),
    until: SeedRule | None = None,
) -> pa.Table:
    """Rank configurations by validation accuracy, so that the test accuracy of the first one stays unbiased.

    Args:
        validation: The study, with validation accuracies.
        test: The same study, with test accuracies.
        validation_images: The number of images in the validation set.
        collapsed: How many trials of a configuration collapsed, as `count_collapsed` returns it.
        until: The rule by which the seeds end, where their number was not given: tests and intervals then hold for
            all looks together.

    Returns:
        A table with the schema RANKING, the best first; configurations without a finished trial are left out, and
        their number is the metadata LEFT_OUT of the table.
    """
    means = {arm: fmean(values.values()) for arm, values in validation.accuracies.items() if values}
    order = sorted(means, key=lambda arm: -means[arm])
    behind = {arm: _behind(validation, order[0], arm, validation_images, until) for arm in order[1:]}
    corrected = _corrected(behind)
    rows = [
        {
            **validation.settings[arm],
            "rank": place,
            "configuration_id": arm,
            "n": len(validation.accuracies[arm]),
            "collapsed": collapsed.get(arm, 0),
            "validation_accuracy_mean": means[arm],
            **_distance(behind.get(arm), corrected.get(arm), means[order[0]] - means[arm]),
            "test_accuracy_mean": fmean(test.accuracies[arm].values()) if test.accuracies.get(arm) else None,
        }
        for place, arm in enumerate(order, start=1)
    ]
    left_out = {LEFT_OUT: f"{len(validation.accuracies) - len(order)}"}
    return pa.Table.from_pylist(rows, RANKING).replace_schema_metadata(left_out)


def count_collapsed(trials: pa.Table, requested: pa.Table) -> dict[str, int]:
    """Count the collapsed trials of each configuration that has any.

    Args:
        trials: The stored trials, with at least trial_id and collapsed.
        requested: One row per requested trial, in the schema REQUESTED.
    """
    found = zip(trials["trial_id"].to_pylist(), trials["collapsed"].to_pylist(), strict=True)
    collapsed = {trial_id for trial_id, has_collapsed in found if has_collapsed}
    asked = zip(requested["trial_id"].to_pylist(), requested["configuration_id"].to_pylist(), strict=True)
    return dict(Counter(configuration for trial_id, configuration in asked if trial_id in collapsed))


def _behind(arms: Arms, best: str, arm: str, images: int, until: SeedRule | None) -> Difference:
    if until:
        return anytime_difference(arms.accuracies[best], arms.accuracies[arm], images, first_look=until.at_least)
    first, other = arms.aligned(best, arm)
    return paired_difference(first, other, images)


def _corrected(behind: Mapping[str, Difference]) -> dict[str, float]:
    p_values = {arm: each.p for arm, each in behind.items() if each.p is not None}
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _distance(found: Difference | None, p_holm: float | None, gap: float) -> dict[str, Any]:
    """Describe how far a configuration is behind the best one; `gap` is that of the means, without common seeds."""
    if found is None:
        return {"behind": 0.0, "is_tied": True}
    behind = gap if found.mean is None else found.mean
    return {
        "behind": behind,
        "low": found.low,
        "high": found.high,
        "method": found.method,
        "p_holm": p_holm,
        # Over the seeds in common one may be ahead whose mean over all of its seeds is behind.
        "is_tied": p_holm is None or p_holm >= ALPHA or behind <= 0,
    }
