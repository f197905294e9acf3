"""The progress that a job's driver writes (progress.json), and the requests to it: to end, or to go on otherwise."""

from datetime import UTC, datetime
from typing import ClassVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, NonNegativeInt

from jobs.errors import LostRecordError, StoreError
from jobs.store.backends import Refused
from jobs.store.job_models import Options, SealedModel, Text, TrialFailure
from jobs.store.layout import Store, job_key
from jobs.store.processes import Process, this_process
from jobs.store.sealed_files import read_sealed

_PROGRESS_FILE, _CANCEL_FILE, _OPTIONS_FILE = "progress.json", "cancel", "options.json"


class RunningTrial(BaseModel):
    """A trial that is being trained."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    trial_id: Text
    epoch: NonNegativeInt  # the last that has ended
    epochs: NonNegativeInt
    node: Text = ""  # "" while it waits for one


class JobProgress(SealedModel):
    """The progress of a job: the content of progress.json."""

    LATER_FIELDS: ClassVar[frozenset[str]] = frozenset({"unneeded", "failed", "under_way"})

    finished: NonNegativeInt = 0  # trials that were stored since the job was submitted, diverged ones included
    diverged: NonNegativeInt = 0
    unneeded: NonNegativeInt = 0  # trials that the answer does not need
    under_way: NonNegativeInt = 0  # trials that are being trained
    failed: NonNegativeInt = 0  # trials that have failed for good so far
    running: tuple[RunningTrial, ...] = ()  # the first of them, as are the failures
    failures: tuple[TrialFailure, ...] = ()
    seconds_left: float | None = None
    waits_for: Text = ""  # the job behind which this one is queued on its machine
    note: Text = ""  # what keeps it waiting, or was found last


class ChangedOptions(SealedModel):
    """The options of a job since it was last resumed: the content of options.json."""

    options: Options


class CancelRequest(SealedModel):
    """A request to end a job: the content of the file `cancel`."""

    asked_at: AwareDatetime
    asked_by: Process


def write_progress(store: Store, progress: JobProgress) -> None:
    """Write the progress of a job; raises StoreError where the job's folder is gone or cannot be written."""
    folder = job_key(progress.job_id)
    if not store.backend.has_folder(folder):  # to write would make it again
        raise LostRecordError(f"{store.locate(folder)}: is gone, although its job is running")
    store.backend.put(job_key(progress.job_id, _PROGRESS_FILE), progress.seal().to_bytes())


def read_progress(store: Store, job_id: str) -> JobProgress | None:
    """Read the progress of a job; return None where it is not known."""
    try:
        return read_sealed(JobProgress, store, job_key(job_id, _PROGRESS_FILE))
    except StoreError:
        return None  # only progress is lost, and the driver writes it again


def ask_to_cancel(store: Store, job_id: str) -> bool:
    """Ask the driver of a job to end it; return whether nobody had asked before.

    Raises:
        StoreError: The store cannot be written.
    """
    request = CancelRequest(job_id=job_id, asked_at=datetime.now(UTC), asked_by=this_process())
    key, content = job_key(job_id, _CANCEL_FILE), request.seal().to_bytes()
    return store.backend.put(key, content, create_only=True) is not Refused.exists


def is_cancel_asked(store: Store, job_id: str) -> bool:
    """Return whether somebody has asked to end a job; raises StoreError where the store cannot be read."""
    return store.backend.is_taken(job_key(job_id, _CANCEL_FILE))


def write_changed_options(store: Store, job_id: str, options: Options) -> None:
    """Write the options of a job from now on; raises StoreError where that cannot be written."""
    content = ChangedOptions(job_id=job_id, options=options).seal().to_bytes()
    store.backend.put(job_key(job_id, _OPTIONS_FILE), content)


def read_changed_options(store: Store, job_id: str) -> Options | None:
    """Read the options of a job since it was last resumed; None where those of its submission hold."""
    key = job_key(job_id, _OPTIONS_FILE)
    return read_sealed(ChangedOptions, store, key).options if store.backend.is_taken(key) else None
