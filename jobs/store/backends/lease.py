"""A lock on an object store: an object that its holder renews, and that others take over when it no longer changes.

Clocks of two machines are never compared: whoever waits counts, by its own clock, how long the object has not changed.
"""

import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from jobs.errors import StoreError
from jobs.store.backends.interface import Refused, Version
from jobs.store.processes import this_process

if TYPE_CHECKING:
    from jobs.store.backends.interface import Backend

RENEWED_S = 5.0  # between two renewals
LOST_S = 30.0  # without one, before another process takes the lock


@contextmanager
def held_lease(backend: "Backend", key: str) -> Iterator[None]:
    """Hold a lease on an object, after waiting for it.

    Raises:
        StoreError: The store fails, or the lease was lost meanwhile, as by a process that was suspended.
    """
    lease = _Lease(backend, key)
    lease.take()
    ended = threading.Event()
    renewing = threading.Thread(target=lease.renew_until, args=(ended,), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        renewing.join()
        lease.release()
    if lease.loss:
        raise StoreError(f"{backend.locate(key)}: {lease.loss}; repeat the command")


class _Lease:
    """The lock object of one holder: `held` in it says whether anybody holds the lock."""

    def __init__(self, backend: "Backend", key: str) -> None:
        self._backend = backend
        self._key = key
        self._name = secrets.token_hex(8)
        self._version = Version("")
        self._count = 0
        self.loss = ""

    def take(self) -> None:
        seen, since_s = None, time.monotonic()
        while True:
            found = self._backend.get(self._key)
            content, version = found or (b"", Version(""))
            if version != seen:
                seen, since_s = version, time.monotonic()
            if not is_held(content) or time.monotonic() - since_s > LOST_S:
                taken = self._put(version if found else None)
                if not isinstance(taken, Refused):
                    self._version = taken
                    return
                continue
            time.sleep(1.0)

    def renew_until(self, ended: threading.Event) -> None:
        while not ended.wait(RENEWED_S):
            try:
                renewed = self._put(self._version)
            except StoreError as error:
                self.loss = str(error)
                return
            if isinstance(renewed, Refused):
                self.loss = "another process has taken the lock, because this one was not heard of for too long"
                return
            self._version = renewed

    def release(self) -> None:
        if not self.loss:
            with suppress(StoreError):  # others take it over when it no longer changes
                self._put(self._version, is_held=False)

    def _put(self, version: Version | None, is_held: bool = True) -> Version | Refused:
        self._count += 1
        content = {"held": is_held, "owner": self._name, "count": self._count, "process": vars(this_process())}
        encoded = json.dumps(content).encode()
        return self._backend.put(self._key, encoded, create_only=version is None, if_match=version)


def is_held(content: bytes) -> bool:
    """Return whether somebody holds the lock, by the content of its object."""
    with suppress(ValueError):
        found = json.loads(content)
        return isinstance(found, dict) and found.get("held") is True
    return False
