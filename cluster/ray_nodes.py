"""The nodes of the Ray cluster that this process is connected to, and how many tasks each of them has room for."""

import socket
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import psutil
import ray

from cluster.interface import ClusterError, NodeJoined, ResourceError

_ROUNDING = 1e-6
_PROBE_TIMEOUT_S = 1.0
_MAX_PROBES = 32  # at once
_GCS_FLAG = "--gcs-address="
_START_TIMEOUT_S = 20.0
_POLL_S = 0.2


@dataclass(frozen=True)
class TaskNeeds:
    """What every task takes of its node."""

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


def check_is_node(address: str) -> None:
    """Raise ClusterError unless this machine is a node of the cluster: Ray would look for its node for a minute.

    Args:
        address: HOST:PORT of the cluster's head.
    """
    host, _, port = address.rpartition(":")
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while (
        not (processes := _ray_processes("raylet")) and _ray_processes("gcs_server") and time.monotonic() < deadline_s
    ):
        time.sleep(_POLL_S)  # the head is starting here
    flags = (word for words in processes for word in words if word.startswith(_GCS_FLAG))
    heads = [head.rpartition(":") for head in sorted({flag.removeprefix(_GCS_FLAG) for flag in flags})]
    if any(head_port == port and _may_be_same(head, host.strip("[]")) for head, _, head_port in heads):
        return
    others = ", ".join("".join(head) for head in heads)
    belongs = f"; it is one of the cluster at {others}" if others else ""
    raise ClusterError(
        f"Ray at {address!r}: this machine ({socket.gethostname()}) is not a node of that cluster{belongs}; run on "
        f"one of its nodes, or make this machine one with `ray start --address={address} --num-cpus=0`"
    )


def _answers(node: Node) -> bool:
    try:
        socket.create_connection((node.address, node.port), timeout=_PROBE_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def _ray_processes(program: str) -> list[list[str]]:
    """Return the command lines of Ray's processes on this machine; Ray finds its node the same way."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it has ended, or belongs to another user
            words = process.cmdline()
            if words and words[0].rpartition("/")[2] == program:
                found.append(words)
    return found


def _may_be_same(head: str, host: str) -> bool:
    """Tell whether two names may be of one machine; a head that does not resolve gets the benefit of the doubt."""
    try:
        heads, hosts = ({info[4][0] for info in socket.getaddrinfo(name, None)} for name in (head, host))
    except OSError:
        return True
    return bool(heads & hosts) or any(str(each).startswith("127.") or each == "::1" for each in hosts)


def _slots(resources: Mapping[str, float], needs: TaskNeeds) -> int:
    """Count the tasks that a node has CPUs, and GPUs where they are needed, for at once."""
    by_cpu = int(resources.get("CPU", 0) // needs.cpus)
    if not needs.gpus:
        return by_cpu
    # A task's share is of one GPU.
    return min(by_cpu, int(resources.get("GPU", 0)) * int(1 / needs.gpus + _ROUNDING))
