"""The nodes of the Ray cluster that this process is connected to, and how many tasks each of them has room for."""

from collections.abc import Mapping
from dataclasses import dataclass

import ray

from cluster.interface import NodeJoined, ResourceError

_ROUNDING = 1e-6


@dataclass(frozen=True)
class TaskNeeds:
    """What every task takes of its node."""

    cpus: int = 1
    gpus: float = 0.0  # share of one GPU


def alive_nodes() -> dict[str, dict[str, float]]:
    """Return the resources of each node that is alive, by node id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}


def usable_nodes(needs: TaskNeeds) -> dict[str, NodeJoined]:
    """Return the nodes that have room for a task, by node id."""
    slots = {node: _slots(resources, needs) for node, resources in alive_nodes().items()}
    return {node: NodeJoined(node, count) for node, count in slots.items() if count}


def initial_nodes(needs: TaskNeeds) -> tuple[NodeJoined, ...]:
    """Return the nodes that have room for a task; raise ResourceError where none has, as a task would wait forever."""
    if nodes := usable_nodes(needs):
        return tuple(nodes.values())
    candidates = [each for each in alive_nodes().values() if not needs.gpus or each.get("GPU", 0) >= 1]
    largest = int(max((each.get("CPU", 0) for each in candidates), default=0))
    which = "node with a GPU" if needs.gpus else "node"
    raise ResourceError("cpus", f"{needs.cpus}: no {which} has as many CPUs; allowed: up to {largest}")


def has_gpu() -> bool:
    """Tell whether any node has a GPU."""
    return any(resources.get("GPU", 0) >= 1 for resources in alive_nodes().values())


def can_reuse_workers(needs: TaskNeeds) -> bool:
    """Tell whether a worker may run one task after another: CUDA binds a process to the first GPU that it was given."""
    return not needs.gpus or all(resources.get("GPU", 0) <= 1 for resources in alive_nodes().values())


def _slots(resources: Mapping[str, float], needs: TaskNeeds) -> int:
    """Count the tasks that a node has CPUs, and GPUs where they are needed, for at once."""
    by_cpu = int(resources.get("CPU", 0) // needs.cpus)
    if not needs.gpus:
        return by_cpu
    # A task's share is of one GPU.
    return min(by_cpu, int(resources.get("GPU", 0)) * int(1 / needs.gpus + _ROUNDING))
