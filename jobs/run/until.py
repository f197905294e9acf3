"""Seeds until an answer: when to ask whether results are enough, and which trials are not needed then.

The caller passes the function that answers. It is asked whenever another seed has ended in every
configuration that still needs seeds, so that it depends on whole seeds only.
"""

from collections.abc import Collection, Mapping

from jobs.run.events import Enough
from jobs.run.plan import Decide, Plan
from jobs.store import Decision
from mnist_core.backends import Device
from mnist_core.trial import Trial


def max_seeds(plan: Plan, device: Device, within_s: float | None) -> int | None:
    """Return the most seeds of a round: one, where a budget or an answer may end the job after any of them.

    On CUDA trials that train together take as long as one of them. There a budget ends no round early, and until an
    answer there are as many seeds in a round as before the first look.
    """
    until = plan.grid.seeds_until
    if device == "cuda":
        return until.at_least if until else None
    return None if until is None and within_s is None else 1


class SeedWatch:
    """Watch the trials of a job end, and ask after each whole seed whether that is enough.

    Args:
        plan: The plan of the job.
        decide: Takes the decision, the first of which is the plan's.
        decision: That of the plan.
    """

    def __init__(self, plan: Plan, decide: Decide, decision: Decision) -> None:
        self._plan, self._decide, self.decision = plan, decide, decision
        self._ended, self._failed = set(plan.stored), set[str]()
        self._left = _by_seed(plan.trials, [each for each in plan.trials if self._is_left(each)])

    def note(self, trial_ids: Collection[str], *, has_failed: bool = False) -> None:
        """Take notice of trials that have ended."""
        self._ended.update(trial_ids)
        self._failed.update(trial_ids if has_failed else ())
        for trial_id in trial_ids:
            self._left.get(self._plan.trials[trial_id].seed, set()).discard(trial_id)

    def look(self) -> Enough | None:
        """Ask whether that is enough, if another seed is whole; return the trials that are not needed any longer."""
        whole = next((index for index, left in enumerate(self._left.values()) if left), len(self._left))
        if not self.decision.open or whole <= self.decision.whole:
            return None
        before, self.decision = self.decision, self._decide(self._ended, self._failed)
        left = {trial_id for of_seed in self._left.values() for trial_id in of_seed}
        dropped = frozenset(each for each in left if not self._is_left(each))
        for of_seed in self._left.values():
            of_seed -= dropped
        if self.decision.open == before.open:
            return None
        return Enough(dropped, self.decision.whole, len(self.decision.open))

    def _is_left(self, trial_id: str) -> bool:
        trial, configuration = self._plan.trials[trial_id], self._plan.configurations[trial_id]
        return trial_id not in self._ended and self.decision.needs(configuration, trial.seed)


def _by_seed(trials: Mapping[str, Trial], left: Collection[str]) -> dict[int, set[str]]:
    """Group the ids of trials by their seeds, which are in order; a seed of which none is left has an empty set."""
    found: dict[int, set[str]] = {seed: set() for seed in sorted({trial.seed for trial in trials.values()})}
    for trial_id in left:
        found[trials[trial_id].seed].add(trial_id)
    return found
