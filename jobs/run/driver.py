"""Submit a grid: find what the store lacks, run it, and keep the job's record."""

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

from cluster.failures import Failure
from cluster.interface import Done, Event, Failed, Place, Waiting
from jobs.errors import InputError, StoreError
from jobs.grid import Grid
from jobs.run.packs import make_packs
from jobs.run.retries import Queue, Retried
from jobs.run.stored import read_holdings, stale_trials
from jobs.run.task import Pack, Shared, Written, run_pack, versions
from jobs.run.timings import Timings, learn_timings
from jobs.store import (
    Job,
    JobState,
    Store,
    TaskRetry,
    TrialFailure,
    check_job_exists,
    checkpointed,
    create_job,
    end_job,
    is_stored,
    requested_table,
)
from mnist_core.backends import Device
from mnist_core.data import Dataset
from mnist_core.trial import Trial, trial_id

PackEvent = Event[Pack, int, Written] | Waiting
JobEvent = PackEvent | Retried  # Failed is then for good
_HUNG_EPOCHS = 20  # as long as so many epochs are expected to take


@dataclass(frozen=True)
class Plan:
    """What a grid asks for, and what of it the store has already."""

    grid: Grid
    store: Store
    trials: Mapping[str, Trial]  # by trial_id, in the grid's order
    stored: frozenset[str]
    timings: Timings
    stale: Mapping[str, str] = field(default_factory=dict)  # of the others, those stored under another id, and why
    checkpointed: frozenset[str] = frozenset()  # those that may go on where they were interrupted
    unusable: tuple[str, ...] = ()  # names of parts that are damaged or of another version

    def explain(self, identity: str) -> tuple[str, str]:
        """Say of a trial whether it is stored, new or stale, and why."""
        if identity in self.stored:
            return "stored", ""
        resumes = "goes on from its checkpoint" if identity in self.checkpointed else ""
        return ("stale", self.stale[identity]) if identity in self.stale else ("new", resumes)

    @cached_property
    def new(self) -> tuple[str, ...]:
        """The ids of the trials to train, in the order in which to start them.

        Seed by seed, so that any partial result is a balanced comparison; within a seed the longest first.
        """
        rank = {seed: place for place, seed in enumerate(dict.fromkeys(each.seed for each in self.trials.values()))}

        def place(identity: str) -> tuple[int, float]:
            trial = self.trials[identity]
            return rank[trial.seed], -self.timings.expected_seconds(trial)

        return tuple(sorted((each for each in self.trials if each not in self.stored), key=place))

    def expected_seconds(self, workers: int) -> float | None:
        """How long so many workers take for the new trials, or None where nothing tells."""
        trials = [self.trials[identity] for identity in self.new]
        if not all(map(self.timings.is_grounded, trials)):
            return None
        seconds = list(map(self.timings.expected_seconds, trials))
        return max(sum(seconds) / workers, *seconds) if seconds else 0.0


def make_plan(grid: Grid, store: Store) -> Plan:
    """Hold the grid against the store; nothing runs and nothing is written."""
    info = grid.dataset_info
    trials = {trial_id(trial, info.fingerprint): trial for trial in grid.trials()}
    held = read_holdings(store)
    device: Device = "cuda" if grid.resources.device == "cuda" else "cpu"
    stored = frozenset(trials.keys() & held.rows["trial_id"].to_pylist())
    missing = {identity: trial for identity, trial in trials.items() if identity not in stored}
    timings = Timings(info.validation_size, device)
    if missing:
        timings = learn_timings(held.rows, info.fingerprint, info.validation_size, device)
    stale = stale_trials(missing, held.rows, info)
    return Plan(grid, store, trials, stored, timings, stale, checkpointed(store), held.unusable)


def check_precision(plan: Plan, device: Device) -> None:
    """Raise InputError where a trial to train asks for a precision that the device does not have."""
    asked = {plan.trials[identity].precision for identity in plan.new} - {"float32"}
    if asked and device == "cpu":
        raise InputError(
            f"precision {', '.join(sorted(asked))}: the trials would run on the CPU; allowed there: float32 "
            "(tf32 and bfloat16 need a GPU, see resources.device)"
        )


