"""The budget of a job: until when it may train, and which packs can still end by then. Pure, as the scheduler is.

The seeds of a study train in rounds, all configurations of one seed before the next, so that every configuration has
the same n. A pack starts only if it is expected to end in time, by the expected seconds corrected by what this job has
measured. Packs of a round start only once all packs of the rounds before it have. Of a round that does not fit as a
whole, the packs that fit by themselves are trained: the expectation may have been too high, and otherwise the next
submission finds them stored. No further round is begun then.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from jobs.run.pace import Pace, Run
from jobs.run.packs import Pack
from mnist_core.trial import Trial

MARGIN = 1.1  # a pack counts with so many times its expected seconds: trials of one configuration differ


@dataclass(frozen=True)
class Budget:
    """Until when a job may train, and how long its packs take."""

    deadline_s: float  # on the clock of the scheduler's steps
    pace: Pace
    is_grounded: bool = False  # whether the expected seconds were learned from stored trials

    def counting(self, pack: Pack, run: Run | None, clock_s: float) -> "Budget":
        """Learn from a pack whose trials have all finished now."""
        seconds = run.seconds(clock_s, is_complete=True) if run else 0.0
        return Budget(self.deadline_s, self.pace.counting(pack, seconds), self.is_grounded) if run else self

    def now(self, runs: Mapping[Pack, Run | None]) -> "Budget":
        """Add the progress of packs that run."""
        known = {pack: run for pack, run in runs.items() if run}
        return Budget(self.deadline_s, self.pace.counting_running(known), self.is_grounded)

    def fits(self, pack: Pack, begins_s: float, has_slot: bool = True) -> bool:
        """Tell whether a pack ends in time; without a slot it first waits about as long as it takes itself."""
        seconds = MARGIN * self.pace.pack_seconds(pack)
        return begins_s + seconds * (1 if has_slot else 2) <= self.deadline_s

    def choose(self, packs: Sequence[Pack], clock_s: float, is_idle: bool, has_slot: bool = True) -> int | None:
        """Choose the next of the packs of a round that have not started.

        Args:
            packs: The packs; there is at least one.
            clock_s: The time.
            is_idle: Whether nothing runs. Where nothing is known about how long trials take here, the shortest pack
                is started then in any case, to learn that.
            has_slot: Whether a pack that is submitted now can run now.

        Returns:
            The index of the first pack that fits, or None.
        """
        fitting = (index for index, pack in enumerate(packs) if self.fits(pack, clock_s, has_slot))
        chosen = next(fitting, None)
        if chosen is None and is_idle and not self.is_grounded and not self.pace.is_measured:
            return min(range(len(packs)), key=lambda index: self.pace.pack_seconds(packs[index]))
        return chosen


def whole_seeds(seeds: Mapping[str, int], ended: Iterable[str]) -> tuple[int, ...]:
    """Return the seeds of which every trial has ended, in the order in which they first occur.

    Args:
        seeds: The seed of each trial of a job, by trial_id.
        ended: The ids of the trials that have ended.
    """
    left = {seeds[trial_id] for trial_id in seeds.keys() - set(ended)}
    return tuple(seed for seed in dict.fromkeys(seeds.values()) if seed not in left)


def seconds_at_once(pace: Pace, trials: Iterable[Trial], workers: int) -> float:
    """Return how long so many workers take for trials, as far as is known."""
    seconds = list(map(pace.seconds, trials))
    return max(sum(seconds) / workers, *seconds) if seconds else 0.0
