"""Open the session that a grid's resources ask for: this process, a local Ray, or a Ray cluster."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Literal

from cluster import Admission, Device, InProcessSession, ResourceError, Session
from jobs.errors import InputError
from jobs.grid import Grid
from mnist_core.devices import has_cuda

_PACKAGES = ("jobs", "mnist_core")  # what tasks import
_GRID_KEYS = {"device": "resources.device", "cpus": "resources.cpus_per_trial"}  # of what a ResourceError names


@contextmanager
def open_session(
    grid: Grid,
    *,
    address: str | None = None,
    workers: int | None = None,
    in_process: bool = False,
    allow_unauthenticated: bool = False,
    admission: Callable[[Device], AbstractContextManager[Admission]] | None = None,
) -> Iterator[Session]:
    """Open a session for a grid's tasks; what it starts ends with the context.

    Args:
        grid: The grid, for its resources.
        address: HOST:PORT of a Ray cluster; default: the Ray that this program is connected to, else RAY_ADDRESS, else
            a Ray started here.
        workers: How many tasks a Ray started here runs at once; default: as its CPUs and GPUs allow.
        in_process: Whether to run tasks in this process instead.
        allow_unauthenticated: Whether to accept a cluster that lets anybody on its network run programs.
        admission: Given the device, returns what to ask of the nodes of a cluster; None: nothing.

    Raises:
        InputError: The grid asks for a device or for CPUs that no node has.
        ClusterError: The cluster cannot be reached, or none of its nodes can be used.
    """
    resources = grid.resources
    try:
        if in_process:
            yield InProcessSession(_device_here(resources.device))
            return
        from cluster.ray_session import is_connected, ray_session  # half a second: only where tasks run on Ray

        is_elsewhere = is_connected() or (address or os.environ.get("RAY_ADDRESS") or "local") != "local"
        with ray_session(
            address=address,
            workers=workers,
            cpus=resources.cpus_per_trial,
            device=resources.device if is_elsewhere else _device_here(resources.device),
            gpus=resources.gpus_per_task,
            packages=_PACKAGES,
            allow_unauthenticated=allow_unauthenticated,
            admission=admission,
        ) as session:
            yield session
    except ResourceError as error:
        raise InputError(f"{_GRID_KEYS[error.resource]} {error}") from error


def _device_here(device: Literal["auto"] | Device) -> Device:
    """Resolve `auto` for this machine; raise ResourceError where a GPU is requested and there is none."""
    if device == "cpu":
        return "cpu"
    if has_cuda():
        return "cuda"
    if device == "cuda":
        raise ResourceError("device", "cuda: torch finds no GPU on this machine; allowed: auto or cpu")
    return "cpu"
