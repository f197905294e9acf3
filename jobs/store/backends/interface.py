"""The port between a store and what holds its bytes: a folder, or a bucket of an object store.

A key is a POSIX path relative to the root of the store, such as `jobs/<job_id>/job.json`. A put is atomic and durable:
a reader sees all of an object or nothing of it, and what was put is there after a crash.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NewType, Protocol

Version = NewType("Version", str)  # of an object's content; compared, never read


class Refused(Enum):
    """Why a conditional put wrote nothing."""

    exists = "the key is taken"  # of create_only
    changed = "the object has another version, or is gone"  # of if_match


@dataclass(frozen=True)
class Entry:
    """What is known of an object without reading it."""

    key: str
    size: int  # bytes
    version: Version
    changed_s: float  # when it was last put, by the store's own clock: compare it with `Backend.now_s` only


class Backend(Protocol):
    """Hold objects by key. Every method raises StoreError where the folder or the bucket refuses or does not answer."""

    def put(
        self, key: str, content: bytes, *, create_only: bool = False, if_match: Version | None = None
    ) -> Version | Refused:
        """Write an object whole.

        Args:
            key: Where to write it; an object there is replaced.
            content: All of its bytes.
            create_only: Write only where the key is free. Of several that try at once, one succeeds.
            if_match: Write only where the object has this version.

        Returns:
            The version of what was written, or why nothing was.
        """

    def get(self, key: str) -> tuple[bytes, Version] | None:
        """Read an object; None where there is none, or one so large that mnistjobs has not written it."""

    def head(self, key: str) -> Entry | None:
        """Describe an object; None where there is none."""

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Describe the objects below a folder of keys, at any depth, in the order of their keys.

        Args:
            prefix: A folder, such as `parts/`; "" for the whole store.
            after: Only keys beyond this one.
        """

    def names(self, prefix: str) -> Sequence[str]:
        """List what lies directly in a folder of keys, sorted: objects and folders alike, by their bare names."""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete objects; keys that hold none are skipped."""

    def now_s(self, beside: str) -> float:
        """Return the time by the clock that gives the object at a key, and its neighbours, their `changed_s`.

        Needs the right to write: the time is that of a file or an object made for the purpose.
        """

    def locate(self, key: str = "") -> str:
        """Write where an object is for a person: a path, or a URL."""

    def honours_conditions(self) -> bool:
        """Return whether create-only puts are refused where they have to be; some object stores ignore conditions."""
