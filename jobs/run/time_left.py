"""How long a running job still takes, learned from the times of its packs so far."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from cluster import Done, Progress, Started
from jobs.run.driver import JobEvent
from jobs.run.events import Enough, GiveUp, Retry
from jobs.run.pace import Key, Pace, Run, configuration
from jobs.run.packs import Pack
from mnist_core.trial import Trial

_MIN_INTERVAL_S = 0.25  # between two estimates: one takes milliseconds where there are thousands of configurations


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
    _pace: Pace = field(init=False)
    _running: dict[Pack, Run] = field(default_factory=dict)
    _waiting: dict[Key, _Waiting] = field(default_factory=dict)
    _at_once: int = 1  # packs that ran when one last started
    _estimate: float | None = None
    _estimated_s: float = 0.0  # when that was

    def __post_init__(self) -> None:
        self._pace = Pace(self.expected_seconds)
        for trial in self.trials.values():
            self._put_back(trial)

    def observe(self, event: JobEvent, now_s: float) -> None:
        """Take notice of an event that happens now."""
        match event:
            case Started(pack):
                self._run(pack, now_s)
                self._at_once = len(self._running)
            case Progress(pack, epochs):
                self._running[pack] = self._run(pack, now_s).progressed(pack, epochs, now_s)
            case Done(pack, result):
                seconds = self._run(pack, now_s).seconds(now_s, set(result.statuses) == {"finished"})
                self._end(pack, seconds)
            case GiveUp(pack):
                self._end(pack, self._run(pack, now_s).seconds(now_s, is_complete=False))
            case Retry(pack):
                self._end(pack, self._run(pack, now_s).seconds(now_s, is_complete=False), counts=False)
                for trial in pack.trials.values():
                    self._put_back(trial)
            case Enough(trial_ids):
                self._drop(trial_ids)

    def _drop(self, trial_ids: frozenset[str]) -> None:
        """Leave out trials that are not needed any longer."""
        for pack in [pack for pack in self._running if trial_ids.issuperset(pack.trials)]:
            del self._running[pack]
            for trial in pack.trials.values():
                self._put_back(trial)
        running = {trial_id for pack in self._running for trial_id in pack.trials}
        for trial_id in trial_ids - running:
            self._take(self.trials[trial_id])

    def seconds(self, now_s: float) -> float | None:
        """Return the seconds left, or None while nothing is known or nothing is left."""
        if not self._waiting and not self._running:
            return None
        if self._estimate is None or now_s - self._estimated_s >= _MIN_INTERVAL_S:
            self._estimate, self._estimated_s = self._make_estimate(now_s), now_s
        return self._estimate

    def _make_estimate(self, now_s: float) -> float | None:
        pace = self._pace.counting_running(self._running)
        if not pace.is_measured:
            return None
        running = [_left_of(pack, run, pace, now_s) for pack, run in self._running.items()]
        each = [(pace.seconds(waiting.trial), waiting.count) for waiting in self._waiting.values()]
        total = sum(running) + sum(seconds * count for seconds, count in each)
        packs = len(running) + sum(count for _, count in each)
        at_once = max(len(running), min(self._at_once, packs), 1)
        return max([total / at_once, *running, *(seconds for seconds, _ in each)])

    def _end(self, pack: Pack, seconds: float, counts: bool = True) -> None:
        del self._running[pack]
        self._pace = self._pace.counting(pack, seconds, 1.0 if counts else 0.0)

    def _run(self, pack: Pack, now_s: float) -> Run:
        """Return a pack's run, which starts now unless it has started."""
        if pack not in self._running:
            self._running[pack] = Run(now_s)
            for trial in pack.trials.values():
                self._take(trial)
        return self._running[pack]

    def _take(self, trial: Trial) -> None:
        key = configuration(trial)
        waiting = self._waiting.get(key)
        if waiting is None:
            return  # it is not a trial of the job
        waiting.count -= 1
        if not waiting.count:
            del self._waiting[key]

    def _put_back(self, trial: Trial) -> None:
        self._waiting.setdefault(configuration(trial), _Waiting(trial)).count += 1


def _left_of(pack: Pack, run: Run, pace: Pace, now_s: float) -> float:
    """Return how long a pack that runs still takes."""
    pace_s = run.pace_s()
    if pace_s is not None and run.last is not None:
        return max(pace_s * (1 - run.last[1]) - (now_s - run.last[0]), 0.0)
    return max(pace.pack_seconds(pack) - (now_s - run.started_s), 0.0)
