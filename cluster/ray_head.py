"""Whether the head of the Ray cluster that this process is connected to still answers."""

import socket
import time
from typing import Any

import ray

from cluster.interface import ClusterLostError

_CHECK_INTERVAL_S = 3.0
_MAX_UNANSWERED = 8  # checks: Ray itself gives up after a minute


class HeadCheck:
    """Notice that the head node is gone: a minute later, Ray would end this process."""

    def __init__(self) -> None:
        self._address = str(ray.get_runtime_context().gcs_address)
        self._checked_s = time.monotonic()
        self._unanswered = 0

    def answers(self) -> bool:
        """Tell whether the head answers: to ask one that does not would block until Ray ends this process."""
        return self._connect() is None

    def check(self) -> None:
        """Raise ClusterLostError where the head has died, or has not answered several times in a row."""
        if time.monotonic() < self._checked_s + _CHECK_INTERVAL_S:
            return
        self._checked_s = time.monotonic()
        if dead := _dead_local_process():
            raise ClusterLostError(f"Ray at {self._address}: its {dead} has died")
        error = self._connect()
        self._unanswered = self._unanswered + 1 if error else 0
        if self._unanswered == _MAX_UNANSWERED:
            raise ClusterLostError(f"Ray at {self._address}: does not answer any longer ({error})") from error

    def _connect(self) -> OSError | None:
        host, _, port = self._address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except OSError as error:
            return error
        return None


def _dead_local_process() -> str:
    """Name a dead process of a Ray started here that it cannot work without; "" where there is none."""
    node: Any = getattr(ray._private.worker, "_global_node", None)
    dead = {kind for kind, _ in node.dead_processes()} if node else set()
    return next((kind for kind in ("raylet", "gcs_server") if kind in dead), "")
