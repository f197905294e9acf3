"""How a job is run: the options of its submission, kept in its record for its driver and for `resume`."""

import os
from dataclasses import asdict, dataclass, fields
from typing import Self

from cluster import is_url
from jobs.store import Job, Options, Store, read_changed_options, write_changed_options

_ALWAYS = ("address", "workers", "in_process")


@dataclass(frozen=True)
class JobOptions:
    """The options of a submission."""

    address: str | None = None  # of a Ray cluster; None: the Ray of this program, or one started here
    workers: int | None = None
    in_process: bool = False
    allow_unauthenticated: bool = False  # whether to accept a cluster that lets anybody run programs on it
    detach: bool = False  # whether the driver is a process of its own
    on_done: str | None = None  # a command to run when the job ends
    within_s: float | None = None  # the budget
    grid_folder: str | None = None  # to which a dataset's path in the grid is relative

    @classmethod
    def of(cls, job: Job) -> Self:
        """Return the options that a job was submitted with."""
        return cls.read(job.options)

    @classmethod
    def read(cls, options: Options) -> Self:
        """Make options of a record, without those of other versions."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in options.items() if name in known})  # type: ignore[arg-type]

    def record(self) -> Options:
        """Return the options for a job's record: those that every job has, and those that were given."""
        return {name: value for name, value in asdict(self).items() if name in _ALWAYS or value}

    @property
    def is_job_server(self) -> bool:
        """Whether the address is that of a cluster's job server, which starts the driver there."""
        return is_url(self.address)

    @property
    def driver_address(self) -> str | None:
        """The address of the cluster for the driver, which a job server has started on that cluster."""
        return (os.environ.get("RAY_ADDRESS") or "auto") if self.is_job_server else self.address

    @property
    def is_local(self) -> bool:
        """Whether the trials run on a Ray that is started for this job alone, or in the driver's process."""
        return self.in_process or (self.address or os.environ.get("RAY_ADDRESS") or "local") == "local"


def read_options(store: Store, job: Job) -> JobOptions:
    """Return how a job is to be trained: as it was submitted, or as it was resumed last."""
    changed = read_changed_options(store, job.job_id)
    return JobOptions.of(job) if changed is None else JobOptions.read(changed)


def write_options(store: Store, job_id: str, options: JobOptions) -> None:
    """Write how a job is to be trained from now on; raises StoreError."""
    write_changed_options(store, job_id, options.record())
