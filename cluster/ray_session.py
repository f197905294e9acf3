"""Connect to Ray: start one for a single command, or use an existing cluster."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Literal

from cluster.interface import (
    Admission,
    ClusterError,
    Device,
    Item,
    NodeJoined,
    ResourceError,
    Result,
    Shared,
    Task,
    Value,
)
from cluster.ray_processes import kill_orphaned_rays, kill_own_ray, marked_processes
from cluster.ray_token import enable_token, protect_token

enable_token()

import ray  # noqa: E402 - reads the mode of authentication as it is imported

from cluster.ray_admission import NodeWatch  # noqa: E402
from cluster.ray_executor import RayExecutor  # noqa: E402
from cluster.ray_nodes import TaskNeeds, check_has_room, check_is_node, has_gpu, usable_nodes  # noqa: E402

_ADDRESSES = "HOST:PORT of a running cluster, auto for the one on this machine, or none to start one"
_TOKEN = "a cluster with token authentication needs its token in RAY_AUTH_TOKEN or in ~/.ray/auth_token"
_PROBE_TIMEOUT_S = 5.0
_HEADROOM = 32
_LOCAL_RAY_SETTINGS = {
    # Ray waits forever for a worker that it has started ahead of time and that dies before it has registered.
    "RAY_prestart_worker_first_driver": "0",
    # A raylet looks for its object store before that exists, and then only after this interval; 10 seconds in all.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
}


@dataclass(frozen=True)
class RaySession:
    """A connection of this process to Ray."""

    device: Device
    nodes: tuple[NodeJoined, ...]
    needs: TaskNeeds
    watch: NodeWatch | None = None  # None: Ray was started here, for this process alone
    required_facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def headroom(self) -> int:
        """How many tasks to submit beyond the nodes' slots, for Ray's autoscaler to see."""
        return _HEADROOM if self.watch else 0

    def executor(self, task: Task[Item, Shared, Value, Result], shared: Shared) -> RayExecutor[Item, Value, Result]:
        """Make an executor of a task; `shared` is stored once per node, and its arrays are not copied."""
        return RayExecutor(task, shared, self.needs, self.watch)


@contextmanager
def ray_session(
    *,
    address: str | None = None,
    workers: int | None = None,
    cpus: int = 1,
    device: Literal["auto"] | Device = "cpu",
    gpus: float = 1.0,
    admission: Callable[[Device], AbstractContextManager[Admission]] | None = None,
) -> Iterator[RaySession]:
    """Connect to Ray, and disconnect at the end.

    Without an address (given, or in RAY_ADDRESS) Ray is started here and stopped at the end, with token
    authentication and without a dashboard.

    Args:
        address: HOST:PORT of a cluster, `auto`, or `local` to start one.
        workers: How many tasks a Ray started here runs at once; default: as its CPUs allow.
        cpus: CPUs of each task.
        device: Where tasks compute; `auto` is cuda where the cluster has a GPU.
        gpus: Share of one GPU for each task, in (0, 1]; used where the device is cuda.
        admission: Given the device, returns what to ask of the nodes of a cluster for as long as the session lasts.

    Raises:
        ClusterError: The cluster cannot be reached, or none of its nodes can be used.
        ResourceError: No node has room for a task.
    """
    if workers is not None and workers < 1:
        raise ClusterError(f"workers {workers}: allowed from 1")
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    is_local = address == "local"
    if address not in ("local", "auto"):
        _check_reachable(address)
        check_is_node(address)
    try:
        logs = _connect(address, workers and workers * cpus)
        chosen = _choose_device(device)
        needs = TaskNeeds(cpus, gpus if chosen == "cuda" else 0.0)
        check_has_room(needs)
        with admission(chosen) if admission and not is_local else nullcontext() as asked:
            watch = None if is_local else NodeWatch(needs, asked)
            nodes = watch.first_nodes() if watch else tuple(node.joined() for node in usable_nodes(needs).values())
            yield RaySession(chosen, nodes, needs, watch, asked.required if asked else {})
    finally:
        with _restored_sigterm():
            ray.shutdown()
        kill_own_ray()
    if is_local:
        shutil.rmtree(logs, ignore_errors=True)  # megabytes, which Ray would keep forever


def _connect(address: str, local_cpus: int | None) -> str:
    """Connect to Ray, or start one; return the folder of its logs."""
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    is_local = address == "local"
    if is_local:
        options |= {"include_dashboard": False, "num_cpus": local_cpus}
        kill_orphaned_rays()
        for name, value in _LOCAL_RAY_SETTINGS.items():
            os.environ.setdefault(name, value)
    try:
        with _restored_sigterm(), marked_processes() if is_local else nullcontext():
            context: Any = ray.init(**options)
        ray._private.worker._worker_logs_enabled = False  # else Ray prints its own view of nodes that are lost
        protect_token()
        return str(context.address_info["session_dir"])
    except Exception as error:  # where its raylet dies during the start, Ray raises no class of its own
        raise ClusterError(f"Ray at {address!r}: {error}; allowed: {_ADDRESSES}; {_TOKEN}") from error


@contextmanager
def _restored_sigterm() -> Iterator[None]:
    """Restore the caller's SIGTERM handler, which ray.init and ray.shutdown replace by one that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers cannot be set in other threads, neither by Ray nor here
        return
    before = signal.getsignal(signal.SIGTERM)
    was_raised_by_ray = False
    try:
        yield
    except SystemExit:
        was_raised_by_ray = True
    finally:
        signal.signal(signal.SIGTERM, before)
    if was_raised_by_ray:
        signal.raise_signal(signal.SIGTERM)


def _check_reachable(address: str) -> None:
    """Raise ClusterError unless a server listens at the address: ray.init would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ClusterError(f"Ray address {address!r}: not HOST:PORT; allowed: {_ADDRESSES}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"Ray at {address!r}: nothing answers ({error}); allowed: {_ADDRESSES}") from error


def _choose_device(device: Literal["auto"] | Device) -> Device:
    """Resolve `auto`; raise ResourceError where a GPU is requested and no node has one."""
    if device == "cuda" and not has_gpu():
        raise ResourceError("device", "cuda: no node of the cluster has a GPU; allowed: auto or cpu")
    return "cuda" if device != "cpu" and has_gpu() else "cpu"
