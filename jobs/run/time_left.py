"""How long a running job still takes, learned from what its packs have taken so far."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cluster import Done, Progress, Started
from jobs.run.driver import JobEvent
from jobs.run.events import GiveUp, Retry
from jobs.run.packs import Pack
from mnist_core.trial import Trial, pack_shape

_MIN_INTERVAL_S = 0.25  # between two estimates: one takes milliseconds where there are thousands of configurations
_LATE = 0.5  # share of a pack's epochs from which on its first progress says little about its pace

Key: TypeAlias = tuple[object, ...]


@dataclass
class _Run:
    """A pack that runs."""

    started_s: float
    first: tuple[float, float] | None = None  # time of the first progress, and the share of the epochs trained then
    last: tuple[float, float] | None = None

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


@dataclass
class _Tally:
    """Seconds of trials that have ended, as they were and as they had been expected."""

    actual_s: float = 0.0
    expected_s: float = 0.0


@dataclass
class _Waiting:
    """The trials of a configuration that do not run yet."""

    trial: Trial  # one of them
    count: int = 0


@dataclass
class TimeLeft:
    """Estimate the time left of a job; give it every event of the job with its time.

    The expected seconds of a trial are corrected by what trials of its configuration have taken, else of its size, its
    model, or any. Trials that failed or diverged count with the seconds that they took.
    """

    trials: Mapping[str, Trial]  # that the job trains
    expected_seconds: Callable[[Trial], float]
    _running: dict[Pack, _Run] = field(default_factory=dict)
    _waiting: dict[Key, _Waiting] = field(default_factory=dict)
    _tallies: dict[Key, _Tally] = field(default_factory=lambda: defaultdict(_Tally))
    _at_once: int = 1  # packs that ran when one last started
    _estimate: float | None = None
    _estimated_s: float = 0.0  # when that was

    def __post_init__(self) -> None:
        for trial in self.trials.values():
            self._put_back(trial)

    def observe(self, event: JobEvent, now_s: float) -> None:
        """Take notice of an event that happens now."""
        match event:
            case Started(pack):
                self._run(pack, now_s)
                self._at_once = len(self._running)
            case Progress(pack, epochs):
                run = self._run(pack, now_s)
                share = epochs / (pack.first_trial.epochs * len(pack.trials))
                run.last = (now_s, share)
                run.first = run.first or run.last
            case Done(pack, result):
                seconds = self._run(pack, now_s).seconds(now_s, set(result.statuses) == {"finished"})
                self._end(pack, seconds)
            case GiveUp(pack):
                self._end(pack, self._run(pack, now_s).seconds(now_s, is_complete=False))
            case Retry(pack):
                self._end(pack, self._run(pack, now_s).seconds(now_s, is_complete=False), counts=False)
                for trial in pack.trials.values():
                    self._put_back(trial)

    def seconds(self, now_s: float) -> float | None:
        """Return the seconds left, or None while nothing is known or nothing is left."""
        if not self._waiting and not self._running:
            return None
        if self._estimate is None or now_s - self._estimated_s >= _MIN_INTERVAL_S:
            self._estimate, self._estimated_s = self._make_estimate(now_s), now_s
        return self._estimate

    def _make_estimate(self, now_s: float) -> float | None:
        known = self._tallies_with_running()
        if not known:
            return None
        running = [self._left_of(pack, run, known, now_s) for pack, run in self._running.items()]
        each = [(self._corrected(waiting.trial, known), waiting.count) for waiting in self._waiting.values()]
        total = sum(running) + sum(seconds * count for seconds, count in each)
        packs = len(running) + sum(count for _, count in each)
        at_once = max(len(running), min(self._at_once, packs), 1)
        return max([total / at_once, *running, *(seconds for seconds, _ in each)])

    def _left_of(self, pack: Pack, run: _Run, known: Mapping[Key, _Tally], now_s: float) -> float:
        pace_s = run.pace_s()
        if pace_s is not None and run.last is not None:
            return max(pace_s * (1 - run.last[1]) - (now_s - run.last[0]), 0.0)
        seconds = sum(self._corrected(trial, known) for trial in pack.trials.values())
        return max(seconds - (now_s - run.started_s), 0.0)

    def _corrected(self, trial: Trial, known: Mapping[Key, _Tally]) -> float:
        tally = next(known[key] for key in _keys(trial) if key in known)
        return self.expected_seconds(trial) * tally.actual_s / tally.expected_s

    def _tallies_with_running(self) -> dict[Key, _Tally]:
        """Add what running packs have shown so far to what has ended; leave out what has no expected seconds yet."""
        known = {key: _Tally(tally.actual_s, tally.expected_s) for key, tally in self._tallies.items()}
        for pack, run in self._running.items():
            if (pace_s := run.pace_s()) is not None and run.last is not None:
                self._count(known, pack, pace_s * run.last[1], run.last[1])
        return {key: tally for key, tally in known.items() if tally.expected_s > 0}

    def _count(self, tallies: dict[Key, _Tally], pack: Pack, seconds: float, share: float) -> None:
        """Count a share of a pack's trials, which took these seconds."""
        for trial in pack.trials.values():
            for key in _keys(trial):
                tally = tallies.setdefault(key, _Tally())
                tally.actual_s += seconds / len(pack.trials)
                tally.expected_s += self.expected_seconds(trial) * share

    def _end(self, pack: Pack, seconds: float, counts: bool = True) -> None:
        del self._running[pack]
        self._count(self._tallies, pack, seconds, 1.0 if counts else 0.0)

    def _run(self, pack: Pack, now_s: float) -> _Run:
        """Return a pack's run, which starts now unless it has started."""
        if pack not in self._running:
            self._running[pack] = _Run(now_s)
            for trial in pack.trials.values():
                self._take(trial)
        return self._running[pack]

    def _take(self, trial: Trial) -> None:
        key = _configuration(trial)
        waiting = self._waiting.get(key)
        if waiting is None:
            return  # it is not a trial of the job
        waiting.count -= 1
        if not waiting.count:
            del self._waiting[key]

    def _put_back(self, trial: Trial) -> None:
        self._waiting.setdefault(_configuration(trial), _Waiting(trial)).count += 1


def _configuration(trial: Trial) -> Key:
    return tuple(value for name, value in vars(trial).items() if name != "seed")


def _keys(trial: Trial) -> Iterator[Key]:
    """Yield what a trial has in common with others, from much to nothing."""
    yield ("configuration", *_configuration(trial))
    yield ("size", *pack_shape(trial))
    yield ("model", trial.model)
    yield ()
