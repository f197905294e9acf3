"""The log of a driver that no terminal listens to: in the store, so that everyone who reaches that can read it."""

import os
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from jobs.errors import StoreError
from jobs.store import Store, job_key

LOG_NAME = "log/driver.log"  # in the job's folder
_BLOCK = 1 << 20  # bytes
_REST = 10  # times as long as an upload takes, before the next one


def log_path(store: Store, job_id: str) -> Path | None:
    """Return the path of a job's log, whose folder is made; None where the store is no folder."""
    if store.is_remote:
        return None
    path = store.root / job_key(job_id, LOG_NAME)
    path.parent.mkdir(exist_ok=True)
    return path


class DriverLog:
    """Append everything that this process prints from now on to the log of a job.

    Args:
        store: The store.
        job_id: The job.
    """

    def __init__(self, store: Store, job_id: str) -> None:
        self._store = store
        self._key = job_key(job_id, LOG_NAME)
        self._before = b""
        self._published = 0  # bytes
        self._due_s = 0.0  # of the next upload
        path = log_path(store, job_id)
        if path:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        else:
            found = store.backend.get(self._key)
            self._before = found[0] if found else b""
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open for as long as the process prints
            self._descriptor = self._file.fileno()
        self._redirect()

    def _redirect(self) -> None:
        if os.path.sameopenfile(1, self._descriptor):
            return  # whoever started this process has seen to it
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.dup2(self._descriptor, 1)
        os.dup2(self._descriptor, 2)

    def publish(self) -> None:
        """Put the printed lines into a store that is no folder, unless uploads, which delay the lease, take long."""
        if time.monotonic() >= self._due_s:
            self.publish_now()

    def publish_now(self) -> None:
        """Put the printed lines into a store that is no folder; where that fails, they follow later."""
        size = os.fstat(self._descriptor).st_size
        if not self._store.is_remote or size == self._published:
            return
        started_s = time.monotonic()
        with suppress(StoreError):
            self._store.backend.put(self._key, self._before + os.pread(self._descriptor, size, 0))
            self._published = size
        ended_s = time.monotonic()
        self._due_s = ended_s + _REST * (ended_s - started_s)


def read_log_from(store: Store, job_id: str, offset: int) -> bytes:
    """Read the next bytes of a job's log, none where there are no more.

    Raises:
        StoreError: The store cannot be read.
    """
    if store.is_remote:
        found = store.backend.get(job_key(job_id, LOG_NAME))
        return found[0][offset:] if found else b""
    try:
        with (store.root / job_key(job_id, LOG_NAME)).open("rb") as file:
            file.seek(offset)
            return file.read(_BLOCK)
    except FileNotFoundError:
        return b""  # it was not detached, or has not started
    except OSError as error:
        where = store.locate(job_key(job_id, LOG_NAME))
        raise StoreError(f"{where}: cannot be read: {error.strerror}; allowed: a file that you may read") from error
