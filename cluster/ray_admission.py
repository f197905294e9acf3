"""Which nodes of a cluster run tasks: each is asked about itself first; nodes join, and are lost, while tasks run."""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster import ray_task
from cluster.interface import Admission, ClusterError, NodeEvent, NodeJoined, NodeLost, Waiting, differences
from cluster.ray_errors import task_failure
from cluster.ray_nodes import Node, TaskNeeds, unreachable, usable_nodes

LOOK_INTERVAL_S = 2.0
MAX_UNREACHABLE_S = 40.0  # Ray itself takes a node for dead after 65 seconds
MAX_ANSWER_S = 60.0
_OTHERS_S = 15.0  # to wait at the beginning for further nodes, once one can be used
_POLL_S = 0.1

_pickler: Any = ray.cloudpickle
_pickler.register_pickle_by_value(ray_task)


@dataclass
class _Question:
    """A node that was asked about itself."""

    node: Node
    asked_s: float = field(default_factory=time.monotonic)
    is_overdue: bool = False


class NodeWatch:
    """Know which nodes run tasks, and notice those that join and those that are lost.

    Args:
        needs: What each task takes of its node.
        admission: What to ask of each node; None: nodes are used as they are.
    """

    def __init__(self, needs: TaskNeeds, admission: Admission | None) -> None:
        self._needs = needs
        self._admission = admission
        self._usable: dict[str, Node] = {}  # alive, as Ray sees it, and with room for a task, by id
        self._known: set[str] = set()  # those of them that were asked, and not lost since
        self._questions: dict[Any, _Question] = {}  # by the reference of the answer
        self._answered: dict[str, Node] = {}  # by name, until they are admitted
        self._admitted: dict[str, Node] = {}
        self._excluded: set[str] = set()  # names of nodes that must not run tasks
        self._unreachable_since: dict[str, float] = {}
        self._looked_s = float("-inf")

    @property
    def admitted(self) -> Mapping[str, Node]:
        """The nodes that run tasks, by id."""
        return self._admitted

    @property
    def not_admitted(self) -> frozenset[str]:
        """The ids of the nodes that Ray would give tasks to, and that do not run any."""
        return frozenset(self._usable.keys() - self._admitted.keys())

    def admit(self, name: str) -> bool:
        """Let tasks run on a node that has answered; return whether it is still there."""
        if (node := self._answered.pop(name, None)) is None:
            return False
        if name not in self._excluded:
            self._admitted[node.node_id] = node
        return True

    def exclude(self, name: str) -> None:
        """Give no task to a node."""
        self._excluded.add(name)
        self._admitted = {node_id: node for node_id, node in self._admitted.items() if node.name != name}

    def look_soon(self) -> None:
        """Let the next call of `changes` look at the nodes."""
        self._looked_s = float("-inf")

    def changes(self, head_answers: Callable[[], bool] = lambda: True) -> list[NodeEvent]:
        """Return what has changed since the last call, looking at the nodes at most every few seconds.

        A node that has joined runs tasks once it is admitted.

        Args:
            head_answers: Returns whether the cluster's head answers; while it does not, no node is looked at.
        """
        events: list[NodeEvent] = []
        if time.monotonic() >= self._looked_s + LOOK_INTERVAL_S and head_answers():
            events += self._look()
            self._looked_s = time.monotonic()
        return events + self._collect_answers()

    def lose_unreachable(self, node_id: str | None) -> list[NodeEvent]:
        """Take a node for lost if it does not answer at this moment, as when a task has crashed there.

        Args:
            node_id: The node; None: any of them.
        """
        suspects = [node for node in self._admitted.values() if node_id in (None, node.node_id)]
        return self._lose(unreachable(suspects))

    def first_nodes(self) -> tuple[NodeJoined, ...]:
        """Wait for the nodes with which the session begins.

        Returns:
            The nodes that have answered once all have, or once the others have taken too long.

        Raises:
            ClusterError: No node can be used; the message has the reasons.
        """
        joined: list[NodeJoined] = []
        reasons: list[str] = []
        required = self._admission.required if self._admission else {}
        started_s = time.monotonic()
        while True:
            new = [event for event in self.changes() if isinstance(event, NodeJoined)]
            joined += new
            reasons += [f"{node.node}: {reason}" for node in new if (reason := differences(required, node))]
            patience_s = _OTHERS_S if len(joined) > len(reasons) else MAX_ANSWER_S
            if not self._questions or time.monotonic() - started_s > patience_s:
                break
            time.sleep(_POLL_S)
        if len(joined) > len(reasons):
            return tuple(node for node in joined if self.admit(node.node))
        reasons += [f"{question.node.name}: {_silence()}" for question in self._questions.values()]
        raise ClusterError(f"no node of the cluster can be used; {'; '.join(sorted(reasons))}")

    def _look(self) -> list[NodeEvent]:
        self._usable = usable_nodes(self._needs)
        events = self._lose(self._known - self._usable.keys() | self._unreachable_for_long())
        for node_id in self._usable.keys() - self._known - self._unreachable_since.keys():
            self._known.add(node_id)
            events += self._ask(self._usable[node_id])
        return events

    def _unreachable_for_long(self) -> set[str]:
        """Find nodes that Ray takes for alive although nothing on them can be reached, as behind a broken network.

        A node that answers again is asked anew, as a node that joins.
        """
        watched = self._usable.keys() & (self._admitted.keys() | self._unreachable_since.keys())
        silent, now_s = unreachable(self._usable[node_id] for node_id in watched), time.monotonic()
        self._unreachable_since = {node_id: self._unreachable_since.get(node_id, now_s) for node_id in silent}
        return {node_id for node_id, since_s in self._unreachable_since.items() if now_s - since_s > MAX_UNREACHABLE_S}

    def _lose(self, node_ids: set[str]) -> list[NodeEvent]:
        now_s = time.monotonic()
        lost = [node for node_id, node in self._admitted.items() if node_id in node_ids]
        for node in lost:
            del self._admitted[node.node_id]
            self._unreachable_since.setdefault(node.node_id, now_s)
        self._known -= node_ids
        self._answered = {name: node for name, node in self._answered.items() if node.node_id not in node_ids}
        self._questions = {ref: each for ref, each in self._questions.items() if each.node.node_id not in node_ids}
        return [NodeLost(node.name) for node in lost]

    def _ask(self, node: Node) -> list[NodeEvent]:
        """Start the task that admits a node; without questions it is admitted at once."""
        if self._admission is None:
            return self._answer(node, node.joined())
        call = _pickle_by_value(self._admission.describe, self._admission.arguments)
        there = NodeAffinitySchedulingStrategy(node.node_id, soft=False)
        # Its process ends with it: what it has imported, and how, must not matter to any trial.
        ask: Any = ray.remote(num_cpus=0, max_calls=1, max_retries=0)(ray_task.describe_node)
        self._questions[ask.options(scheduling_strategy=there).remote(call)] = _Question(node)
        return []

    def _collect_answers(self) -> list[NodeEvent]:
        if not self._questions:
            return []
        refs = list(self._questions)
        ready, _ = ray.wait(refs, num_returns=len(refs), timeout=0)
        events: list[NodeEvent] = []
        for ref in ready:
            node = self._questions.pop(ref).node
            try:
                events += self._answer(node, node.joined(ray.get(ref)))
            except RayError as error:
                events += self._answer(node, node.joined(problem=task_failure(error, 0).message))
        return events + self._overdue()

    def _answer(self, node: Node, joined: NodeJoined) -> list[NodeEvent]:
        self._answered[node.name] = node
        return [joined]

    def _overdue(self) -> list[NodeEvent]:
        events: list[NodeEvent] = []
        for question in self._questions.values():
            if not question.is_overdue and time.monotonic() - question.asked_s > MAX_ANSWER_S:
                question.is_overdue = True
                events.append(Waiting(f"node {question.node.name} is not used yet: {_silence()}"))
        return events


def _silence() -> str:
    return (
        f"it has not answered for {MAX_ANSWER_S:.0f} s: no process starts there, or none that reaches this machine; "
        "firewalls have to let all ports pass between the nodes"
    )


def _pickle_by_value(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bytes:
    """Pickle a call together with the function's code, so that it can be made where its module is missing."""
    module = sys.modules[function.__module__]
    _pickler.register_pickle_by_value(module)
    try:
        return bytes(_pickler.dumps(partial(function, *arguments)))
    finally:
        _pickler.unregister_pickle_by_value(module)
