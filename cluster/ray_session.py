"""Connect to Ray: start one for a single command, use an existing cluster, or what this program is connected to."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cluster.cpus import usable_cpus
from cluster.interface import (
    AddressError,
    Admission,
    ClusterError,
    Device,
    Item,
    LocalRayError,
    NodeJoined,
    ResourceError,
    Result,
    Shared,
    Task,
    Value,
)
from cluster.ray_environment import (
    environment,
    hiding_file,
    local_environment,
    local_folder,
    without_options,
    worker_path,
)
from cluster.ray_processes import kill_orphaned_rays, kill_own_ray, marked_processes

with environment(without_options(os.environ)):  # Ray reads its options as it is imported, and sets one
    import ray
from ray._private import ray_constants
from ray.job_config import JobConfig

from cluster.ray_address import NOT_FOR_CLUSTERS, Cluster, check_cluster, check_form
from cluster.ray_admission import NodeWatch
from cluster.ray_executor import RayExecutor
from cluster.ray_nodes import TaskNeeds, check_has_room, has_gpu, usable_nodes
from cluster.ray_token import new_token, read_authentication

_UV_RUN = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"  # `uv run` sends the working directory to the workers, by default
_HEADROOM = 32


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
    packages: Sequence[str] = (),
    allow_unauthenticated: bool = False,
    admission: Callable[[Device], AbstractContextManager[Admission]] | None = None,
) -> Iterator[RaySession]:
    """Connect to Ray, and disconnect at the end; the environment of this process is then what it was before.

    Without an address (given, or in RAY_ADDRESS) the Ray that this program is connected to is used, and stays
    connected. Where there is none, Ray is started here and stopped at the end, with a token of its own and without a
    dashboard.

    Args:
        address: HOST:PORT of a cluster, `auto`, or `local` to start one.
        workers: How many tasks a Ray started here runs at once; default: as its CPUs allow.
        cpus: CPUs of each task.
        device: Where tasks compute; `auto` is cuda where the cluster has a GPU.
        gpus: Share of one GPU for each task, in (0, 1]; used where the device is cuda.
        packages: Top-level packages that tasks import; workers of a Ray started here import them as this process does.
        allow_unauthenticated: Whether to accept a cluster that lets anybody on its network run programs.
        admission: Given the device, returns what to ask of the nodes of a cluster for as long as the session lasts.

    Raises:
        AddressError: The address leads to no cluster that can be used, or the program is connected to another one.
        LocalRayError: Ray cannot be started here.
        ClusterError: None of the cluster's nodes can be used.
        ResourceError: No node has room for a task.
    """
    if workers is not None and workers < 1:
        raise ClusterError(f"workers {workers}: allowed from 1")
    local_cpus = usable_cpus() if workers is None else workers * cpus
    with _connection(address, local_cpus, ("cluster", *packages), allow_unauthenticated) as is_local:
        chosen = _choose_device(device)
        needs = TaskNeeds(cpus, gpus if chosen == "cuda" else 0.0)
        check_has_room(needs)
        with admission(chosen) if admission and not is_local else nullcontext() as asked:
            watch = None if is_local else NodeWatch(needs, asked)
            nodes = watch.first_nodes() if watch else tuple(node.joined() for node in usable_nodes(needs).values())
            yield RaySession(chosen, nodes, needs, watch, asked.required if asked else {})


def is_connected() -> bool:
    """Tell whether this program is connected to Ray."""
    return bool(ray.is_initialized())


@contextmanager
def _connection(
    address: str | None, local_cpus: int, packages: Sequence[str], allow_unauthenticated: bool
) -> Iterator[bool]:
    """Connect to Ray, and disconnect at the end; yield whether it was started here."""
    if is_connected():
        _check_connected(address, packages)
        yield False
        return
    address = address or os.environ.get("RAY_ADDRESS") or "local"
    is_local = address == "local"
    with _own_ray(local_cpus, packages) if is_local else _existing_cluster(address, allow_unauthenticated):
        yield is_local


@contextmanager
def _own_ray(cpus: int, packages: Sequence[str]) -> Iterator[None]:
    """Start a Ray, and stop it at the end."""
    with local_folder() as folder:
        kill_orphaned_rays()
        try:
            _start(cpus, packages, folder)
            yield
        finally:
            _disconnect()
            kill_own_ray()


def _start(cpus: int, packages: Sequence[str], folder: Path) -> None:
    options = {
        "num_cpus": cpus,
        "include_dashboard": False,
        "_temp_dir": str(folder),
        "_skip_env_hook": True,
        "job_config": _OwnPathOnly(_py_driver_sys_path=worker_path(packages, folder)),
    }
    try:
        with environment(local_environment(new_token())), marked_processes():
            _init("local", options)
    except Exception as error:  # where its raylet dies, Ray raises no class of its own
        reason = f"Ray on this machine: cannot be started: {_one_line(error)}"
        raise LocalRayError(f"{reason}; its logs are in {folder}, until the next start") from error


@contextmanager
def _existing_cluster(address: str, allow_unauthenticated: bool) -> Iterator[None]:
    """Connect to a cluster, and disconnect at the end."""
    cluster = check_cluster(address, allow_unauthenticated=allow_unauthenticated)
    try:
        _connect(cluster)
        yield
    finally:
        _disconnect()


def _connect(cluster: Cluster) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in NOT_FOR_CLUSTERS}
    try:
        with environment({**kept, "RAY_AUTH_MODE": cluster.mode}):
            _init(cluster.address, {"job_config": _OwnPathOnly()})
        _show_messages_of_nodes(False)  # a node that is lost is reported as an event
    except Exception as error:
        raise AddressError(f"Ray at {cluster.address!r}: refuses the connection: {_one_line(error)}") from error


class _OwnPathOnly(JobConfig):
    """Keep Ray from putting the directories of this process and of its script on the path of the workers."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def _check_connected(address: str | None, packages: Sequence[str]) -> None:
    """Raise AddressError where the Ray that this program is connected to is another one, or cannot be used."""
    from ray.util.client import ray as client

    check_form(address or "auto")
    if client.is_connected():  # type: ignore[no-untyped-call]
        raise AddressError("this program is connected through Ray's client (ray://); connect to HOST:PORT instead")
    connected = str(ray.get_runtime_context().gcs_address)
    if address not in (None, "auto", connected):
        raise AddressError(
            f"Ray at {address!r}: this program is connected to the one at {connected} already; "
            "allowed: no address to use that, or ray.shutdown() first"
        )
    worker: Any = ray._private.worker.global_worker
    if file := hiding_file(packages, worker.core_worker.get_job_config().py_driver_sys_path[::-1]):
        raise AddressError(f"{file}: workers of this program's Ray import it in place of mnistjobs' own; rename it")


