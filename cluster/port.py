"""The port: the one shape that every place to run answers to, that of `map`.

A task is a generator function of an item and of what all items share. It yields progress and returns its result. A map
applies it to every item and yields what happens, in the order in which it happens:

    Progress(item, value)*   then   Done(item, result)  or  Failed(item, failure)

for every item, interleaved. A task that raises or crashes never takes another along. A place to run is its map, and
what there is to know of it: how many tasks run there at once, and on what.
"""

import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeAlias, TypeVar

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Value = TypeVar("Value")
Result = TypeVar("Result")


Device = Literal["cpu", "cuda"]


class ClusterError(Exception):
    """The place to run cannot be had as asked; the message says what is wrong and what to do."""


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    kind: Literal["raised", "crashed"]  # crashed: its process died
    message: str  # one line
    traceback: str  # as the task's process saw it; empty where that died

    @classmethod
    def from_exception(cls, error: Exception) -> "Failure":
        """Describe the exception that is being handled."""
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return cls("raised", message, traceback.format_exc())


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
    """A task raised or crashed."""

    item: Item
    failure: Failure


Task: TypeAlias = Callable[[Item, Shared], Generator[Value, None, Result]]
Event: TypeAlias = Progress[Item, Value] | Done[Item, Result] | Failed[Item]


class Map(Protocol):
    """Apply a task to items; read them only as places become free, so that the items may be many."""

    def __call__(
        self, task: Task[Item, Shared, Value, Result], items: Iterable[Item], shared: Shared
    ) -> Iterator[Event[Item, Value, Result]]: ...


@dataclass(frozen=True)
class Place:
    """Where tasks run."""

    map: Map
    workers: int = 1  # tasks at once
    device: Device = "cpu"
