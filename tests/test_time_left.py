"""The time left of a job, against simulated jobs of which it is known: right within a factor of two."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, product

import pytest

from cluster import Done, Progress, Started, TaskFailure
from jobs.run import GiveUp, JobEvent, Pack, Retry, TaskResult
from jobs.run.packs import make_packs
from jobs.run.retries import next_attempts
from jobs.run.time_left import TimeLeft
from mnist_core.cost import guess_seconds
from mnist_core.trial import Model, Trial

FACTOR = 2.0
FROM = 0.1  # share of the job's time from which on the estimate has to be right
CLOSE_S = 1.0  # at the very end a factor means nothing
VALIDATION = 5000
MODELS: tuple[Model, ...] = ("mlp", "cnn")
STUDY = [
    Trial(model=model, subset_size=size, adaptive_lr=adaptive, seed=seed)
    for seed, size, model, adaptive in product(range(5), (2000, 50_000), MODELS, (False, True))
]
SHORT = [
    Trial(model="mlp", subset_size=size, adaptive_lr=False, seed=seed, learning_rate=rate, epochs=20)
    for seed, size, rate in product(range(10), (500, 2000), (0.001, 0.01, 0.1))
]
LONG_GUESS_S = 3600.0


@dataclass
class Ending:
    """How a trial ends, after how many seconds."""

    seconds: float
    status: str = "finished"  # or diverged, or failed


def guess(trial: Trial) -> float:
    return guess_seconds(trial, VALIDATION)


def by_id(trials: Sequence[Trial]) -> dict[str, Trial]:
    return {f"{number:032x}": trial for number, trial in enumerate(trials)}


def simulate(
    packs: Sequence[Pack], workers: int, end: Callable[[Trial], Ending], start_s: float
) -> Iterator[tuple[float, JobEvent]]:
    """Yield the events of a job with their times: each worker takes the next pack when it is free."""
    order = count()
    free = [(0.0, worker) for worker in range(workers)]
    events: list[tuple[float, int, JobEvent]] = []
    for pack in packs:
        began_s, worker = heapq.heappop(free)
        endings = [end(trial) for trial in pack.trials.values()]
        first_s = start_s if began_s == 0 else 0.0
        lasted_s = first_s + sum(ending.seconds for ending in endings)
        heapq.heappush(events, (began_s, next(order), Started(pack, f"{worker}")))
        for tenth in range(1, 10):
            epochs = pack.first_trial.epochs * len(pack.trials) * tenth // 10
            if {ending.status for ending in endings} == {"finished"} and epochs:
                at_s = began_s + first_s + (lasted_s - first_s) * tenth / 10
                heapq.heappush(events, (at_s, next(order), Progress(pack, epochs)))
        heapq.heappush(events, (began_s + lasted_s, next(order), _last_event(pack, endings)))
        heapq.heappush(free, (began_s + lasted_s, worker))
    while events:
        now_s, _, event = heapq.heappop(events)
        yield now_s, event


def _last_event(pack: Pack, endings: Sequence[Ending]) -> JobEvent:
    statuses = tuple(ending.status for ending in endings)
    if "failed" in statuses:
        return GiveUp(pack, TaskFailure("raised", "ValueError: no", ""))
    return Done(pack, TaskResult("part", "here", statuses))


def errors(
    trials: Sequence[Trial],
    workers: int,
    end: Callable[[Trial], Ending],
    expected: Callable[[Trial], float] = guess,
    start_s: float = 0.0,
) -> list[tuple[float, float, float]]:
    """Return (time, estimate, truth) wherever the estimate is off by more than FACTOR."""
    known = by_id(trials)
    packs = make_packs(known, expected, workers)
    events = list(simulate(packs, workers, end, start_s))
    total_s = events[-1][0]
    left, wrong = TimeLeft(known, expected), []
    for now_s, event in events:
        left.observe(event, now_s)
        seconds, truth = left.seconds(now_s), total_s - now_s
        if now_s < FROM * total_s or truth < CLOSE_S:
            continue
        if seconds is None or not truth / FACTOR <= seconds <= truth * FACTOR:
            wrong.append((now_s, -1.0 if seconds is None else seconds, truth))
    assert left.seconds(total_s + 1) is None
    return wrong


def slower(factor: float, cnn: float = 1.0) -> Callable[[Trial], Ending]:
    return lambda trial: Ending(guess(trial) * factor * (cnn if trial.model == "cnn" else 1.0))


@pytest.mark.parametrize("workers", [1, 2, 3, 16])
@pytest.mark.parametrize("factor", [0.1, 1.0, 12.0])
@pytest.mark.parametrize("trials", [STUDY, SHORT], ids=["study", "short"])
def test_a_guess_that_is_wrong_everywhere_is_corrected(trials: list[Trial], factor: float, workers: int) -> None:
    assert errors(trials, workers, slower(factor)) == []


@pytest.mark.parametrize("cnn", [0.4, 2.5])
def test_one_model_may_be_off_more_than_the_other(cnn: float) -> None:
    assert errors(STUDY, 2, slower(3.0, cnn)) == []


def test_workers_may_take_seconds_to_start() -> None:
    assert errors(SHORT, 2, slower(4.0), start_s=4.0) == []


def test_trials_that_fail_at_once_do_not_count_with_their_expected_seconds() -> None:
    """Half of the trials fail after half a second, although each is expected to take an hour."""

    def end(trial: Trial) -> Ending:
        return Ending(0.5, "failed") if trial.learning_rate > 0.005 else Ending(4.0)

    assert errors(SHORT, 2, end, lambda _: LONG_GUESS_S) == []


def test_every_trial_may_fail_at_once() -> None:
    assert errors(SHORT, 2, lambda _: Ending(0.7, "failed"), lambda _: LONG_GUESS_S) == []


def test_trials_that_diverge_early_count_with_the_seconds_they_take() -> None:
    def end(trial: Trial) -> Ending:
        return Ending(guess(trial) / 100, "diverged") if trial.adaptive_lr else Ending(guess(trial))

    assert errors(STUDY, 2, end) == []


def test_before_anything_is_known_there_is_no_estimate() -> None:
    known = by_id(SHORT[:2])
    first = Pack(dict([*known.items()][:1]))
    left = TimeLeft(known, guess)
    left.observe(Started(first, "here"), 0.0)
    assert left.seconds(1.0) is None
    left.observe(Progress(first, 10), 10.0)  # of 20 epochs
    assert left.seconds(10.0) == pytest.approx(10.0 + 20.0 * guess(SHORT[1]) / guess(SHORT[0]))


def test_a_trial_that_is_tried_again_is_left_again() -> None:
    known = by_id([SHORT[0]])
    pack = Pack(known)
    left = TimeLeft(known, lambda _: 10.0)
    left.observe(Started(pack, "here"), 0.0)
    left.observe(Progress(pack, 10), 5.0)
    assert left.seconds(5.0) == pytest.approx(5.0)
    failure = TaskFailure("crashed", "its process died", "")
    (again,) = next_attempts(pack, "crashed", retries=2)
    left.observe(Retry(pack, failure, (again,)), 6.0)
    left.observe(Started(again, "here"), 7.0)
    left.observe(Progress(again, 5), 9.5)
    assert left.seconds(9.5) == pytest.approx(7.5)
