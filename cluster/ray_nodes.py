"""The nodes of the Ray cluster that this process is connected to, and how many tasks each of them has room for."""

import socket
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import ray

from cluster.interface import NodeJoined, ResourceError

_ROUNDING = 1e-6
_PROBE_TIMEOUT_S = 2.0  # enough for a packet that is lost, and sent again after a second
_MAX_PROBES = 32  # at once


@dataclass(frozen=True)
class TaskNeeds:
    """The resources that every task takes of its node."""

    cpus: int = 1
    gpus: float = 0.0  # share of one GPU

    def fit_into(self, resources: Mapping[str, float]) -> bool:
        """Tell whether resources are enough for a task."""
        enough = (resources.get("CPU", 0) + _ROUNDING >= self.cpus, resources.get("GPU", 0) + _ROUNDING >= self.gpus)
        return all(enough)


@dataclass(frozen=True)
class Node:
    """A node that is alive and has room for a task."""

    node_id: str  # Ray's
    name: str  # the host's, and the beginning of the id: a host may run several nodes, and a node may come back
    address: str
    port: int
    slots: int

    def joined(self, facts: Mapping[str, str] | None = None, problem: str = "") -> NodeJoined:
        """Return the event that the node can run tasks."""
        return NodeJoined(self.name, self.slots, facts or {}, problem)


def alive_nodes() -> dict[str, dict[str, float]]:
    """Return the resources of each node that is alive, by node id."""
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return {node["NodeID"]: node["Resources"] for node in nodes if node["Alive"]}


def usable_nodes(needs: TaskNeeds) -> dict[str, Node]:
    """Return the nodes that have room for a task, by node id."""
    found = {}
    for node in ray.nodes():  # type: ignore[no-untyped-call]
        if node["Alive"] and (slots := _slots(node["Resources"], needs)):
            node_id, host, address = node["NodeID"], node["NodeManagerHostname"], node["NodeManagerAddress"]
            found[node_id] = Node(node_id, f"{host}/{node_id[:8]}", address, node["NodeManagerPort"], slots)
    return found


def check_has_room(needs: TaskNeeds) -> None:
    """Raise ResourceError where no node has room for a task: it would wait forever."""
    if usable_nodes(needs):
        return
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


def unreachable(nodes: Iterable[Node]) -> set[str]:
    """Return the ids of the nodes whose Ray does not accept a connection from here."""
    probed = list(nodes)
    if not probed:
        return set()
    with ThreadPoolExecutor(min(_MAX_PROBES, len(probed))) as pool:
        return {node.node_id for node, answers in zip(probed, pool.map(_answers, probed), strict=True) if not answers}


def _answers(node: Node) -> bool:
    try:
        socket.create_connection((node.address, node.port), timeout=_PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _slots(resources: Mapping[str, float], needs: TaskNeeds) -> int:
    """Count the tasks that a node has CPUs, and GPUs where they are needed, for at once."""
    by_cpu = int(resources.get("CPU", 0) // needs.cpus)
    if not needs.gpus:
        return by_cpu
    # A task's share is of one GPU.
    return min(by_cpu, int(resources.get("GPU", 0)) * int(1 / needs.gpus + _ROUNDING))
