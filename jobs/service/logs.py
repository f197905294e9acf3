"""The log of a job's driver, and the lines in it about one trial."""

import time
from collections.abc import Iterator

from jobs.errors import InputError
from jobs.report import group_failures
from jobs.service.driver_log import read_log_from
from jobs.store import Job, Store, read_job, read_requested

_POLL_S = 0.5


def read_log(store: Store, job: Job, trial_id: str | None = None, follow: bool = False) -> Iterator[str]:
    """Yield the lines of a job's log.

    Args:
        store: The store.
        job: The job.
        trial_id: Yield only the lines about this trial, and the traceback of its failure.
        follow: Whether to go on until the job has ended, or is lost.

    Raises:
        InputError: The job has no such trial.
        StoreError: The store cannot be read.
    """
    trial_id = _whole_id(store, job, trial_id)
    for line in _lines(store, job, follow):
        if trial_id is None or trial_id in line:
            yield line
    job = read_job(store, job.job_id)
    failures = [each for each in job.failures if each.traceback and trial_id in (None, each.trial_id)]
    for group in group_failures(failures, read_requested(store, job), by_traceback=True) if failures else ():
        yield f"{'; '.join(group.trials)} ({', '.join(group.trial_ids)}): {group.message}"
        yield from group.traceback.rstrip("\n").split("\n")


def _whole_id(store: Store, job: Job, trial_id: str | None) -> str | None:
    """Complete the beginning of a trial's id."""
    if trial_id is None:
        return None
    found = [each for each in read_requested(store, job)["trial_id"].to_pylist() if each.startswith(trial_id)]
    if len(found) != 1:
        which = f"{len(found)} trials whose ids begin so" if found else "no such trial"
        raise InputError(f"trial {trial_id!r}: job {job.job_id} has {which}; allowed: the id of one, or its beginning")
    return str(found[0])


def _lines(store: Store, job: Job, follow: bool) -> Iterator[str]:
    """Yield the lines of the driver's log; where it is followed, until the job's driver is gone."""
    offset, rest = 0, b""
    while True:
        is_over = not follow or not _is_alive(store, job)
        while block := read_log_from(store, job.job_id, offset):
            offset += len(block)
            *lines, rest = (rest + block).split(b"\n")
            yield from (line.decode(errors="replace") for line in lines)
        if is_over:
            break
        time.sleep(_POLL_S)
    if rest:
        yield rest.decode(errors="replace")


def _is_alive(store: Store, job: Job) -> bool:
    return read_job(store, job.job_id).state in ("queued", "running")
