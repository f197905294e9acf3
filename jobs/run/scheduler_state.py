"""The state of the scheduler, on which its decisions depend."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jobs.run.budget import Budget
from jobs.run.events import Outcome
from jobs.run.pace import Run
from jobs.run.packs import Pack


@dataclass(frozen=True)
class Rules:
    """The limits that a job's grid and options set."""

    retries: int
    hang_timeout_s: Callable[[Pack], float]  # the longest allowed gap between two events of a pack that runs
    fail_fast: bool = False  # whether the first trial that fails for good ends the job
    max_running: int | None = None  # packs at once; None: as many as the nodes have slots for
    required_facts: Mapping[str, str] = field(default_factory=dict)  # what each node has to report about itself
    headroom: int = 0  # packs at most, and no more than slots, to start beyond the slots: an autoscaler adds nodes
    is_by_seed: bool = False  # whether later rounds may prove needless: they start only as far as slots would be idle


@dataclass(frozen=True)
class Running:
    """A pack in flight."""

    node: str | None = None  # None: it is queued at the executor
    last_event_s: float = 0.0
    run: Run | None = None  # its progress, under a budget


@dataclass(frozen=True)
class Delayed:
    """A pack that waits for its next attempt."""

    due_s: float
    pack: Pack


@dataclass(frozen=True)
class State:
    """Everything that the next decision depends on."""

    rules: Rules
    packs: tuple[Pack, ...]  # in the order in which to start them
    next_pack: int = 0  # the packs before it have been started
    delayed: tuple[Delayed, ...] = ()  # by due time
    alone: tuple[Pack, ...] = ()  # run last and one at a time, so that no slot idles for them
    running: Mapping[Pack, Running] = field(default_factory=dict)
    slots: Mapping[str, int] = field(default_factory=dict)  # of each node
    now_s: float = 0.0  # time that the driver has spent waiting
    clock_s: float = 0.0  # time that has passed
    budget: Budget | None = None
    without_nodes_since_s: float = 0.0
    has_failed: bool = False
    outcome: Outcome | None = None  # None while the job runs

    @property
    def first_round(self) -> int:
        """The first round of which any pack runs or waits; there is at least one such pack."""
        waiting = [*(each.pack for each in self.delayed), *self.alone, *self.packs[self.next_pack : self.next_pack + 1]]
        return min(pack.round for pack in (*waiting, *self.running))

    @property
    def is_left(self) -> bool:
        """Whether any pack runs or waits."""
        return bool(self.next_pack < len(self.packs) or self.delayed or self.alone or self.running)
