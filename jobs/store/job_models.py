"""The values of a job's record: frozen models of job.json and final.json, and the job that they make up."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeFloat, NonNegativeInt

from jobs.store.processes import Process, is_here
from jobs.store.seed_rule import Decision, SeedRule
from mnist_core.data import DatasetInfo


class JobState(StrEnum):
    """The state of a job."""

    queued = "queued"
    running = "running"
    lost = "lost"  # its driver is gone and did not write how the job ended
    finished = "finished"
    failed = "failed"
    cancelled = "cancelled"
    interrupted = "interrupted"
    stopped = "stopped"
    damaged = "damaged"  # its record cannot be read


END_STATES = (JobState.finished, JobState.failed, JobState.cancelled, JobState.interrupted, JobState.stopped)


def encodable(value: object) -> object:
    """Replace lone surrogates, which come from file names in tracebacks, by their escapes."""
    return value.encode(errors="backslashreplace").decode() if isinstance(value, str) else value


def format_seconds(seconds: float) -> str:
    """Format a time that has passed for a person: 12 s, 3 min, 5 h, 2 days."""
    for unit, size in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size:.0f} {unit}"
    return f"{max(seconds, 0.0):.0f} s"


Text = Annotated[str, BeforeValidator(encodable)]
Options = Mapping[Text, Text | int | float | bool | None]  # of a submission


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TrialFailure(_Model):
    """A trial that failed for good."""

    trial_id: Text
    kind: Text  # as in `cluster.failures`: crashed, hung, storage, out_of_memory, node_lost or raised
    message: Text
    traceback: Text = ""
    attempt: NonNegativeInt


class TaskRetry(_Model):
    """A task that failed and whose trials were tried again."""

    trial_ids: tuple[Text, ...]
    kind: Text
    message: Text
    attempt: NonNegativeInt


class Stop(_Model):
    """Why a job was stopped before all of its trials had ended, and which trials its tables contain."""

    reason: Literal["budget", "decided"]
    seeds: tuple[int, ...]  # the tables contain the trials of these seeds and no others, whatever else is stored
    seed_count: NonNegativeInt  # seeds that the grid asks for
    left_count: NonNegativeInt  # trials that have not ended
    seconds_to_next_seed: NonNegativeFloat  # that their training takes until one more seed is whole, as far as is known
    seconds_left: NonNegativeFloat  # until all are


class SealedModel(_Model):
    """A model whose file contains the sha256 of everything else in it."""

    # Fields that earlier versions did not write: without a value they do not change the hash.
    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset()

    job_id: Text
    sha256: str = ""

    def seal(self) -> Self:
        """Return the model with the hash of its content."""
        return self.model_copy(update={"sha256": self.digest()})

    def digest(self) -> str:
        """Hash the content, however the file spells it."""
        unset = {name for name in self.LATER_FIELDS if getattr(self, name) == type(self).model_fields[name].default}
        content = self.model_dump(mode="json", exclude={"sha256", *unset})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """Encode the model as indented JSON."""
        return self.model_dump_json(indent=1).encode()


class JobRecord(SealedModel):
    """The submission of a job, and its origin: the content of job.json."""

    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"baseline", "margin", "until"})

    format: Literal[2] = 2  # of job.json; raised with every change that readers must know of
    name: Text
    submitted_at: AwareDatetime
    grid: Text  # the YAML as the user wrote it
    options: Options = {}
    dataset: DatasetInfo
    provenance: Mapping[Text, Text]
    driver: Process | None  # that was started with the job; None where that is left to others, as on a cluster
    trial_count: NonNegativeInt  # trials that the grid asks for
    stored_count: NonNegativeInt  # of these, the ones the store already had
    requested_sha256: str  # of requested.parquet
    baseline: Mapping[Text, Text | bool | int | float] = {}  # levels with which the other levels are compared
    margin: float | None = None  # the difference in accuracy, a fraction, that does not matter
    until: SeedRule | None = None  # by which the seeds end; None: their number was given


class JobEnd(SealedModel):
    """How a job ended: the content of final.json."""

    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"reason", "stop", "decision"})

    state: JobState
    finished_at: AwareDatetime
    failures: tuple[TrialFailure, ...] = ()
    retries: tuple[TaskRetry, ...] = ()
    reason: Text = ""  # why the job ended before all was trained, where an error ended it
    stop: Stop | None = Field(default=None, exclude_if=lambda stop: stop is None)  # of a job that was stopped
    decision: Decision | None = Field(default=None, exclude_if=lambda decision: decision is None)  # of one with `until`


@dataclass(frozen=True)
class Job:
    """One submission of a grid: its record, how it ended (None while it has not), and its state when it was read."""

    record: JobRecord
    end: JobEnd | None
    state: JobState
    driver: Process | None = None  # of a job that runs, or ran until it was lost
    last_sign_s: float | None = None  # how long ago it gave a sign of life, where that was looked for

    @property
    def state_text(self) -> str:
        """The state for a person: of a running job with its host, of a lost one with its last sign of life."""
        if self.state is JobState.running and self.driver and not is_here(self.driver):
            return f"running on {self.driver.host}"
        if self.state is JobState.lost and self.last_sign_s is not None:
            return f"lost, last sign of life {format_seconds(self.last_sign_s)} ago"
        return self.state

    @property
    def is_detached(self) -> bool:
        """Whether its driver is a process apart from the one that submitted it."""
        return bool(self.record.options.get("detach"))

    @property
    def options(self) -> Options:
        return self.record.options

    @property
    def job_id(self) -> str:
        return self.record.job_id

    @property
    def name(self) -> str:
        return self.record.name

    @property
    def submitted_at(self) -> datetime:
        return self.record.submitted_at

    @property
    def finished_at(self) -> datetime | None:
        return self.end.finished_at if self.end else None

    @property
    def grid(self) -> str:
        return self.record.grid

    @property
    def dataset(self) -> DatasetInfo:
        return self.record.dataset

    @property
    def trial_count(self) -> int:
        return self.record.trial_count

    @property
    def needed_count(self) -> int:
        """Of its trials those that the answer needs, as far as it is known; all where the grid gives the seeds."""
        rule, decision = self.record.until, self.decision
        if rule is None or decision is None:
            return self.trial_count
        return sum(rule.at_most if each in decision.open else count for each, count in decision.seeds.items())

    @property
    def may_end_earlier(self) -> bool:
        """Whether an answer may still make some of the needed trials needless."""
        if self.record.until is None:
            return False
        has_all = self.state in (JobState.finished, JobState.failed)
        return self.decision is None or (bool(self.decision.open) and not has_all)

    @property
    def stored_count(self) -> int:
        return self.record.stored_count

    @property
    def failures(self) -> tuple[TrialFailure, ...]:
        return self.end.failures if self.end else ()

    @property
    def reason(self) -> str:
        return self.end.reason if self.end else ""

    @property
    def retries(self) -> tuple[TaskRetry, ...]:
        return self.end.retries if self.end else ()

    @property
    def stop(self) -> Stop | None:
        return self.end.stop if self.end else None

    @property
    def decision(self) -> Decision | None:
        return self.end.decision if self.end else None


@dataclass(frozen=True)
class DamagedJob:
    """A job whose record cannot be read, and why."""

    job_id: str
    reason: str
    state: Literal[JobState.damaged] = JobState.damaged
