"""What is done about a task that failed: whether its trials are tried again, when, and beside what.

| it failed as  | which is              | tried again                                                     |
|---------------|-----------------------|-----------------------------------------------------------------|
| crashed       | transient             | up to `retries` times, each after a longer wait                 |
| hung          | transient             | up to `retries` times, each after a longer wait                 |
| storage       | transient             | up to `retries` times, each after a longer wait                 |
| out_of_memory | perhaps the others'   | once, when nothing else runs                                    |
| raised        | permanent             | never                                                           |

cluster.failures says what the words stand for. Of a task with several trials nobody knows which one is at fault: where
it is not tried again as it was, each of its trials is tried by itself, and takes no other along. A trial that diverges
has not failed: that is its result.
"""

import heapq
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from cluster.failures import Failure, Kind
from jobs.run.task import Pack

TRANSIENT: tuple[Kind, ...] = ("crashed", "hung", "storage")
_FIRST_WAIT_S = 1.0
_WAIT_GROWTH = 4
_LONGEST_WAIT_S = 60.0
_WHOLE_ATTEMPTS = 2  # of several trials together, before each is tried by itself


@dataclass(frozen=True)
class Retried:
    """A pack failed, and its trials will be tried again."""

    item: Pack
    failure: Failure
    packs: tuple[Pack, ...]  # in which they will be


def next_attempts(pack: Pack, kind: Kind, retries: int) -> tuple[Pack, ...]:
    """Return the packs in which to try the trials of a failed one again; none where it has failed for good."""
    each = tuple(replace(pack, trials=(trial,), attempt=pack.attempt + 1) for trial in pack.trials)
    if kind in TRANSIENT and pack.attempt <= retries:
        is_tried_whole = pack.attempt < min(_WHOLE_ATTEMPTS, retries)
        return (replace(pack, attempt=pack.attempt + 1),) if is_tried_whole else each
    if kind == "out_of_memory" and not pack.is_alone:
        return tuple(replace(one, is_alone=True) for one in each)
    return each if len(each) > 1 else ()


def wait_s(pack: Pack, kind: Kind) -> float:
    """Say how long to wait before a pack's next attempt."""
    return min(_FIRST_WAIT_S * _WAIT_GROWTH ** (pack.attempt - 1), _LONGEST_WAIT_S) if kind in TRANSIENT else 0.0


class Queue:
    """The packs that a job has still to run, handed out when they may start; take note of each that has ended."""

    def __init__(self, packs: Iterable[Pack], retries: int) -> None:
        self._fresh = deque(packs)
        self._retries = retries
        self._later: list[tuple[float, int, Pack]] = []  # a heap: when it is due, a number to tell equals apart
        self._alone: deque[Pack] = deque()  # run last, so that no worker waits for them
        self._running = 0
        self._numbers = count()

    def __iter__(self) -> Iterator[Pack | None]:
        """Give packs until all have ended; None where none may start yet."""
        while self._fresh or self._later or self._alone or self._running:
            pack = self._take()
            self._running += pack is not None
            yield pack

    def _take(self) -> Pack | None:
        if self._later and self._later[0][0] <= time.monotonic():
            return heapq.heappop(self._later)[2]
        if self._fresh:
            return self._fresh.popleft()
        if self._alone and not self._later and not self._running:
            return self._alone.popleft()
        return None

    def end(self, pack: Pack) -> None:
        """Note that a pack runs no more."""
        self._running -= 1

    def retry(self, pack: Pack, failure: Failure) -> tuple[Pack, ...]:
        """Line up what is to be tried again of a pack that failed, and return it."""
        packs = next_attempts(pack, failure.kind, self._retries)
        due = time.monotonic() + wait_s(pack, failure.kind)
        for each in packs:
            if each.is_alone:
                self._alone.append(each)
            else:
                heapq.heappush(self._later, (due, next(self._numbers), each))
        return packs
