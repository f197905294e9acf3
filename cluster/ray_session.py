"""Run tasks on Ray: an instance started here for one command, or an existing cluster."""

import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

from cluster.interface import ClusterError, Device, Place
from cluster.ray_processes import end_orphans, end_own, marked
from cluster.ray_token import protect_token, use_token

use_token()

import ray  # noqa: E402 - reads the mode of authentication as it is imported

from cluster.ray_executor import Needs, bounded_map  # noqa: E402

_ADDRESSES = "HOST:PORT of a running cluster, auto for the one on this machine, or none to start one"
_TOKEN = "a cluster with token authentication wants its token in RAY_AUTH_TOKEN or in ~/.ray/auth_token"
_PROBE_TIMEOUT_S = 5.0
_ROUNDING = 1e-6
_OF_LOCAL_RAY = {
    # Ray waits for ever for a worker that it has started ahead of time and that dies before it has reported.
    "RAY_prestart_worker_first_driver": "0",
    # A raylet looks for its object store before that is there, and then not again for so long; 10 seconds in all.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
}


@dataclass(frozen=True)
class TaskNeeds:
    """What every task gets."""

    cpus: int = 1
    device: Literal["auto"] | Device = "cpu"  # auto: cuda where the cluster has a GPU
    gpus: float = 1.0  # of one GPU; counts where the device is cuda

    def on(self, device: Device) -> "TaskNeeds":
        """Settle the device; a task on the CPU gets no GPU."""
        return TaskNeeds(self.cpus, device, self.gpus if device == "cuda" else 0.0)


@contextmanager
def ray_place(
    *, address: str | None = None, workers: int | None = None, needs: TaskNeeds | None = None
) -> Iterator[Place]:
    """Connect to Ray and give a place whose map keeps at most `workers` tasks in flight.

    Without an address (given, or in RAY_ADDRESS) Ray is started here and stopped at the end, with token
    authentication and without a dashboard. `workers` defaults to what the CPUs and GPUs allow.
    Raises ClusterError where the cluster cannot be reached or has no place for a task.
    """
    if workers is not None and workers < 1:
        raise ClusterError(f"workers {workers}: allowed from 1")
    needs = needs or TaskNeeds()
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    if address not in ("local", "auto"):
        _check_reachable(address)
    try:
        session = _connect(address, workers, needs.cpus)
        device = _device(needs.device)
        settled = needs.on(device)
        places = _places(settled)  # raises where no task fits, which would wait for ever
        needed = Needs(settled.cpus, settled.gpus)
        run_map = bounded_map(
            workers or places, needed, is_shared=address != "local", keeps_workers=_keeps_workers(settled)
        )
        yield Place(run_map, workers or places, device)
    finally:
        with _own_sigterm():
            ray.shutdown()
        end_own()
    if address == "local":
        shutil.rmtree(session, ignore_errors=True)  # megabytes of logs, which Ray would keep for ever


def _connect(address: str, workers: int | None, cpus_per_task: int) -> str:
    """Connect to Ray, or start one; return the folder of its logs."""
    options: dict[str, Any] = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"include_dashboard": False, "num_cpus": workers and workers * cpus_per_task}
        end_orphans()
        for name, value in _OF_LOCAL_RAY.items():
            os.environ.setdefault(name, value)
    try:
        with _own_sigterm(), marked() if address == "local" else nullcontext():
            context: Any = ray.init(**options)
        protect_token()
        return str(context.address_info["session_dir"])
    except Exception as error:  # where its raylet dies while it starts, Ray raises no class of its own
        raise ClusterError(f"Ray at {address!r}: {error}; allowed: {_ADDRESSES}; {_TOKEN}") from error


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Put the caller's handling of SIGTERM back: ray.init and ray.shutdown make it end the process on the spot."""
    if threading.current_thread() is not threading.main_thread():
        yield  # neither Ray nor we may set handlers there
        return
    before = signal.getsignal(signal.SIGTERM)
    is_taken_by_ray = False
    try:
        yield
    except SystemExit:
        is_taken_by_ray = True
    finally:
        signal.signal(signal.SIGTERM, before)
    if is_taken_by_ray:
        signal.raise_signal(signal.SIGTERM)


def _check_reachable(address: str) -> None:
    """Raise ClusterError unless a server listens there: ray.init would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or "/" in host:
        raise ClusterError(f"Ray address {address!r}: not HOST:PORT; allowed: {_ADDRESSES}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PROBE_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"Ray at {address!r}: nothing answers ({error}); allowed: {_ADDRESSES}") from error


def _node_resources() -> list[dict[str, float]]:
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]  # type: ignore[no-untyped-call]


def _device(asked: Literal["auto"] | Device) -> Device:
    """Settle where tasks compute; raises ClusterError where a GPU is asked for and no node has one."""
    has_gpu = any(node.get("GPU", 0) >= 1 for node in _node_resources())
    if asked == "cuda" and not has_gpu:
        raise ClusterError("resources.device cuda: no node of the cluster has a GPU; allowed: auto or cpu")
    return "cuda" if has_gpu and asked != "cpu" else "cpu"


def _keeps_workers(needs: TaskNeeds) -> bool:
    """Tell whether a worker may run one task after another: CUDA holds a process to the first GPU that it was given."""
    return not needs.gpus or all(node.get("GPU", 0) <= 1 for node in _node_resources())


def _places(needs: TaskNeeds) -> int:
    """Count the tasks that the cluster's nodes have CPUs, and GPUs where they need them, for at once."""
    nodes = [node for node in _node_resources() if not needs.gpus or node.get("GPU", 0) >= 1]
    places = sum(_places_on(node, needs) for node in nodes)
    if not places:
        most = int(max((node.get("CPU", 0) for node in nodes), default=0))
        which = "node with a GPU" if needs.gpus else "node"
        raise ClusterError(f"resources.cpus_per_trial {needs.cpus}: no {which} has as many; allowed: up to {most}")
    return places


def _places_on(node: Mapping[str, float], needs: TaskNeeds) -> int:
    by_cpu = int(node.get("CPU", 0) // needs.cpus)
    if not needs.gpus:
        return by_cpu
    # The share of a task lies on one GPU.
    return min(by_cpu, int(node["GPU"]) * int(1 / needs.gpus + _ROUNDING))
