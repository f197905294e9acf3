"""Tasks that Ray does not start: explain why, and find the nodes that had room for them."""

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import ray
from ray._private.state import available_resources_per_node

from cluster.interface import LocalRayError
from cluster.ray_nodes import Node, TaskNeeds

MAX_START_S = 55.0  # without a started task, before a Ray started here is given up
QUEUED_S = 10.0  # without a started task, before the reason is reported
UNPLACED_S = 60.0  # with queued tasks and room for them, before they are sent again
_CHECK_INTERVAL_S = 2.0
_MAX_UNPLACED_S = 960.0


class QueueWatch:
    """Watch over the tasks that are queued at Ray."""

    def __init__(self, needs: TaskNeeds) -> None:
        self._needs = needs
        self._last_s = time.monotonic()
        self._passed_s = self._waited_s = 0.0
        self._has_room_for_s = 0.0
        self._unplaced_s = UNPLACED_S
        self._has_started = self._is_reported = False

    def note_start(self) -> None:
        """Take note that a task has started."""
        self._has_started = True
        self._has_room_for_s, self._unplaced_s = 0.0, UNPLACED_S

    def is_due(self, queued: int) -> bool:
        """Count the time since the last call; return whether the checks below are due."""
        passed_s = time.monotonic() - self._last_s
        if passed_s < _CHECK_INTERVAL_S:
            return False
        self._last_s += passed_s
        self._passed_s = min(passed_s, 2 * _CHECK_INTERVAL_S)  # while this process is suspended, nothing can start
        self._waited_s += self._passed_s if queued else 0.0
        return True

    def check_start(self) -> None:
        """Raise LocalRayError where no task starts on a Ray that this process has started for itself."""
        if not self._has_started and self._waited_s >= MAX_START_S:
            reason = f"no task has started for {MAX_START_S:.0f} s"
            raise LocalRayError(f"Ray on this machine: {reason}; the last line of its log is: {_last_words()}")

    def explain_wait(self) -> str:
        """Return one message where a cluster has started no task for long: what is free; "" otherwise."""
        if self._has_started or self._is_reported or self._waited_s < QUEUED_S:
            return ""
        self._is_reported = True
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        for name, need in (("CPU", self._needs.cpus), ("GPU", self._needs.gpus)):
            if free.get(name, 0) < need:
                left = f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s of the cluster are free"
                return f"no task has started yet: {left}"
        return ""

    def explain_unplaced(self, queued: int, admitted: Iterable[Node], busy: Mapping[str, int]) -> str:
        """Return a message where tasks have been queued for long although nodes had room all the time; "" otherwise.

        Args:
            queued: How many tasks are queued.
            admitted: The nodes that run tasks.
            busy: How many tasks have started, and not ended, on each node, by its id.
        """
        names = self._nodes_with_room(admitted, busy) if queued else []
        self._has_room_for_s = self._has_room_for_s + self._passed_s if names else 0.0
        if self._has_room_for_s < self._unplaced_s:
            return ""
        waited_s, self._has_room_for_s = self._has_room_for_s, 0.0
        self._unplaced_s = min(2 * self._unplaced_s, _MAX_UNPLACED_S)
        tasks = f"{queued} task{'s have' if queued > 1 else ' has'} not started"
        return f"{tasks} for {waited_s:.0f} s although there is room on {', '.join(sorted(names))}: sent again"

    def _nodes_with_room(self, admitted: Iterable[Node], busy: Mapping[str, int]) -> list[str]:
        candidates = [node for node in admitted if busy.get(node.node_id, 0) < node.slots]
        if not candidates:
            return []
        free: dict[str, dict[str, float]] = available_resources_per_node()  # type: ignore[no-untyped-call]
        return [node.name for node in candidates if self._needs.fit_into(free.get(node.node_id, {}))]


def _last_words() -> str:
    """Return the last line that a Ray started here, or one of its workers, has written to its log of errors."""
    node: Any = ray._private.worker._global_node
    lines = Path(node.get_logs_dir_path(), "raylet.err").read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "none")
