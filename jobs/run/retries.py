"""The retry policy: how often a failed pack is tried again, in which packs, and after how long. Pure.

It is not known which trial of a pack is at fault: where it is not tried again as it was, each of its
trials is tried by itself and affects no other.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Literal

from cluster import FailureKind
from jobs.run.packs import Pack

# How often a pack is tried again after a failure of each kind.
#   retries        up to the grid's `retries`, each time after a longer wait
#   node losses    up to MAX_NODE_LOSSES: losing its node is not the trial's fault, and uses up no retry
#   once alone     once, while nothing else runs: other tasks may have used the memory
#   never          it would fail the same way again
RETRY_BUDGETS: Mapping[FailureKind, Literal["retries", "node losses", "once alone", "never"]] = {
    "crashed": "retries",
    "hung": "retries",
    "storage": "retries",
    "node_lost": "node losses",
    "out_of_memory": "once alone",
    "raised": "never",
}
MAX_NODE_LOSSES = 10
MAX_WHOLE_ATTEMPTS = 2  # of several trials together, before each is tried by itself
FIRST_WAIT_S = 1.0
WAIT_GROWTH = 4
MAX_WAIT_S = 60.0


def next_attempts(pack: Pack, kind: FailureKind, retries: int) -> tuple[Pack, ...]:
    """Return the packs in which to try the trials of a failed pack again; none where they have failed for good."""
    budget = RETRY_BUDGETS[kind]
    again = replace(pack, attempt=pack.attempt + 1)
    each = tuple(replace(again, trials={trial_id: trial}) for trial_id, trial in pack.trials.items())
    if budget == "node losses" and pack.node_losses < MAX_NODE_LOSSES:
        return (replace(again, node_losses=pack.node_losses + 1),)
    if budget == "retries" and pack.own_attempts <= retries:
        return (again,) if pack.own_attempts < min(MAX_WHOLE_ATTEMPTS, retries) else each
    if budget == "once alone" and not pack.is_alone:
        return tuple(replace(one, is_alone=True) for one in each)
    return each if len(each) > 1 else ()


def wait_s(pack: Pack, kind: FailureKind) -> float:
    """Return how many seconds to wait before a failed pack's next attempt."""
    if RETRY_BUDGETS[kind] != "retries":
        return 0.0
    grown: float = FIRST_WAIT_S * WAIT_GROWTH ** (pack.own_attempts - 1)
    return min(grown, MAX_WAIT_S)
