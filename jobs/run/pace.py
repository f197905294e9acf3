"""How long packs take, compared with what was expected: measured in a running job, and used to correct expectations."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeAlias

from jobs.run.packs import Pack
from mnist_core.trial import Trial, pack_shape

_LATE = 0.5  # share of a pack's epochs from which on its first progress says little about its pace

Key: TypeAlias = tuple[object, ...]


class Tally(NamedTuple):
    """Seconds of trials, as they were and as they had been expected."""

    actual_s: float = 0.0
    expected_s: float = 0.0


@dataclass(frozen=True)
class Run:
    """The progress of a pack that runs."""

    started_s: float
    first: tuple[float, float] | None = None  # time of the first progress, and the share of the epochs trained then
    last: tuple[float, float] | None = None

    def progressed(self, pack: Pack, epochs: int, now_s: float) -> "Run":
        """Return the run after its trials have trained so many epochs in all."""
        last = (now_s, epochs / (pack.first_trial.epochs * len(pack.trials)))
        return replace(self, first=self.first or last, last=last)

    def pace_s(self) -> float | None:
        """Return the seconds that all of its epochs take, or None before the first progress.

        From the first progress to the last, if they differ: what comes before includes the start of a worker.
        """
        if self.first is None or self.last is None:
            return None
        seconds, share = self.last[0] - self.first[0], self.last[1] - self.first[1]
        return seconds / share if share > 0 else (self.last[0] - self.started_s) / self.last[1]

    def seconds(self, ended_s: float, is_complete: bool) -> float:
        """Return how long the pack took, without the start of its worker if that is known."""
        if is_complete and self.first and self.first[1] <= _LATE:
            return (ended_s - self.first[0]) / (1 - self.first[1])
        return ended_s - self.started_s


@dataclass(frozen=True)
class Pace:
    """Correct the expected seconds of trials by what trials of the same configuration have taken.

    Where none has ended yet, those of its size count, else those of its model, else any.
    """

    expected_s: Callable[[Trial], float]
    tallies: Mapping[Key, Tally] = field(default_factory=dict)

    @property
    def is_measured(self) -> bool:
        """Whether any trial has been counted."""
        return any(tally.expected_s > 0 for tally in self.tallies.values())

    def counting(self, pack: Pack, seconds: float, share: float = 1.0) -> "Pace":
        """Count a share of the work of a pack's trials, which took these seconds."""
        tallies = dict(self.tallies)
        for trial in pack.trials.values():
            for key in _keys(trial):
                tally = tallies.get(key, Tally())
                actual_s = tally.actual_s + seconds / len(pack.trials)
                tallies[key] = Tally(actual_s, tally.expected_s + self.expected_s(trial) * share)
        return replace(self, tallies=tallies)

    def counting_running(self, runs: Mapping[Pack, Run]) -> "Pace":
        """Count the progress of packs that run."""
        pace = self
        for pack, run in runs.items():
            if (pace_s := run.pace_s()) is not None and run.last is not None:
                pace = pace.counting(pack, pace_s * run.last[1], run.last[1])
        return pace

    def seconds(self, trial: Trial) -> float:
        """Return how long a trial takes, as far as is known."""
        known = (self.tallies[key] for key in _keys(trial) if key in self.tallies)
        tally = next((tally for tally in known if tally.expected_s > 0), Tally(1.0, 1.0))
        return self.expected_s(trial) * tally.actual_s / tally.expected_s

    def pack_seconds(self, pack: Pack) -> float:
        """Return how long a pack takes, as far as is known."""
        return sum(map(self.seconds, pack.trials.values()))


def configuration(trial: Trial) -> Key:
    """Return a trial's settings without its seed."""
    return tuple(value for name, value in vars(trial).items() if name != "seed")


def _keys(trial: Trial) -> Iterator[Key]:
    """Yield what a trial has in common with others, from much to nothing."""
    yield ("configuration", *configuration(trial))
    yield ("size", *pack_shape(trial))
    yield ("model", trial.model)
    yield ()
