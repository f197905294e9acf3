"""The events that the scheduler receives, and the commands that it gives to the driver."""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from cluster import Done, Failed, NodeJoined, NodeLost, Progress, Started, TaskFailure, Waiting
from jobs.run.packs import Pack

Outcome: TypeAlias = Literal["finished", "failed", "cancelled", "stopped"]


@dataclass(frozen=True)
class Tick:
    """Time has passed, and nothing else has happened."""


@dataclass(frozen=True)
class CancelAsked:
    """Somebody asked to cancel the job."""


@dataclass(frozen=True)
class Enough:
    """These trials are not needed any longer: the results of their configurations are enough."""

    trial_ids: frozenset[str]
    seeds: int = 0  # after so many
    open_count: int = 0  # configurations that need more


PackEvent: TypeAlias = Started[Pack] | Progress[Pack, int] | Done[Pack, Any] | Failed[Pack]
SchedulerEvent: TypeAlias = PackEvent | NodeJoined | NodeLost | Waiting | Tick | CancelAsked | Enough


@dataclass(frozen=True)
class Start:
    """Submit a pack to the executor."""

    pack: Pack


@dataclass(frozen=True)
class Cancel:
    """End a pack's task; the executor reports nothing more about it."""

    pack: Pack


@dataclass(frozen=True)
class Retry:
    """Record that a pack failed, and that its trials are tried again in these packs."""

    pack: Pack
    failure: TaskFailure
    packs: tuple[Pack, ...]


@dataclass(frozen=True)
class GiveUp:
    """Record that a pack's trials have failed for good."""

    pack: Pack
    failure: TaskFailure


@dataclass(frozen=True)
class RefuseNode:
    """Run nothing on a node."""

    node: str
    reason: str


@dataclass(frozen=True)
class Finish:
    """End the job."""

    outcome: Outcome


Command: TypeAlias = Start | Cancel | Retry | GiveUp | RefuseNode | Finish
