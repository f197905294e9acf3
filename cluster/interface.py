"""The port: the one shape that every place to run answers to, that of `map`.

A task is a generator function of an item and of what all items share. It yields progress and returns its result. A map
applies it to every item and yields what happens, in the order in which it happens:

    Progress(item, value)*   then   Done(item, result)  or  Failed(item, failure)

for every item, interleaved. A task that fails never takes another along. Where tasks have to wait for other people's,
the map says so once: Waiting. A place to run is its map, and what there is to know of it: how many tasks run there at
once, and on what.
"""

import math
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

from cluster.failures import Failure

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Value = TypeVar("Value")
Result = TypeVar("Result")


Device = Literal["cpu", "cuda"]


class ClusterError(Exception):
    """The place to run cannot be had as asked; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Progress(Generic[Item, Value]):
    """A task yielded a value on its way."""

    item: Item
    value: Value


@dataclass(frozen=True)
class Done(Generic[Item, Result]):
    """A task returned."""

    item: Item
    result: Result


@dataclass(frozen=True)
class Failed(Generic[Item]):
    """A task ended without a result."""

    item: Item
    failure: Failure


@dataclass(frozen=True)
class Waiting:
    """No task has started yet, for want of what others use."""

    message: str


Task: TypeAlias = Callable[[Item, Shared], Generator[Value, None, Result]]
Event: TypeAlias = Progress[Item, Value] | Done[Item, Result] | Failed[Item]
Patience: TypeAlias = Callable[[Item], float]  # seconds


def without_end(item: object) -> float:
    """Wait for every task as long as it takes."""
    return math.inf


class Map(Protocol):
    """Apply a task to items; read them only as places become free, so that the items may be many.

    The items may depend on what has happened: an item None stands for none yet, and the map asks again a moment later,
    at the latest when the events so far have been taken. A task that gives no sign of life, by yielding, for longer
    than its item's patience counts as hung: it is killed, and Failed. Who cannot kill a task has no end of patience.
    """

    def __call__(
        self,
        task: Task[Item, Shared, Value, Result],
        items: Iterable[Item | None],
        shared: Shared,
        patience: Patience[Item] = without_end,
    ) -> Generator[Event[Item, Value, Result] | Waiting, None, None]: ...


@dataclass(frozen=True)
class Place:
    """Where tasks run."""

    map: Map
    workers: int = 1  # tasks at once
    device: Device = "cpu"
