"""Submit a grid: find what the store lacks, run it, and keep the job's record."""

import os
import platform
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from pathlib import Path

from cluster.port import Done, Event, Failed, Failure, Place
from jobs.errors import InputError
from jobs.grid import Grid
from jobs.jobfile import Job, create_job, write_job
from jobs.packs import make_packs
from jobs.store import Store, is_stored
from jobs.task import Pack, Shared, Written, run_pack, versions
from jobs.timings import Timings, learn_timings, read_timings
from mnist_core.datasets import Dataset
from mnist_core.pack import Device
from mnist_core.trial import Trial, trial_id

PackEvent = Event[Pack, int, Written]


@dataclass(frozen=True)
class Plan:
    """What a grid asks for, and what of it the store has already."""

    grid: Grid
    store: Store
    trials: Mapping[str, Trial]  # by trial_id, in the grid's order
    stored: frozenset[str]
    timings: Timings

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
    stored = read_timings(store)
    device: Device = "cuda" if grid.resources.device == "cuda" else "cpu"
    timings = learn_timings(stored, info.fingerprint, info.validation_size, device)
    return Plan(grid, store, trials, frozenset(trials.keys() & stored["trial_id"].to_pylist()), timings)


def check_precision(plan: Plan, device: Device) -> None:
    """Raise InputError where a trial to train asks for a precision that the device does not have."""
    asked = {plan.trials[identity].precision for identity in plan.new} - {"float32"}
    if asked and device == "cpu":
        raise InputError(
            f"precision {', '.join(sorted(asked))}: the trials would run on the CPU; allowed there: float32 "
            "(tf32 and bfloat16 need a GPU, see resources.device)"
        )


def open_job(plan: Plan) -> Job:
    """Enter a new job into the store, with the grid as submitted and where it comes from."""
    content = {
        "status": "running",
        "grid": plan.grid.text,
        "trial_ids": list(plan.trials),
        "found": len(plan.stored),
        "failures": [],
        "dataset": asdict(plan.grid.dataset_info),
        "provenance": _provenance(),
    }
    return create_job(plan.store, plan.grid.name, content)


def run_job(job: Job, plan: Plan, dataset: Dataset, place: Place, observe: Callable[[PackEvent], None]) -> Job:
    """Train what the plan lacks and return the job as it ended; `observe` sees every event as it happens.

    Where a pack of several trials fails, each of them is tried once more by itself.
    """
    shared = Shared(dataset, plan.store.root, place.device)
    trials = [plan.trials[identity] for identity in plan.new]
    packs = list(map(Pack, make_packs(trials, plan.timings.expected_seconds, place.workers, place.device)))
    failures: list[dict[str, str]] = []
    try:
        while packs:
            again: list[Pack] = []
            for event in _checked(place.map(run_pack, packs, shared), plan.store, dataset.fingerprint):
                if isinstance(event, Failed):
                    again += event.item.alone()
                    failures += [] if event.item.alone() else _failures(event, dataset.fingerprint)
                observe(event)
            packs = again
    except BaseException:
        close_job(job, plan.store, "interrupted", failures)
        raise
    return close_job(job, plan.store, "failed" if failures else "finished", failures)


def close_job(job: Job, store: Store, status: str, failures: Iterable[Mapping[str, str]] = ()) -> Job:
    """Write how a job ended."""
    ended = {**job, "status": status, "finished_at": datetime.now(UTC).isoformat(), "failures": list(failures)}
    write_job(store, ended)
    return ended


def _checked(events: Iterable[PackEvent], store: Store, fingerprint: str) -> Iterator[PackEvent]:
    """Turn a task whose part is not in the store, as seen from here, into a failed one."""
    for event in events:
        trial_ids = [trial_id(trial, fingerprint) for trial in event.item.trials]
        if isinstance(event, Done) and not is_stored(store, event.result.part, trial_ids):
            message = (
                f"host {event.result.host} wrote its part to its own {store.root}; "
                "allowed: a store that all nodes of the cluster share"
            )
            yield Failed(event.item, Failure("raised", message, ""))
        else:
            yield event


def _failures(event: Failed[Pack], fingerprint: str) -> list[dict[str, str]]:
    return [{"trial_id": trial_id(trial, fingerprint), **asdict(event.failure)} for trial in event.item.trials]


def _provenance() -> dict[str, str]:
    facts = {
        **versions(),
        **{f"{name}_version": version(name) for name in ("ray", "pyarrow")},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
    }
    commit = _git_commit(Path(__file__).parent.parent)
    return {**facts, "git_commit": commit} if commit else facts


def _git_commit(checkout: Path) -> str:
    """Return the commit that the code was run from, marked where it had changes, or "" outside a checkout."""
    if not (checkout / ".git").exists() or not shutil.which("git"):
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
