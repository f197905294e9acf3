"""Which trials train together: long ones one per task, many short ones per task, on CUDA all of one shape."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TypeAlias

from mnist_core.backends import Device
from mnist_core.trial import Trial, pack_shape

# On a CPU a pack is worth this many seconds: enough to make the cost of a task small, little enough for a short tail.
MAX_PACK_S = 1.0
MIN_PACK_S = 0.05
MIN_PACKS_PER_WORKER = 8  # while packs are longer than the shortest
MAX_TRIALS = 256  # of a pack: what is lost when its task dies
_ROUNDING = 1e-9
_SECONDS_PER_TRIAL = 0.002  # to write its weights and its row


@dataclass(frozen=True)
class Pack:
    """Trials of one shape that one task trains together."""

    trials: Mapping[str, Trial]  # by trial_id
    attempt: int = 1  # how often these trials have been started in this job, this time included
    node_losses: int = 0  # how many of the earlier attempts ended because the node was lost
    is_alone: bool = False  # nothing else runs meanwhile
    round: int = 0  # packs of one round are whole seeds together

    def __hash__(self) -> int:
        return hash((tuple(self.trials), self.attempt))

    @property
    def own_attempts(self) -> int:
        """How many attempts count against the trials' retries."""
        return self.attempt - self.node_losses

    @property
    def first_trial(self) -> Trial:
        """Any of the trials, for what they have in common."""
        return next(iter(self.trials.values()))


def without_trials(packs: Iterable[Pack], trial_ids: Collection[str]) -> tuple[Pack, ...]:
    """Take trials out of packs; packs of which nothing is left are left out."""
    found = []
    for pack in packs:
        trials = {trial_id: trial for trial_id, trial in pack.trials.items() if trial_id not in trial_ids}
        if trials:
            found.append(pack if len(trials) == len(pack.trials) else replace(pack, trials=trials))
    return tuple(found)


Seconds: TypeAlias = Callable[[Trial], float]
_Item: TypeAlias = tuple[str, Trial]  # trial_id, trial


def make_packs(
    trials: Mapping[str, Trial], seconds: Seconds, workers: int, device: Device = "cpu", *, max_seeds: int | None = None
) -> list[Pack]:
    """Group trials into packs of one shape.

    Packs take from several seeds only within a round of whole seeds: on a CPU, as many as all workers train within
    MIN_PACKS_PER_WORKER packs each, or a single one; on CUDA, as many as have MAX_TRIALS of a shape. What has finished
    is therefore a balanced comparison, except for the last round. Within a round the longest packs start first.

    Args:
        trials: The trials by id, seed by seed.
        seconds: Returns how long a trial is expected to take, in seconds.
        workers: How many packs run at once.
        device: Where they run.
        max_seeds: The most seeds of a round; None: as many as fit.

    Returns:
        The packs in the order in which to start them.
    """

    def cost(item: _Item) -> float:
        return seconds(item[1]) + _SECONDS_PER_TRIAL

    items = list(trials.items())
    rounds = (
        _cuda_rounds(items, workers, max_seeds) if device == "cuda" else _cpu_rounds(items, cost, workers, max_seeds)
    )
    return [
        Pack(dict(pack), round=number)
        for number, packs in enumerate(rounds)
        for pack in sorted(packs, key=lambda pack: -sum(map(cost, pack)))
    ]


def _cpu_rounds(
    items: Sequence[_Item], cost: Callable[[_Item], float], workers: int, max_seeds: int | None
) -> Iterator[list[Sequence[_Item]]]:
    share = sum(map(cost, items)) / (workers * MIN_PACKS_PER_WORKER)
    target = min(max(share, MIN_PACK_S), MAX_PACK_S)
    limit = target * workers * MIN_PACKS_PER_WORKER
    for seeds in _rounds(items, lambda seed: sum(map(cost, seed)), limit, max_seeds):
        groups = _by_shape(seeds)
        yield [pack for group in groups for pack in _cut(group, max(1, int(target / cost(group[0]) + _ROUNDING)))]


def _cuda_rounds(items: Sequence[_Item], workers: int, max_seeds: int | None) -> Iterator[list[Sequence[_Item]]]:
    for seeds in _rounds(items, lambda seed: max(map(len, _by_shape(seed))), MAX_TRIALS, max_seeds):
        groups = _by_shape(seeds)
        pieces = -(-workers // len(groups))  # of each shape, so that no device is idle
        yield [pack for group in groups for pack in _cut(group, -(-len(group) // pieces))]


def _rounds(
    items: Sequence[_Item], weight: Callable[[list[_Item]], float], limit: float, max_seeds: int | None
) -> Iterator[list[_Item]]:
    """Put whole seeds together for as long as their weights fit the limit, and their number the other one."""
    # Sums of the same trials in another order differ in their last bits.
    limit *= 1 + _ROUNDING
    seeds: list[_Item] = []
    weighed, count = 0.0, 0
    for _, same_seed in groupby(items, key=lambda item: item[1].seed):
        seed = list(same_seed)
        weighed += weight(seed)
        if seeds and (weighed > limit or count == max_seeds):
            yield seeds
            seeds, weighed, count = [], weight(seed), 0
        seeds += seed
        count += 1
    if seeds:
        yield seeds


def _by_shape(items: Sequence[_Item]) -> list[list[_Item]]:
    groups: dict[object, list[_Item]] = {}
    for item in items:
        groups.setdefault(pack_shape(item[1]), []).append(item)
    return list(groups.values())


def _cut(group: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    """Cut a group into the fewest packs of at most `size` trials, of even sizes, in order."""
    count = -(-len(group) // min(size, MAX_TRIALS))
    for number in range(count):
        yield group[number * len(group) // count : (number + 1) * len(group) // count]
