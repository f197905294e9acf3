"""The functions that Ray runs on the nodes of a cluster.

They are pickled by value, so that they also start on a node where our packages cannot be imported. They may therefore
use only Ray and the standard library.
"""

from collections.abc import Collection, Generator, Mapping, Sequence
from typing import Any

from ray import cloudpickle, get_runtime_context


def run_if_admitted(
    admitted: Collection[str] | None, call: bytes, shared: tuple[bytes, Sequence[Any]]
) -> Generator[Any, None, None]:
    """Run a pickled generator function, unless it has come to a node that does not run tasks (yet).

    Ray gives a task that is queued to whichever node has room first, as to one that has just joined.

    Args:
        admitted: The ids of the nodes that run tasks; None: any node does.
        call: The function, pickled. Unpickling it imports our packages.
        shared: Its argument, pickled, and the buffers of that: Ray maps them into memory without a copy.

    Yields:
        What the function yields; where it does not run, the id of the node.
    """
    node = get_runtime_context().get_node_id()
    if admitted is not None and node not in admitted:
        yield node
        return
    yield from cloudpickle.loads(call)(cloudpickle.loads(shared[0], buffers=shared[1]))


def describe_node(call: bytes) -> Mapping[str, str]:
    """Call a pickled function, and return the facts that it returns."""
    facts: Mapping[str, str] = cloudpickle.loads(call)()
    return facts