def _init(address: str, options: dict[str, Any]) -> None:
    """Call ray.init in the environment as it is."""
    read_authentication()
    uses_uv = ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV
    ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = os.environ.get(_UV_RUN, "").lower() in ("1", "true")
    try:
        with _restored_sigterm():
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
        _silence()
    finally:
        ray_constants.RAY_ENABLE_UV_RUN_RUNTIME_ENV = uses_uv


def _silence() -> None:
    """End the thread that prints what Ray's processes report, such as the last lines of the log of a dead raylet."""
    worker: Any = ray._private.worker.global_worker
    worker.threads_stopped.set()
    worker.gcs_error_subscriber.close()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _show_messages_of_nodes(are_shown: bool) -> None:
    ray._private.worker._worker_logs_enabled = are_shown


def _disconnect() -> None:
    _show_messages_of_nodes(True)
    with _restored_sigterm():
        ray.shutdown()
    read_authentication()  # the caller's


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


def _choose_device(device: Literal["auto"] | Device) -> Device:
    """Resolve `auto`; raise ResourceError where a GPU is requested and no node has one."""
    if device == "cuda" and not has_gpu():
        raise ResourceError("device", "cuda: no node of the cluster has a GPU; allowed: auto or cpu")
    return "cuda" if device != "cpu" and has_gpu() else "cpu"
