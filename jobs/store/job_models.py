"""The values of a job's record: frozen models of job.json and final.json, and the job that they make up."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, NonNegativeInt

from jobs.store.processes import Process
from mnist_core.data import DatasetInfo


class JobState(StrEnum):
    """What is known about a job."""

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


Text = Annotated[str, BeforeValidator(encodable)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class TrialFailure(_Model):
    """A trial that failed for good."""

    trial_id: Text
    kind: Text  # crashed, hung, storage, out_of_memory or raised
    message: Text
    traceback: Text = ""
    attempt: NonNegativeInt


class TaskRetry(_Model):
    """A task that failed and whose trials were tried again."""

    trial_ids: tuple[Text, ...]
    kind: Text
    message: Text
    attempt: NonNegativeInt


class SealedModel(_Model):
    """A model whose file contains the sha256 of everything else in it."""

    job_id: Text
    sha256: str = ""

    def seal(self) -> Self:
        """Return the model with the hash of its content."""
        return self.model_copy(update={"sha256": self.digest()})

    def digest(self) -> str:
        """Hash the content, however the file spells it."""
        content = self.model_dump(mode="json", exclude={"sha256"})
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def to_bytes(self) -> bytes:
        """Encode the model as indented JSON."""
        return self.model_dump_json(indent=1).encode()


class JobRecord(SealedModel):
    """What was submitted, from where: the content of job.json."""

    format: Literal[2] = 2  # of job.json; raised with every change that readers must know of
    name: Text
    submitted_at: AwareDatetime
    grid: Text  # the YAML as the user wrote it
    options: Mapping[Text, Text | int | bool | None] = {}  # of the submission
    dataset: DatasetInfo
    provenance: Mapping[Text, Text]
    driver: Process
    trial_count: NonNegativeInt  # trials that the grid asks for
    stored_count: NonNegativeInt  # of these, the ones the store already had
    requested_sha256: str  # of requested.parquet
    baseline: Mapping[Text, Text | bool | int | float] = {}  # levels with which the other levels are compared
    margin: float | None = None  # the difference in accuracy, a fraction, that does not matter


class JobEnd(SealedModel):
    """How a job ended: the content of final.json."""

    state: JobState
    finished_at: AwareDatetime
    failures: tuple[TrialFailure, ...] = ()
    retries: tuple[TaskRetry, ...] = ()


@dataclass(frozen=True)
class Job:
    """One submission of a grid: its record, how it ended (None while it has not), and its state when it was read."""

    record: JobRecord
    end: JobEnd | None
    state: JobState
    last_sign_at: datetime | None = None  # of a job that seems to run on another host; None where it was not looked for

    @property
    def state_text(self) -> str:
        """The state for a person: nothing here knows whether a job of another host still runs."""
        if self.state is not JobState.running or self.record.driver.is_from_here():
            return self.state
        sign = f", last sign of life {self.last_sign_at:%Y-%m-%d %H:%M:%S} UTC" if self.last_sign_at else ""
        return f"running on {self.record.driver.host}{sign}"

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
    def stored_count(self) -> int:
        return self.record.stored_count

    @property
    def failures(self) -> tuple[TrialFailure, ...]:
        return self.end.failures if self.end else ()

    @property
    def retries(self) -> tuple[TaskRetry, ...]:
        return self.end.retries if self.end else ()


@dataclass(frozen=True)
class DamagedJob:
    """A job whose record cannot be read, and why."""

    job_id: str
    reason: str
    state: Literal[JobState.damaged] = JobState.damaged
