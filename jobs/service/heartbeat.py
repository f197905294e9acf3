"""The heartbeat of a driver: a thread that renews its lease, writes its progress and looks for a request to cancel."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from jobs.errors import LeaseLostError, StoreError
from jobs.run import CancelAsked
from jobs.store import RENEW_S, JobProgress, Lease, Phase, Store, is_cancel_asked, renew_lease, write_progress

_PROGRESS_S = 2.0  # between two writes of the progress
_TICK_S = 0.5


class Heartbeat:
    """Keep a job's lease for as long as the context lasts, and find out whether the job was asked to end.

    A store that cannot be written for a while ends nothing: the thread tries again until it can. Only a lease that
    somebody else has taken over is lost.

    Args:
        store: The store.
        lease: The lease, as `take_lease` returned it or `create_lease` wrote it.
        progress: Returns what the job is doing; called in the thread.
    """

    def __init__(self, store: Store, lease: Lease, progress: Callable[[], JobProgress | None] = lambda: None) -> None:
        self._store = store
        self._lease = lease  # only the thread changes it
        self._phase = lease.phase
        self.progress = progress
        self.publish: Callable[[], None] = lambda: None  # called with each renewal
        self._is_over = threading.Event()
        self._is_due = threading.Event()
        self._lost: LeaseLostError | None = None
        self._unanswered: StoreError | None = None
        self._mistake: Exception | None = None  # of ours, which has ended the thread
        self._is_cancelled = False
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._listen()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind:  # without a final.json, readers learn from the lease that this driver has gone
            self._phase = "released"
        self._is_over.set()
        self._is_due.set()
        self._thread.join(RENEW_S)  # a store that does not answer holds up no end

    def asked(self) -> CancelAsked | None:
        """Return the request to end the job, if there is one.

        Raises:
            LeaseLostError: Another driver has taken the job over: this one must start nothing and write no end.
            StoreError: The bucket of the store has not answered for minutes.
            Exception: The thread has ended with it, so that nobody renews the lease.
        """
        if self._lost:
            raise self._lost
        if self._unanswered:
            raise self._unanswered
        if self._mistake:
            raise self._mistake
        return CancelAsked() if self._is_cancelled else None

    def enter(self, phase: Phase) -> None:
        """Go on to another phase, which the lease shows from its next renewal on, within a moment."""
        self._phase = phase
        self._is_due.set()

    def _run(self) -> None:
        try:
            self._keep()
        except Exception as error:
            self._mistake = error

    def _keep(self) -> None:
        self._lease = self._lease.model_copy(update={"thread": threading.get_native_id()})
        renewed_s = told_s = -float("inf")
        told: JobProgress | None = None
        while not self._is_over.is_set() and not self._lost:
            now_s = time.monotonic()
            if self._is_due.is_set() or now_s - renewed_s >= RENEW_S:
                self._is_due.clear()
                renewed_s = now_s
                self._renew()
                self._listen()
                self.publish()
            if now_s - told_s >= _PROGRESS_S:
                told_s, told = now_s, self._tell(told)
            self._is_due.wait(_TICK_S)
        if self._phase == "released":
            self._renew()

    def _renew(self) -> None:
        self._lease = self._lease.model_copy(update={"counter": self._lease.counter + 1, "phase": self._phase})
        try:
            renew_lease(self._store, self._lease)
        except LeaseLostError as error:
            self._lost = error
        except StoreError as error:
            # It may come back; meanwhile readers who see no renewal take this driver for gone. Of a bucket
            # an error comes only after minutes without an answer, of a folder at once.
            self._unanswered = error if self._store.is_remote else None
        else:
            self._unanswered = None

    def _listen(self) -> None:
        try:
            self._is_cancelled = self._is_cancelled or is_cancel_asked(self._store, self._lease.job_id)
        except StoreError:
            return  # as above

    def _tell(self, told: JobProgress | None) -> JobProgress | None:
        progress = self.progress()
        if progress is None or progress == told:
            return told
        try:
            write_progress(self._store, progress)
        except StoreError:
            return told  # as above
        return progress
