"""A store in a bucket of an object store: one request per operation, tried again while the bucket does not answer."""

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import chain, count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from jobs.errors import StoreError
from jobs.store.backends.interface import Entry, Refused, Version
from jobs.store.backends.lease import held_lease, is_held
from jobs.store.backends.messages import is_missing_bucket
from jobs.store.backends.requests import FIRST_PATIENCE_S, Requests, was_repeated
from jobs.store.backends.url import StoreUrl

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_MAX_OBJECT_BYTES = 5 << 30  # of one PUT
_MAX_READ_BYTES = 1 << 34
_TEMPORARY = "temporary/"  # what the keys of temporary objects begin with
_LEFTOVER_S = 86_400.0  # after so long, nobody uses a temporary object any longer
_BEHIND_ALL = "zz"  # behind all keys of a store
_PAGE = 1000  # keys per listing
_MAX_DELETED = 1000  # keys per request


@dataclass(frozen=True)
class ObjectBackend:
    """Implement `jobs.store.backends.interface.Backend` with the objects of a bucket."""

    url: StoreUrl
    reads_at_once: int = 16
    _conditions: list[bool] = field(default_factory=list, init=False, repr=False, compare=False)

    @cached_property
    def requests(self) -> Requests:
        """The sender of the requests."""
        return Requests(self.url)

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
        request = partial(obstore.put, self.requests.client(len(content)), key, content, mode=mode, use_multipart=False)
        try:
            return _version_of(self.requests.ask(request, key, "written", "; what was stored before is kept"))
        except (AlreadyExistsError, PreconditionError, FileNotFoundError) as error:
            if is_missing_bucket(error):
                raise self.requests.failure(error, key, "written") from None
            found = self.get(key) if was_repeated(error) else None
            if found and found[0] == content:
                return found[1]
            return Refused.exists if create_only else Refused.changed

    def get(self, key: str) -> tuple[bytes, Version] | None:
        """Read an object with one GET."""
        import obstore

        client = self.requests.client()

        def read() -> tuple[bytes, Version] | None:
            result = obstore.get(client, key)
            if result.meta["size"] > _MAX_READ_BYTES:
                return None
            return result.bytes().to_bytes(), _version_of(result.meta)

        return self.requests.ask_for(read, key)

    def head(self, key: str) -> Entry | None:
        """Describe an object with one HEAD."""
        import obstore

        found = self.requests.ask_for(partial(obstore.head, self.requests.client(), key), key)
        return found and _entry(found)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """List objects, a thousand per request; an outage in the middle goes on behind the last one."""
        import obstore

        pages = _Pages(partial(obstore.list, self.requests.client(), prefix or None, chunk_size=_PAGE), after)
        while page := self.requests.ask(pages.next, prefix, "listed"):
            yield from map(_entry, page)

    def names(self, prefix: str, objects_only: bool = False) -> Sequence[str]:
        """List the names below a prefix up to their next slash."""
        import obstore

        request = partial(obstore.list_with_delimiter, self.requests.client(), prefix or None)
        found = self.requests.ask(request, prefix, "listed")
        keys = [entry["path"] for entry in found["objects"]] + ([] if objects_only else [*found["common_prefixes"]])
        return sorted(key.removeprefix(prefix).rstrip("/") for key in keys)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects, many per request where the service can."""
        import obstore

        left = list(keys)
        batch = _MAX_DELETED if self.url.scheme == "s3" else 1  # the others refuse a batch with a missing key
        for start in range(0, len(left), batch):
            some = left[start : start + batch]
            self.requests.ask_for(partial(obstore.delete, self.requests.client(), some), some[0], "deleted")

    def now_s(self, beside: str) -> float:
        """Return the modification time of an object made for the purpose."""
        probe = f"{_TEMPORARY}now-{secrets.token_hex(16)}"
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
            probe = f"{_TEMPORARY}twice-{secrets.token_hex(16)}"
            self.put(probe, b"1", create_only=True)
            try:
                self._conditions.append(self.put(probe, b"2", create_only=True) is Refused.exists)
            finally:
                self.delete([probe])
        return self._conditions[0]

    def check(self) -> None:
        """Check, with one small request, that the bucket exists and may be listed; raises StoreError soon."""
        import obstore

        pages = _Pages(partial(obstore.list, self.requests.client(), chunk_size=1), _BEHIND_ALL)
        self.requests.ask(pages.next, "", "listed", patience_s=FIRST_PATIENCE_S)

    def is_taken(self, key: str) -> bool:
        """Ask for the object; nothing else can have a key."""
        return self.head(key) is not None

    def obstacle(self, key: str) -> str:
        """Return "": nothing but objects has keys."""
        return ""

    def are_taken(self, keys: Sequence[str]) -> Sequence[bool]:
        """Ask for several at once."""
        with ThreadPoolExecutor(self.reads_at_once) as threads:
            return list(threads.map(self.is_taken, keys))

    def dead_link(self, key: str) -> str:
        """Return "": there are no links."""
        return ""

    def is_growing(self, key: str, seconds: float) -> bool:
        """Return False: an object appears whole."""
        return False

    def move(self, key: str, prefix: str) -> str | None:
        """Copy an object within the service, then delete it."""
        import obstore

        name = key.rpartition("/")[2]
        keys = (f"{prefix}{name}{suffix}" for suffix in chain([""], map(".{}".format, count(1))))
        try:
            target = next(each for each in keys if self.head(each) is None)
            copied = self.requests.ask_for(partial(_copy, obstore.copy, self.requests.client(), key, target), key)
            if copied:
                self.delete([key])
        except StoreError as error:
            raise StoreError(str(error).removeprefix(f"{self.locate(key)}: ")) from None
        return self.locate(target) if copied else None

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold a lease on an object, renewed while the context lasts; needs a service that honours conditions."""
        if not self.honours_conditions():
            raise StoreError(
                f"{self.url}: cannot be locked: its service ignores conditions on writes, so that two processes could "
                "hold the lock; allowed: a service that refuses to create an object twice"
            )
        with held_lease(self, key):
            yield

    def lock_state(self, key: str) -> str | None:
        """Return the version of the lease while nobody holds it."""
        found = self.get(key)
        return "never taken" if found is None else None if is_held(found[0]) else found[1]

    @contextmanager
    def temporary(self, name: str, content: bytes) -> Iterator[str]:
        """Keep an object under a name that nobody else has."""
        key = f"{_TEMPORARY}{name}-{secrets.token_hex(16)}"
        self.put(key, content)
        try:
            yield self.locate(key)
        finally:
            with suppress(StoreError):  # it is removed when it is a day old
                self.delete([key])

    def remove_leftovers(self, prefixes: Iterable[str]) -> None:
        """Remove temporary objects of more than a day ago."""
        if found := list(self.list(_TEMPORARY)):
            now_s = self.now_s(_TEMPORARY)
            self.delete([entry.key for entry in found if now_s - entry.changed_s > _LEFTOVER_S])

    def describe_leftovers(self, prefixes: Iterable[str]) -> Sequence[str]:
        """Return nothing: leftovers are removed by their age."""
        return []

    @contextmanager
    def local_file(self, key: str) -> Iterator[Path | None]:
        """Download an object into a temporary file."""
        import obstore

        client = self.requests.client()
        with TemporaryDirectory(prefix="mnistjobs-") as folder:
            path = Path(folder) / "object"

            def download() -> Path:
                with path.open("wb") as file:
                    file.writelines(obstore.get(client, key).stream())
                return path

            yield self.requests.ask_for(download, key)

    def claim_folder(self, prefix: str) -> bool:
        """Return whether no key begins so: folders of keys are not made."""
        return next(iter(self.list(prefix)), None) is None

    def has_folder(self, prefix: str) -> bool:
        """Return True: a prefix cannot be unmounted."""
        return True


