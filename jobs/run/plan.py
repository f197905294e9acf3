"""The plan: the trials that a grid asks for, those that are stored, and why the others are not."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from jobs.errors import InputError
from jobs.escape import escape
from jobs.grid import Grid
from jobs.run.timings import Timings, learn_timings
from jobs.store import (
    PART,
    SETTINGS,
    Decision,
    SeedRule,
    Store,
    checkpointed,
    configuration_ids,
    scan_parts,
    stored_weights,
)
from mnist_core.backends import Device
from mnist_core.data import DatasetInfo
from mnist_core.kernels import training_kernels
from mnist_core.trial import Trial, trial_id

_FLAT = [
    "trial_id",
    "weights_sha256",
    "status",
    "dataset",
    "dataset_fingerprint",
    "device",
    "seconds",
    "mnistjobs_version",
]
_ORIGIN = ("dataset", "dataset_fingerprint", "mnistjobs_version")  # from which the reason for a stale trial is derived
_LOST_WEIGHTS = "its weights are lost"
_SETTINGS = [field.name for field in SETTINGS]
_ROWS = pa.schema([PART.field(name) for name in [*_FLAT, "settings"]])

# Takes the ids of the trials that have ended, and of those among them that failed for good.
Decide: TypeAlias = Callable[[Collection[str], Collection[str]], Decision]


@dataclass(frozen=True)
class Plan:
    """The trials that a grid asks for, and those of them that the store has already."""

    grid: Grid
    store: Store
    trials: Mapping[str, Trial]  # by trial_id, in the grid's order
    stored: frozenset[str]
    timings: Timings
    # Missing trials of which the store has a result that does not count, and why.
    stale: Mapping[str, str] = field(default_factory=dict)
    checkpointed: frozenset[str] = frozenset()  # trials that can resume where they were interrupted
    unusable: tuple[str, ...] = ()  # names of parts that are damaged or of another version
    decide: Decide | None = None  # where the seeds end by a rule: takes the decision
    decision: Decision | None = None  # on what is stored

    def explain(self, trial_id: str) -> tuple[str, str]:
        """Return a trial's state, `stored`, `new`, `stale` or `not needed`, and the reason; "" where none is needed."""
        if trial_id in self.stored:
            return "stored", ""
        if trial_id in self.unneeded:
            return "not needed", "the stored seeds of its configuration are enough"
        if trial_id in self.stale:
            return "stale", self.stale[trial_id]
        return "new", "resumes from its checkpoint" if trial_id in self.checkpointed else ""

    @cached_property
    def missing(self) -> tuple[str, ...]:
        """The ids of the trials to train, in the order in which to start them.

        Seed by seed, so that any partial result is a balanced comparison; within a seed the longest first.
        """
        seeds = dict.fromkeys(trial.seed for trial in self.trials.values())
        rank = {seed: position for position, seed in enumerate(seeds)}

        def start_order(trial_id: str) -> tuple[int, float]:
            trial = self.trials[trial_id]
            return rank[trial.seed], -self.timings.expected_seconds(trial)

        left = (each for each in self.trials if each not in self.stored and each not in self.unneeded)
        return tuple(sorted(left, key=start_order))

    @cached_property
    def configurations(self) -> Mapping[str, str]:
        """The configuration_id of each trial, by trial_id."""
        return configuration_ids(self.trials, self.grid.dataset_info.fingerprint)

    @cached_property
    def unneeded(self) -> frozenset[str]:
        """The ids of the trials that are not stored, and that the answer does not need."""
        if self.decision is None:
            return frozenset()
        left = {each: trial for each, trial in self.trials.items() if each not in self.stored}
        needs, of = self.decision.needs, self.configurations
        return frozenset(each for each, trial in left.items() if not needs(of[each], trial.seed))

    @property
    def certain(self) -> tuple[str, ...]:
        """The ids of the missing trials that are trained in any case: until the next look at the results."""
        until = self.grid.seeds_until
        if until is None or self.decision is None:
            return self.missing
        next_look = max(self.decision.whole + 1, until.at_least)
        return tuple(each for each in self.missing if self.trials[each].seed < next_look)

    def with_decide(self, decide: Decide) -> "Plan":
        """Return the plan of the trials that are needed by a decision, which is taken on what is stored."""
        decided = replace(self, decide=decide, decision=decide(self.stored, ()))
        return replace(decided, stale={each: why for each, why in self.stale.items() if each not in decided.unneeded})

    def expected_seconds(self, workers: int) -> float | None:
        """Return how long so many workers take for the missing trials, or None where there is no basis for it."""
        trials = [self.trials[trial_id] for trial_id in self.missing]
        if not all(map(self.timings.is_grounded, trials)):
            return None
        seconds = list(map(self.timings.expected_seconds, trials))
        return max(sum(seconds) / workers, *seconds) if seconds else 0.0