def open_job(plan: Plan, options: Mapping[str, str | int | bool | None] | None = None) -> Job:
    """Enter a new job into the store: what was asked for, and where it comes from."""
    info = plan.grid.dataset_info
    return create_job(
        plan.store,
        plan.grid.name,
        requested_table(plan.trials, info.fingerprint),
        grid=plan.grid.text,
        dataset=info,
        stored_count=len(plan.stored),
        provenance=_provenance(),
        options=options,
    )


def run_job(job: Job, plan: Plan, dataset: Dataset, place: Place, observe: Callable[[JobEvent], None]) -> Job:
    """Train what the plan lacks and return the job as it ended; `observe` sees every event as it happens.

    What failed is tried again as `retries` says. With fail_fast, the first trial that fails for good ends the job.
    """
    shared = Shared(dataset, plan.store.root, place.device, plan.grid.resources.checkpoint_seconds)
    trials = [plan.trials[identity] for identity in plan.new]
    packs = map(Pack, make_packs(trials, plan.timings.expected_seconds, place.workers, place.device))
    queue = Queue(packs, plan.grid.retries)
    failures: list[TrialFailure] = []
    retried: list[TaskRetry] = []
    with closing(place.map(run_pack, queue, shared, partial(_patience, plan))) as events:
        try:
            for event in _settled(_checked(events, plan.store, dataset.fingerprint), queue):
                check_job_exists(plan.store, job)
                if isinstance(event, Failed):
                    failures += _failures(event, dataset.fingerprint)
                elif isinstance(event, Retried):
                    retried.append(_retry(event, dataset.fingerprint))
                observe(event)
                if failures and plan.grid.fail_fast:
                    break
        except BaseException:
            with suppress(StoreError):  # which may be why; readers see that the driver is gone
                end_job(plan.store, job, JobState.interrupted, failures, retried)
            raise
    return end_job(plan.store, job, JobState.failed if failures else JobState.finished, failures, retried)


def _patience(plan: Plan, pack: Pack) -> float:
    """Say for how long, in seconds, a pack may give no sign of life, which it does when it has trained an epoch."""
    epoch_s = sum(plan.timings.expected_seconds(trial) / trial.epochs for trial in pack.trials)
    return max(plan.grid.resources.hung_after_seconds, _HUNG_EPOCHS * epoch_s)


def _checked(events: Iterable[PackEvent], store: Store, fingerprint: str) -> Iterator[PackEvent]:
    """Turn a task whose part is not in the store, as seen from here, into a failed one."""
    for event in events:
        if isinstance(event, Done) and not is_stored(store, event.result.part, _ids(event.item, fingerprint)):
            message = (
                f"host {event.result.host} wrote its part to its own {store.root}; "
                "allowed: a store that all nodes of the cluster share"
            )
            yield Failed(event.item, Failure("raised", message, ""))
        else:
            yield event


def _settled(events: Iterable[PackEvent], queue: Queue) -> Iterator[JobEvent]:
    """Line up what is to be tried again; of failures, let only those for good through."""
    for event in events:
        if isinstance(event, Done | Failed):
            queue.end(event.item)
        if isinstance(event, Failed) and (packs := queue.retry(event.item, event.failure)):
            yield Retried(event.item, event.failure, packs)
        else:
            yield event


def _failures(event: Failed[Pack], fingerprint: str) -> list[TrialFailure]:
    details = {"attempt": event.item.attempt, **asdict(event.failure)}
    return [TrialFailure(trial_id=identity, **details) for identity in _ids(event.item, fingerprint)]


def _retry(event: Retried, fingerprint: str) -> TaskRetry:
    return TaskRetry(
        trial_ids=tuple(_ids(event.item, fingerprint)),
        attempt=event.item.attempt,
        kind=event.failure.kind,
        message=event.failure.message,
    )


def _ids(pack: Pack, fingerprint: str) -> list[str]:
    return [trial_id(trial, fingerprint) for trial in pack.trials]


def _provenance() -> dict[str, str]:
    facts = {
        **versions(),
        **{f"{name}_version": version(name) for name in ("ray", "pyarrow")},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
    }
    commit = _git_commit(Path(str(files("jobs"))).parent)
    return {**facts, "git_commit": commit} if commit else facts


def _git_commit(checkout: Path) -> str:
    """Return the commit that the code was run from, marked where it had changes, or "" outside a checkout."""
    if not (checkout / ".git").exists() or not shutil.which("git"):
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