class _Pages:
    """The pages of a listing; where one could not be had, it begins again behind the last key."""

    def __init__(self, start: Callable[..., Iterator[Sequence[Any]]], after: str) -> None:
        self._start = start
        self._last = after
        self._stream: Iterator[Sequence[Any]] | None = None

    def next(self) -> Sequence[Any]:
        """Ask for the next page; an empty one is the end."""
        stream = self._stream or iter(self._start(offset=self._last or None))
        self._stream = None  # until it has answered
        for page in stream:
            if new := [entry for entry in page if entry["path"] > self._last]:  # some services ignore the offset
                self._stream, self._last = stream, new[-1]["path"]
                return new
        return ()


def _copy(copy: Callable[..., None], client: "ObjectStore", key: str, target: str) -> bool:
    copy(client, key, target)
    return True


def _entry(meta: Any) -> Entry:  # noqa: ANN401 - obstore's ObjectMeta
    return Entry(meta["path"], meta["size"], _version_of(meta), meta["last_modified"].timestamp())


def _version_of(meta: Any) -> Version:  # noqa: ANN401 - an ObjectMeta or a PutResult
    e_tag = meta["e_tag"] or ""
    quoted = f'"{e_tag}"' if re.fullmatch(r'[^"]+', e_tag) else e_tag  # Azure lists them without their quotes
    return Version("\n".join((quoted, meta["version"] or "")))


def _update(version: Version) -> dict[str, str]:
    """Write a version as obstore takes it: without what the service does not have."""
    e_tag, _, number = version.partition("\n")
    return {name: value for name, value in (("e_tag", e_tag), ("version", number)) if value}
