"""The history of a simulated study, and the retries that a scheduler may grant."""

from collections import Counter
from dataclasses import dataclass, field

from cluster import TaskFailure
from jobs.run.packs import Pack
from support.simulated_study import NOISE, Study, expected_pack_s

WAITING_KINDS = ("crashed", "hung", "storage")


@dataclass
class History:
    """The history of a simulated study."""

    study: Study
    outcome: str | None = None
    starts: Counter[str] = field(default_factory=Counter)  # of each trial
    stored: dict[str, float] = field(default_factory=dict)  # trial_id -> when its part was written
    given_up: list[str] = field(default_factory=list)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)  # (trial_id, kind) -> how often
    alone_beside_others: int = 0
    started_after_stored: list[str] = field(default_factory=list)
    over_capacity: int = 0  # packs submitted beyond what nodes and options allow
    on_other_version: int = 0  # packs that a node of another version ran
    left_on_lost_node: int = 0  # packs not dealt with when their node was lost
    partitions: int = 0
    refusals: int = 0
    hidden_demand: int = 0  # how often a pack had never been submitted although more were allowed
    started_after_fail_fast: int = 0
    retried_without_budget: list[str] = field(default_factory=list)
    hung_too_early: list[Pack] = field(default_factory=list)
    retried_too_early: list[str] = field(default_factory=list)
    orphans: int = 0  # tasks that still run when the job has ended
    begun_too_late: list[str] = field(default_factory=list)  # although it was known what packs take
    begun_before_its_round: list[str] = field(default_factory=list)
    ended_s: float = 0.0
    events: int = 0

    def note_start_within_budget(self, pack: Pack, now_s: float, is_measured: bool) -> None:
        """Note a pack that cannot end in time by what has been measured, or whose round has not come."""
        study = self.study
        if study.within_s is None:
            return
        fastest_s = expected_pack_s(pack) * study.slowness * min(NOISE)
        if is_measured and now_s + fastest_s > study.within_s:
            self.begun_too_late += pack.trials
        earlier = [each for other in study.packs if other.round < pack.round for each in other.trials]
        self.begun_before_its_round += [each for each in earlier if not self.starts[each]]


def is_retry_allowed(pack: Pack, failure: TaskFailure, retries: int) -> bool:
    """Tell whether a failed pack may be tried again; several trials may always be tried each by itself."""
    if len(pack.trials) > 1:
        return True
    if failure.kind == "node_lost":
        return pack.node_losses < 10
    if failure.kind == "out_of_memory":
        return not pack.is_alone
    return failure.kind in WAITING_KINDS and pack.attempt - pack.node_losses <= retries
