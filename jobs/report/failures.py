"""The failed trials of a job, grouped by their reason and named by configuration and seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from jobs.report.configurations import CONFIGURATION_COLUMNS, varying_settings
from jobs.store import TrialFailure


@dataclass(frozen=True)
class FailureGroup:
    """Trials that failed in the same way."""

    message: str
    trials: tuple[str, ...]  # one text per configuration, such as: mlp 500 fixed seeds 0, 3
    trial_ids: tuple[str, ...]
    traceback: str = ""


def group_failures(
    failures: Sequence[TrialFailure], requested: pa.Table, *, by_traceback: bool = False
) -> tuple[FailureGroup, ...]:
    """Group failures that have the same message.

    Args:
        failures: Of trials of one job.
        requested: One row per requested trial, in the schema REQUESTED.
        by_traceback: Whether failures of one group must have the same traceback, too.

    Returns:
        The groups, the largest first.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for failure in failures:
        key = (failure.message, failure.traceback if by_traceback else "")
        groups.setdefault(key, []).append(failure.trial_id)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    return tuple(
        FailureGroup(message, _names(trial_ids, requested), tuple(trial_ids), traceback)
        for (message, traceback), trial_ids in ordered
    )


def _names(trial_ids: Sequence[str], requested: pa.Table) -> tuple[str, ...]:
    """Name trials, those of one configuration together."""
    varying = varying_settings(requested.select(CONFIGURATION_COLUMNS).to_pydict())
    places = pc.index_in(pa.array(trial_ids, pa.string()), value_set=requested["trial_id"].combine_chunks())
    rows = requested.take(pc.drop_null(places)).to_pylist()
    seeds: dict[str, list[int]] = {}
    for row in rows:
        others = [f" {name} {row[name]}" for name in varying if row[name] is not None]
        name = f"{row['model']} {row['subset_size']} {'adaptive' if row['adaptive_lr'] else 'fixed'}{''.join(others)}"
        seeds.setdefault(name, []).append(row["seed"])
    return tuple(
        f"{name} seed{'' if len(each) == 1 else 's'} {', '.join(map(str, sorted(each)))}"
        for name, each in seeds.items()
    )
