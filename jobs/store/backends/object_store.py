"""A store in a bucket of an object store: one request per operation, tried again while the bucket does not answer."""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from jobs.errors import StoreError
from jobs.store.backends.credentials import connect
from jobs.store.backends.interface import Entry, Refused, Version
from jobs.store.backends.messages import describe_failure, is_missing_bucket, is_passing
from jobs.store.backends.url import StoreUrl

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore

PATIENCE_S = 180.0  # without an answer, before an operation fails: an outage of a minute is survived
_MAX_OBJECT_BYTES = 5 << 30  # of one PUT
_MAX_READ_BYTES = 1 << 34
_REQUEST_S = 20  # without an answer, before a request is sent again
_PAGE = 1000  # keys per listing
_MAX_DELETED = 1000  # keys per request
_BYTES_PER_S = 500_000  # at least, of an upload
_WAITS_S = (0.2, 0.5, 1.0, 2.0)  # before another attempt; the last one for ever
_FIRST = "attempt 1"  # the note of an error that came at once

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class ObjectBackend:
    """Implement `jobs.store.backends.interface.Backend` with the objects of a bucket."""

    url: StoreUrl
    patience_s: float = PATIENCE_S
    _clients: dict[int, "ObjectStore"] = field(default_factory=dict, init=False, repr=False, compare=False)
    _conditions: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    def put(
        self, key: str, content: bytes, *, create_only: bool = False, if_match: Version | None = None
    ) -> Version | Refused:
        """Write an object with one PUT.

        A conditional PUT that was sent again, because no answer came, may be refused because of the first one: what
        lies there tells.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError, PreconditionError

        if len(content) > _MAX_OBJECT_BYTES:
            limit = f"allowed in one object: {_MAX_OBJECT_BYTES:,}"
            raise StoreError(f"{self.locate(key)}: cannot be written: it has {len(content):,} bytes; {limit}")
        mode: Any = "create" if create_only else _update(if_match) if if_match is not None else "overwrite"
        if if_match == "":
            return Refused.changed  # nothing has this version: there was no object
        request = partial(obstore.put, self._client(len(content)), key, content, mode=mode, use_multipart=False)
        try:
            return _version_of(self._ask(request, key, "written", "; what was stored before is kept"))
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            if is_missing_bucket(error):
                raise self._failure(error, key, "written") from error
            found = self.get(key) if _was_repeated(error) else None
            if found and found[0] == content:
                return found[1]
            return Refused.exists if create_only else Refused.changed

    def get(self, key: str) -> tuple[bytes, Version] | None:
        """Read an object with one GET."""
        import obstore

        client = self._client()

        def read() -> tuple[bytes, Version] | None:
            result = obstore.get(client, key)
            if result.meta["size"] > _MAX_READ_BYTES:
                return None
            return result.bytes().to_bytes(), _version_of(result.meta)

        return self._ask_for(read, key)

    def head(self, key: str) -> Entry | None:
        """Describe an object with one HEAD."""
        import obstore

        found = self._ask_for(partial(obstore.head, self._client(), key), key)
        return found and _entry(found)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """List objects, a thousand per request; an outage in the middle goes on behind the last one."""
        import obstore

        stream = partial(obstore.list, self._client(), prefix or None, chunk_size=_PAGE)
        last = after
        while True:
            page = self._ask(partial(_first_page, stream, last), prefix, "listed")
            yield from map(_entry, page)
            if len(page) < _PAGE:
                return
            last = page[-1]["path"]

    def names(self, prefix: str) -> Sequence[str]:
        """List the names below a prefix up to their next slash."""
        import obstore

        request = partial(obstore.list_with_delimiter, self._client(), prefix or None)
        found = self._ask(request, prefix, "listed")
        keys = [*found["common_prefixes"], *(entry["path"] for entry in found["objects"])]
        return sorted(key.removeprefix(prefix).rstrip("/") for key in keys)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, many per request where the service can."""
        import obstore

        left = list(keys)
        batch = _MAX_DELETED if self.url.scheme == "s3" else 1  # the others refuse a batch with a missing key
        for start in range(0, len(left), batch):
            some = left[start : start + batch]
            self._ask_for(partial(obstore.delete, self._client(), some), some[0], "deleted")

    def now_s(self, beside: str) -> float:
        """Return the modification time of an object made for the purpose."""
        probe = f"probes/{secrets.token_hex(16)}"
        self.put(probe, b"")
        try:
            found = self.head(probe)
        finally:
            self.delete([probe])
        if found is None:
            raise StoreError(f"{self.locate(probe)}: is gone right after it was written")
        return found.changed_s

    def locate(self, key: str = "") -> str:
        """Return the URL."""
        return f"{self.url}/{key}" if key else str(self.url)

    def honours_conditions(self) -> bool:
        """Create an object twice: the second time has to be refused. Asked once per process."""
        if not self._conditions:
            probe = f"probes/{secrets.token_hex(16)}"
            self.put(probe, b"1", create_only=True)
            try:
                self._conditions.append(self.put(probe, b"2", create_only=True) is Refused.exists)
            finally:
                self.delete([probe])
        return self._conditions[0]

    def _client(self, size: int | None = None) -> "ObjectStore":
        """Return the client whose patience with one request suits what is sent."""
        seconds = _REQUEST_S if size is None else _REQUEST_S + (1 << (size // _BYTES_PER_S).bit_length())
        timeout = 0 if size is None else seconds
        if timeout not in self._clients:
            limits: ClientConfig = {"connect_timeout": "5s", "read_timeout": f"{_REQUEST_S}s", "timeout": "1h"}
            if size is not None:
                limits = {"connect_timeout": "5s", "timeout": f"{seconds}s"}
            self._clients[timeout] = connect(self.url, limits, {"max_retries": 0, "retry_timeout": timedelta(0)})
        return self._clients[timeout]

    def _ask_for(self, request: Callable[[], Answer], key: str, verb: str = "read") -> Answer | None:
        """Send a request for one object; None where there is none."""
        try:
            return self._ask(request, key, verb)
        except FileNotFoundError as error:
            if is_missing_bucket(error):
                raise self._failure(error, key, verb) from error
            return None

    def _ask(self, request: Callable[[], Answer], key: str, verb: str, consequence: str = "") -> Answer:
        """Send a request, again and again while nothing answers; raises StoreError, and what callers decide on."""
        from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

        started_s, attempts = time.monotonic(), 0
        while True:
            try:
                return request()
            except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
                error.add_note(f"attempt {attempts + 1}")
                raise
            except (BaseError, OSError) as error:
                waited_s = time.monotonic() - started_s
                if not is_passing(error) or waited_s >= self.patience_s:
                    raise self._failure(error, key, verb, consequence, waited_s) from error
            time.sleep(_WAITS_S[min(attempts, len(_WAITS_S) - 1)])
            attempts += 1

    def _failure(
        self, error: Exception, key: str, verb: str, consequence: str = "", waited_s: float = 0.0
    ) -> StoreError:
        reason = describe_failure(error, self.url, verb, waited_s)
        return StoreError(f"{self.locate(key)}: cannot be {verb}: {reason}{consequence}")


def _first_page(stream: Callable[..., Any], after: str) -> Sequence[Any]:
    """Ask for the first page behind a key."""
    return next(iter(stream(offset=after or None)), [])


def _was_repeated(error: BaseException) -> bool:
    notes: list[str] = getattr(error, "__notes__", [])
    return notes[-1:] != [_FIRST]


def _entry(meta: Any) -> Entry:  # noqa: ANN401 - obstore's ObjectMeta
    return Entry(meta["path"], meta["size"], _version_of(meta), meta["last_modified"].timestamp())


def _version_of(meta: Any) -> Version:  # noqa: ANN401 - an ObjectMeta or a PutResult
    return Version("\n".join((meta["e_tag"] or "", meta["version"] or "")))


def _update(version: Version) -> dict[str, str]:
    """Write a version as obstore takes it: without what the service does not have."""
    e_tag, _, number = version.partition("\n")
    return {name: value for name, value in (("e_tag", e_tag), ("version", number)) if value}
