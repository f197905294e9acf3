"""Which trials travel together: long ones one to a task, many tiny ones to a task, on CUDA all of one shape."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

from mnist_core.backends import Device
from mnist_core.trial import Trial, pack_shape

# On a CPU a pack is worth this much work: enough to make a task's cost small, little enough for a short tail.
LONGEST_PACK_S = 1.0
SHORTEST_PACK_S = 0.05
PACKS_PER_WORKER = 8  # at least, while packs are longer than the shortest
MOST_TRIALS = 256  # of a pack: what is lost when its task dies
_ROUNDING = 1e-9
_SECONDS_PER_TRIAL = 0.002  # to write its weights and its row

Seconds = Callable[[Trial], float]
TrialPack = tuple[Trial, ...]


def make_packs(trials: Sequence[Trial], seconds: Seconds, workers: int, device: Device = "cpu") -> list[TrialPack]:
    """Group trials, which come seed by seed, into packs of one shape in the order in which to start them.

    Packs take from several seeds only within a span of whole seeds: on a CPU, as many as all workers train within
    PACKS_PER_WORKER packs each, or a single one; on CUDA, as many as have MOST_TRIALS of a shape. What has finished is
    therefore a balanced comparison but for the last span. Within a span the longest packs start first.
    """

    def cost(trial: Trial) -> float:
        return seconds(trial) + _SECONDS_PER_TRIAL

    spans = _cuda_spans(trials, workers) if device == "cuda" else _cpu_spans(trials, cost, workers)
    return [pack for packs in spans for pack in sorted(packs, key=lambda pack: -sum(map(cost, pack)))]


def _cpu_spans(trials: Sequence[Trial], cost: Seconds, workers: int) -> Iterator[list[TrialPack]]:
    share = sum(map(cost, trials)) / (workers * PACKS_PER_WORKER)
    target = min(max(share, SHORTEST_PACK_S), LONGEST_PACK_S)
    for span in _spans(trials, lambda seed: sum(map(cost, seed)), target * workers * PACKS_PER_WORKER):
        groups = _by_shape(span)
        yield [pack for group in groups for pack in _cut(group, max(1, int(target / cost(group[0]) + _ROUNDING)))]


def _cuda_spans(trials: Sequence[Trial], workers: int) -> Iterator[list[TrialPack]]:
    for span in _spans(trials, lambda seed: max(map(len, _by_shape(seed))), MOST_TRIALS):
        groups = _by_shape(span)
        pieces = -(-workers // len(groups))  # of each shape, so that no device is idle
        yield [pack for group in groups for pack in _cut(group, -(-len(group) // pieces))]


def _spans(trials: Sequence[Trial], weight: Callable[[list[Trial]], float], limit: float) -> Iterator[list[Trial]]:
    """Put whole seeds together for as long as their weights fit the limit."""
    span: list[Trial] = []
    weighed = 0.0
    for _, same_seed in groupby(trials, key=lambda trial: trial.seed):
        seed = list(same_seed)
        weighed += weight(seed)
        if span and weighed > limit * (
            1 + _ROUNDING
        ):  # sums of the same trials in another order are not quite the same
            yield span
            span, weighed = [], weight(seed)
        span += seed
    if span:
        yield span


def _by_shape(trials: Sequence[Trial]) -> list[list[Trial]]:
    groups: dict[object, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(pack_shape(trial), []).append(trial)
    return list(groups.values())


def _cut(group: Sequence[Trial], most: int) -> Iterator[TrialPack]:
    """Cut a group into the fewest packs of at most so many trials, of even sizes, in order."""
    count = -(-len(group) // min(most, MOST_TRIALS))
    for number in range(count):
        yield tuple(group[number * len(group) // count : (number + 1) * len(group) // count])