def make_plan(grid: Grid, store: Store) -> Plan:
    """Compare a grid with the store; nothing runs and nothing is written.

    Args:
        grid: The grid as `load_grid` returned it.
        store: The store to look in.

    Returns:
        The plan. The trials' ids are computed here, and travel with the trials from here on.

    Raises:
        StoreError: The store cannot be read.
    """
    info = grid.dataset_info
    trials = {trial_id(trial, info.fingerprint): trial for trial in grid.trials()}
    rows, unusable = read_stored_rows(store)
    device: Device = "cuda" if grid.resources.device == "cuda" else "cpu"
    with_row = trials.keys() & rows["trial_id"].to_pylist()
    stored = frozenset(with_row & _with_weights(rows, store)) if with_row else frozenset[str]()
    missing = {identity: trial for identity, trial in trials.items() if identity not in stored}
    timings = Timings(info.validation_size, device)
    if missing:
        timings = learn_timings(rows, info.fingerprint, info.validation_size, device)
    lost = dict.fromkeys((identity for identity in missing if identity in with_row), _LOST_WEIGHTS)
    stale = explain_stale({each: trial for each, trial in missing.items() if each not in lost}, rows, info) | lost
    return Plan(grid, store, trials, stored, timings, stale, checkpointed(store), unusable)


def seed_rule(grid: Grid) -> SeedRule | None:
    """Return the rule by which the seeds of a grid end, for the job's record; None where their number is given."""
    until = grid.seeds_until
    return (
        None if until is None else SeedRule(half_width=until.half_width, at_least=until.at_least, at_most=until.at_most)
    )


def _with_weights(rows: pa.Table, store: Store) -> set[str]:
    """Return the ids of the trials of which some row has its weights in the store."""
    weights = stored_weights(store)
    pairs = zip(rows["trial_id"].to_pylist(), rows["weights_sha256"].to_pylist(), strict=True)
    return {identity for identity, sha256 in pairs if sha256 in weights}


def check_precision(plan: Plan, device: Device) -> None:
    """Raise InputError where a missing trial asks for a precision that the device does not have."""
    requested = {plan.trials[trial_id].precision for trial_id in plan.missing} - {"float32"}
    if requested and device == "cpu":
        raise InputError(
            f"precision {', '.join(sorted(requested))}: the trials would run on the CPU; allowed there: float32 "
            "(tf32 and bfloat16 need a GPU, see resources.device)"
        )


def check_kernels(plan: Plan) -> None:
    """Raise KernelsError where this process cannot train the missing trials with the kernels that they ask for."""
    for numerics in {plan.trials[identity].numerics for identity in plan.missing}:
        training_kernels(numerics)


def read_stored_rows(store: Store) -> tuple[pa.Table, tuple[str, ...]]:
    """Read a plan's columns of every part; return the rows, and the names of the parts that cannot be used."""
    scanned = list(scan_parts(store, _ROWS.names))
    parts = [rows.select(_ROWS.names) for _, rows in scanned if rows is not None]
    unusable = tuple(sorted(name for name, rows in scanned if rows is None))
    return pa.concat_tables([pa.Table.from_batches([], _ROWS), *parts]), unusable


def explain_stale(missing: Mapping[str, Trial], rows: pa.Table, dataset: DatasetInfo) -> dict[str, str]:
    """Explain, for each missing trial whose settings are stored under another id, why that result is stale.

    Besides the settings, an id depends on the dataset and on the numerics.

    Args:
        missing: The missing trials, by id.
        rows: Rows of all usable parts, with at least `settings` and what the reason is derived from.
        dataset: The dataset of the missing trials.

    Returns:
        The reasons by trial id. Of several rows with a trial's settings, the most similar one gives the reason.
    """
    if not missing or not rows.num_rows:
        return {}
    requested = {tuple(vars(trial)[name] for name in _SETTINGS): identity for identity, trial in missing.items()}
    settings = zip(*(pc.struct_field(rows["settings"], name).to_pylist() for name in _SETTINGS), strict=True)
    origins = zip(*(rows[name].to_pylist() for name in _ORIGIN), strict=True)
    reasons: dict[tuple[str, ...], tuple[int, str]] = {}  # there are few
    found: dict[str, tuple[int, str]] = {}
    for key, origin in zip(settings, origins, strict=True):
        identity = requested.get(key)
        if identity is None:
            continue
        if origin not in reasons:
            reasons[origin] = _stale_reason(dataset, *origin)
        found[identity] = min(found.get(identity, reasons[origin]), reasons[origin])
    return {identity: found[identity][1] for identity in missing if identity in found}


def _stale_reason(dataset: DatasetInfo, name: str, fingerprint: str, version: str) -> tuple[int, str]:
    """Return (rank, reason) for what changed since a row was written; the likeliest reason has the lowest rank."""
    if fingerprint == dataset.fingerprint:
        return 0, f"numerics changed since mnistjobs {escape(version)}"
    if name == dataset.name:
        return 1, f"dataset {escape(name)} has changed"
    return 2, f"dataset was {escape(name)}"
