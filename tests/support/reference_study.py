"""A study trained in one process beside a cluster, to whose tables those of the cluster are equal."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import mnistjobs
from jobs.store import Job
from support.wall_clock import without_wall_clock

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class ReferenceStudy:
    """A study under way."""

    process: "subprocess.Popen[str]"
    store: Path

    def finish(self) -> str:
        """Wait for the end of the study; return its job's id."""
        _, errors = self.process.communicate(timeout=TIMEOUT_S) if self.process.poll() is None else ("", "")
        assert self.process.returncode == 0, errors
        (reference,) = mnistjobs.list_jobs(self.store)
        assert isinstance(reference, Job)
        return reference.job_id

    def check_equal(self, store: Path, job_id: str) -> None:
        """Assert that a job has the tables of this study, as soon as that has ended."""
        assert tables(store, job_id) == tables(self.store, self.finish())


@contextmanager
def reference_study(grid: Path, store: Path) -> Iterator[ReferenceStudy]:
    """Start to train a grid in a process of its own, without haste, and kill that at the end."""
    command = ["nice", sys.executable, "-m", "mnistjobs", "submit", str(grid), "--in-process", "--store", str(store)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        yield ReferenceStudy(process, store)
    finally:
        process.kill()
        process.communicate()


def tables(store: Path | str, job_id: str) -> list[pa.Table]:
    """Read a job's tables, without the columns of the wall clock."""
    readers = (mnistjobs.read_trials, mnistjobs.read_metrics, mnistjobs.read_confusion, mnistjobs.read_summary)
    read = [reader(store, job_id) for reader in readers]
    return [without_wall_clock(table) for table in read]
