"""Lines about trials that failed: each reason once, with its configurations and seeds."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobs.report import FailureGroup

_MAX_GROUPS = 8
_MAX_CONFIGURATIONS = 4  # of a group


def failure_lines(groups: Sequence["FailureGroup"]) -> list[str]:
    """Return a line for each reason for which trials failed."""
    lines = [f"failed: {_trials(group)}: {group.message}" for group in groups[:_MAX_GROUPS]]
    more = len(groups) - _MAX_GROUPS
    return [*lines, f"and {more} more reason{'' if more == 1 else 's'}"] if more > 0 else lines


def _trials(group: "FailureGroup") -> str:
    named = "; ".join(group.trials[:_MAX_CONFIGURATIONS])
    more = len(group.trials) - _MAX_CONFIGURATIONS
    count = f"{len(group.trial_ids)} trials: " if len(group.trial_ids) > 1 else ""
    return f"{count}{named}{f'; {more} more configurations' if more > 0 else ''}"


def failure_summary(groups: Sequence["FailureGroup"], trial_count: int) -> list[str]:
    """Say how many trials of a job failed, what to do, and why they did."""
    if not groups:
        return []
    failed = sum(len(group.trial_ids) for group in groups)
    trials = f"{failed:,} of {trial_count:,} trial{'' if trial_count == 1 else 's'} failed"
    advice = "the report has the tracebacks; submit the same grid again to retry"
    return [f"{trials}; {advice}", *failure_lines(groups)]
