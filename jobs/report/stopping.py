"""When a study has seeds enough: the decision that ends the seeds of each configuration.

It is a function of the results of whole seeds, in the order of the seeds. After each seed from the first look on, every
contrast is tested by jobs.report.sequential; it is decided once it is clear or negligible, by the rule of
`contrasts.word`. A configuration whose contrasts are all decided needs no more seeds. Evidence only grows and intervals
only shrink, so that what is decided stays so. Under a rule with a half-width, the question is not a contrast but how
narrow the interval of each configuration is.

A trial that diverged, or failed for good, has ended: it completes its seed, and has no accuracy.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Protocol

import pyarrow as pa

from jobs.report.arms import ARM_COLUMNS, Accuracies, Arms, Level, level_pairs, read_arms
from jobs.report.contrasts import word
from jobs.report.paired import ANYTIME, Difference, holm, stand_in_of
from jobs.report.sequential import RunningMean
from jobs.report.summary import binomial_std
from jobs.store import Decision, Job, SeedRule, Store, counted_rows, read_parts, read_requested

_DECIDED = ("clear", "negligible")


def replay(job: Job, requested: pa.Table, rows: pa.Table) -> Decision | None:
    """Take the decision of a job again from what is stored, as far as the job has come.

    Args:
        job: The job.
        requested: What it asked for at most, in the schema REQUESTED.
        rows: The stored rows of its trials, with at least ARM_COLUMNS.

    Returns:
        The decision; for a job that has ended, the one that its record has. None where the number of seeds was given.
    """
    record = job.record
    if record.until is None:
        return None
    rule = record.until if job.decision is None else record.until.model_copy(update={"at_most": job.decision.whole})
    failed = frozenset(failure.trial_id for failure in job.failures)
    rows = rows.filter(pa.array([each not in failed for each in rows["trial_id"].to_pylist()], pa.bool_()))
    ended = failed.union(rows["trial_id"].to_pylist())
    study = Study(record.dataset.test_size, record.baseline, record.margin)
    return decide(rule, read_arms(rows, requested), seeds_of(requested, ended), study)


def read_counted(store: Store, job: Job) -> pa.Table:
    """Read what a job asked for, as far as its tables contain it: where its seeds end by a rule, whole seeds only.

    Returns:
        A table with the schema REQUESTED.

    Raises:
        StoreError: The store cannot be read, or what the job asked for is lost.
    """
    decision = job.decision or decide_again(store, job)  # while it runs, and where it ended before any decision
    return counted_rows(read_requested(store, job), decision)


def decide_again(store: Store, job: Job) -> Decision | None:
    """Take the decision of a job again, as `replay` does; raises StoreError."""
    if job.record.until is None:
        return None
    requested = read_requested(store, job)
    return replay(job, requested, read_parts(store, requested["trial_id"].to_pylist(), ARM_COLUMNS).table)


def seeds_of(requested: pa.Table, trial_ids: Collection[str]) -> dict[str, set[int]]:
    """Return, by configuration_id, the seeds of some of the trials that a job asked for."""
    found: dict[str, set[int]] = {}
    columns = (requested[name].to_pylist() for name in ("trial_id", "configuration_id", "seed"))
    for trial_id, configuration, seed in zip(*columns, strict=True):
        seeds = found.setdefault(configuration, set())
        if trial_id in trial_ids:
            seeds.add(seed)
    return found


@dataclass(frozen=True)
class Study:
    """What the comparisons of a study depend on, besides its results."""

    test_images: int
    baseline: Mapping[str, Level] = field(default_factory=dict)
    margin: float | None = None  # the difference, a fraction, that does not matter


def decide(rule: SeedRule, arms: Arms, ended: Mapping[str, Collection[int]], study: Study) -> Decision:
    """Decide which configurations need no more seeds, and after how many.

    Args:
        rule: How the seeds end.
        arms: The configurations, and the accuracies of their seeds as far as they are known.
        ended: The seeds whose trials have ended, by configuration_id.
        study: What the comparisons depend on.
    """
    questions: _Questions = (
        _Contrasts(arms, study) if rule.half_width is None else _Widths(arms, study, rule.half_width)
    )
    active, seeds, whole = list(arms.settings), dict[str, int](), 0
    for number in range(1, rule.at_most + 1):
        if not active or not all(number - 1 in ended[arm] for arm in active):
            break
        whole = number
        if number >= rule.at_least:
            questions.look(number, active)
            unanswered = questions.open_arms()
            seeds |= {arm: number for arm in active if arm not in unanswered}
            active = [arm for arm in active if arm in unanswered]
    seeds |= dict.fromkeys(active, whole)
    answered, count = questions.counts()
    return Decision(
        seeds={arm: seeds[arm] for arm in arms.settings},
        open=tuple(active),
        whole=whole,
        answered=answered,
        questions=count,
    )


class _Questions(Protocol):
    """What a study asks."""

    def look(self, seeds: int, active: Collection[str]) -> None:
        """Look at the results of the first seeds of the configurations that are active."""

    def open_arms(self) -> set[str]:
        """Return the configurations that take part in a question that is not answered."""

    def counts(self) -> tuple[int, int]:
        """Return how many questions are answered, and how many there are."""


@dataclass
class _Contrast:
    """Two configurations that are compared."""

    a: str
    b: str
    running: RunningMean
    is_decided: bool = False


class _Contrasts:
    """Is each contrast clear or negligible?"""

    def __init__(self, arms: Arms, study: Study) -> None:
        self._arms, self._study = arms, study
        self._families = [
            [
                _Contrast(pair.a, pair.b, RunningMean())
                for levels in level_pairs(arms, axis, study.baseline.get(axis))
                for pair in arms.pairs(axis, *levels)
            ]
            for axis in arms.axes
        ]

    def look(self, seeds: int, active: Collection[str]) -> None:
        for family in self._families:
            for contrast in family:
                if contrast.a in active and contrast.b in active:
                    self._look_at(contrast, seeds)
            corrected = holm([contrast.running.p for contrast in family])
            for contrast, p_holm in zip(family, corrected, strict=True):
                contrast.is_decided = word(_as_difference(contrast.running), p_holm, self._study.margin) in _DECIDED

    def _look_at(self, contrast: _Contrast, seeds: int) -> None:
        a, b = (_first(self._arms.accuracies[arm], seeds) for arm in (contrast.a, contrast.b))
        shared = [seed for seed in a if seed in b]
        if shared:
            ones, others = [a[seed] for seed in shared], [b[seed] for seed in shared]
            differences = [one - other for one, other in zip(ones, others, strict=True)]
            contrast.running.look(differences, stand_in_of(ones, others, self._study.test_images))

    def open_arms(self) -> set[str]:
        return {arm for family in self._families for each in family if not each.is_decided for arm in (each.a, each.b)}

    def counts(self) -> tuple[int, int]:
        decided = [contrast.is_decided for family in self._families for contrast in family]
        return sum(decided), len(decided)


def _as_difference(running: RunningMean) -> Difference:
    """Return what the word of a contrast depends on."""
    low, high = running.interval or (None, None)
    return Difference(0, None, low, high, ANYTIME, running.p, None, None, None, None)


class _Widths:
    """Is the interval of each configuration narrow enough?"""

    def __init__(self, arms: Arms, study: Study, half_width: float) -> None:
        self._arms, self._images, self._half_width = arms, study.test_images, half_width
        self._running = {arm: RunningMean() for arm in arms.settings}

    def look(self, seeds: int, active: Collection[str]) -> None:
        for arm in active:
            values = list(_first(self._arms.accuracies[arm], seeds).values())
            if values:
                self._running[arm].look(values, binomial_std(fmean(values), self._images))

    def open_arms(self) -> set[str]:
        return {arm for arm, each in self._running.items() if (each.high - each.low) / 2 > self._half_width}

    def counts(self) -> tuple[int, int]:
        return len(self._running) - len(self.open_arms()), len(self._running)


def _first(accuracies: Accuracies, seeds: int) -> dict[int, float]:
    """Return the accuracies of the first seeds, in the order of the seeds."""
    return {seed: accuracies[seed] for seed in sorted(accuracies) if seed < seeds}
