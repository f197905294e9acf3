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

from cluster.port import Done, Event, Failed, Failure, Map
from jobs.grid import Grid
from jobs.jobfile import Job, create_job, write_job
from jobs.store import Store, stored_ids
from jobs.task import Pack, Shared, Written, run_pack, versions
from mnist_core.cost import flops
from mnist_core.datasets import Dataset
from mnist_core.trial import Trial, trial_id

PackEvent = Event[Pack, int, Written]


@dataclass(frozen=True)
class Plan:
    """What a grid asks for, and what of it the store has already."""

    grid: Grid
    store: Store
    trials: Mapping[str, Trial]  # by trial_id, in the grid's order
    stored: frozenset[str]

    @cached_property
    def new(self) -> tuple[str, ...]:
        """The ids of the trials to train, in the order in which to start them.

        Seed by seed, so that any partial result is a balanced comparison; within a seed the longest first.
        """
        rank = {seed: place for place, seed in enumerate(dict.fromkeys(each.seed for each in self.trials.values()))}

        def place(identity: str) -> tuple[int, float]:
            trial = self.trials[identity]
            return rank[trial.seed], -self.flops(trial)

        return tuple(sorted((each for each in self.trials if each not in self.stored), key=place))

    def flops(self, trial: Trial) -> float:
        """Return the expected cost of a trial."""
        return flops(trial, self.grid.dataset_info.validation_size)


def make_plan(grid: Grid, store: Store) -> Plan:
    """Hold the grid against the store; nothing runs and nothing is written."""
    fingerprint = grid.dataset_info.fingerprint
    trials = {trial_id(trial, fingerprint): trial for trial in grid.trials()}
    return Plan(grid, store, trials, stored_ids(store) & trials.keys())


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


def run_job(job: Job, plan: Plan, dataset: Dataset, run_map: Map, observe: Callable[[PackEvent], None]) -> Job:
    """Train what the plan lacks and return the job as it ended; `observe` sees every event as it happens."""
    packs = [Pack((plan.trials[identity],)) for identity in plan.new]
    shared = Shared(dataset, plan.store.root)
    failures: list[dict[str, str]] = []
    try:
        for event in _checked(run_map(run_pack, packs, shared), plan.store):
            if isinstance(event, Failed):
                failures.extend(_failures(event, dataset.fingerprint))
            observe(event)
    except BaseException:
        close_job(job, plan.store, "interrupted", failures)
        raise
    return close_job(job, plan.store, "failed" if failures else "finished", failures)


def close_job(job: Job, store: Store, status: str, failures: Iterable[Mapping[str, str]] = ()) -> Job:
    """Write how a job ended."""
    ended = {**job, "status": status, "finished_at": datetime.now(UTC).isoformat(), "failures": list(failures)}
    write_job(store, ended)
    return ended


def _checked(events: Iterable[PackEvent], store: Store) -> Iterator[PackEvent]:
    """Turn a task whose part is not in the store, as seen from here, into a failed one."""
    for event in events:
        if isinstance(event, Done) and not (store.parts / event.result.part).exists():
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
