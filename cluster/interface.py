"""Where tasks run: the interface of every executor, in the words of concurrent.futures.

A task is a generator function of an item and of what all tasks share: it yields progress and returns its result. An
executor is bound to one task. It starts the task for each item submitted to it and reports what happens as events:

    Started(item, node)   Progress(item, value)*   then   Done(item, result)  or  Failed(item, failure)

Events of different items are interleaved. A task that fails never affects another one. A session is a connection to
the place where executors run: this process, a Ray started here, or a Ray cluster.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, Protocol, TypeAlias, TypeGuard, TypeVar

from cluster.failures import TaskFailure

Item = TypeVar("Item")
Shared = TypeVar("Shared")
Value = TypeVar("Value")
Result = TypeVar("Result")

Device = Literal["cpu", "cuda"]
Task: TypeAlias = Callable[[Item, Shared], Generator[Value, None, Result]]


class ClusterError(Exception):
    """There is no executor as requested, or it was lost; the message names the fault and the remedy."""


class AddressError(ClusterError):
    """The address leads to no cluster that this process can use."""


class UnauthenticatedError(AddressError):
    """The cluster works without tokens, and other machines can reach it.

    Args:
        where: The cluster, as messages name it.
    """

    def __init__(self, where: str) -> None:
        reason = "works without authentication: whoever reaches it can run programs there, and read what yours read"
        super().__init__(f"{where}: {reason}; allowed: a cluster started with RAY_AUTH_MODE=token")


class JobServerError(ClusterError):
    """The job server of a cluster refuses a request, or does not answer it."""


class JobClientMissing(ClusterError):
    """Ray is installed on this machine without what its client for jobs needs."""


class LocalRayError(ClusterError):
    """A Ray of our own does not start, or starts no workers."""


class ResourceError(ClusterError):
    """No node has what every task needs.

    Args:
        resource: What is missing: `device` or `cpus`.
        message: What was requested, what there is, and what is allowed.
    """

    def __init__(self, resource: Literal["device", "cpus"], message: str) -> None:
        super().__init__(message)
        self.resource = resource


class ClusterLostError(ClusterError):
    """The cluster stopped answering while tasks ran."""


@dataclass(frozen=True)
class Started(Generic[Item]):
    """A task began to run on a node."""

    item: Item
    node: str


@dataclass(frozen=True)
class Progress(Generic[Item, Value]):
    """A task yielded a value."""

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
    failure: TaskFailure


@dataclass(frozen=True)
class NodeJoined:
    """A node can run tasks."""

    node: str
    slots: int  # tasks at once
    facts: Mapping[str, str] = field(default_factory=dict)  # what the node reports about itself
    problem: str = ""  # why it reports nothing, where it cannot be used


@dataclass(frozen=True)
class NodeLost:
    """A node is gone, and the tasks on it with it."""

    node: str


@dataclass(frozen=True)
class Waiting:
    """Tasks or nodes keep the job waiting; the message names them and the reason."""

    message: str


@dataclass(frozen=True)
class Admission:
    """The facts that every node of a cluster has to report about itself before its first task.

    Args:
        describe: Returns a node's facts; runs on the node. It is sent by value: the node need not have its module, and
            at its top that module imports the standard library only.
        arguments: What `describe` is called with.
        required: The facts that admit a node.
    """

    describe: Callable[..., Mapping[str, str]]
    arguments: tuple[Any, ...]
    required: Mapping[str, str]


def is_url(address: str | None) -> TypeGuard[str]:
    """Return whether an address is that of a cluster's job server, rather than HOST:PORT of its head."""
    return (address or "").lower().startswith(("http://", "https://"))


def differences(required: Mapping[str, str], node: NodeJoined) -> str:
    """Return why a node cannot be used; "" where it can.

    Args:
        required: The facts that nodes must have in common.
        node: The node, with its facts.
    """
    if node.problem:
        return node.problem
    facts = node.facts
    return ", ".join(
        f"{name} {facts.get(name, 'unknown')} instead of {value}"
        for name, value in required.items()
        if facts.get(name) != value
    )


TaskEvent: TypeAlias = Started[Item] | Progress[Item, Value] | Done[Item, Result] | Failed[Item]
NodeEvent: TypeAlias = NodeJoined | NodeLost | Waiting


class Executor(Protocol[Item, Value, Result]):
    """Run one task for many items. Items must be hashable, and no two items that run at the same time equal."""

    def submit(self, item: Item) -> None:
        """Start the task for an item, now or as soon as there is room for it."""

    def next_event(self, timeout_s: float) -> TaskEvent[Item, Value, Result] | NodeEvent | None:
        """Wait for the next event.

        Args:
            timeout_s: Seconds to wait. An executor that runs tasks in the calling process ignores it while one runs.

        Returns:
            The event, or None after the timeout.

        Raises:
            ClusterLostError: The cluster does not answer any longer.
        """

    def cancel(self, item: Item) -> None:
        """End an item's task, whatever it does; no further event of this item follows."""

    def exclude(self, node: str) -> None:
        """Start no task on a node any longer."""

    def close(self) -> None:
        """Give up every task that has not ended."""


class Session(Protocol):
    """A connection to where tasks run; leaving its context ends what it started."""

    @property
    def device(self) -> Device:
        """The device that tasks compute on."""

    @property
    def nodes(self) -> tuple[NodeJoined, ...]:
        """The nodes at the beginning of the session."""

    @property
    def required_facts(self) -> Mapping[str, str]:
        """The facts that each node has to report about itself."""

    @property
    def headroom(self) -> int:
        """How many tasks to submit beyond the nodes' slots: an autoscaler adds nodes for tasks that it sees waiting."""

    def executor(self, task: Task[Item, Shared, Value, Result], shared: Shared) -> Executor[Item, Value, Result]:
        """Make an executor of a task; `shared` is sent to each node once."""


AnyExecutor: TypeAlias = Executor[Any, Any, Any]
