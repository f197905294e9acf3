"""Requests to an object store: sent again while nothing answers, within bounds, and what their failure means."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from jobs.errors import StoreError
from jobs.store.backends.credentials import connect
from jobs.store.backends.messages import describe_failure, is_missing_bucket, is_passing
from jobs.store.backends.url import StoreUrl

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

PATIENCE_S = 180.0  # without an answer, before an operation fails: an outage of a minute is survived
FIRST_PATIENCE_S = 10.0  # of the first request of a command
_REQUEST_S = 20  # without an answer, before a request is sent again
_BYTES_PER_S = 500_000  # at least, of an upload
_WAITS_S = (0.2, 0.5, 1.0, 2.0)  # before another attempt; the last one for ever
_FIRST = "attempt 1"  # the note of an error that came at once

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Requests:
    """Send requests to one bucket."""

    url: StoreUrl
    patience_s: float = PATIENCE_S
    _clients: dict[int, "ObjectStore"] = field(default_factory=dict, init=False, repr=False, compare=False)
    _lost: threading.Event = field(default_factory=threading.Event, init=False, repr=False, compare=False)

    def client(self, size: int | None = None) -> "ObjectStore":
        """Return the client whose patience with one request suits what is sent."""
        seconds = _REQUEST_S if size is None else _REQUEST_S + (1 << (size // _BYTES_PER_S).bit_length())
        timeout = 0 if size is None else seconds
        if timeout not in self._clients:
            limits: ClientConfig = {"connect_timeout": "5s", "read_timeout": f"{_REQUEST_S}s", "timeout": "1h"}
            if size is not None:
                limits = {"connect_timeout": "5s", "timeout": f"{seconds}s"}
            self._clients[timeout] = connect(self.url, limits, {"max_retries": 0, "retry_timeout": timedelta(0)})
        return self._clients[timeout]

    def ask_for(self, request: Callable[[], Answer], key: str, verb: str = "read") -> Answer | None:
        """Send a request for one object; None where there is none."""
        try:
            return self.ask(request, key, verb)
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise self.failure(error, key, verb) from None
            return None

    def ask(
        self,
        request: Callable[[], Answer],
        key: str,
        verb: str,
        consequence: str = "",
        patience_s: float | None = None,
    ) -> Answer:
        """Send a request, again and again while nothing answers; raises StoreError, and what callers decide on."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        limit_s = self.patience_s if patience_s is None else patience_s
        if self._lost.is_set():  # its patience is used up: what is left of a command ends soon
            limit_s = min(limit_s, FIRST_PATIENCE_S)
        started_s, attempts = time.monotonic(), 0
        while True:
            try:
                answer = request()
                self._lost.clear()
                return answer
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                self._lost.clear()
                error.add_note(f"attempt {attempts + 1}")
                raise
            except (BaseError, OSError) as error:
                waited_s = time.monotonic() - started_s
                is_over = waited_s >= limit_s
                if is_passing(error) and is_over:
                    self._lost.set()
                if is_over or not is_passing(error):
                    raise self.failure(error, key, verb, consequence, waited_s) from None
            time.sleep(_WAITS_S[min(attempts, len(_WAITS_S) - 1)])
            attempts += 1

    def failure(
        self, error: Exception, key: str, verb: str, consequence: str = "", waited_s: float = 0.0
    ) -> StoreError:
        reason = describe_failure(error, self.url, verb, waited_s)
        return StoreError(f"{self._locate(key)}: cannot be {verb}: {reason}{consequence}")

    def _locate(self, key: str) -> str:
        return f"{self.url}/{key}".rstrip("/")


def was_repeated(error: BaseException) -> bool:
    """Return whether an error answers a request that had been sent before, without an answer."""
    notes: list[str] = getattr(error, "__notes__", [])
    return notes[-1:] != [_FIRST]
