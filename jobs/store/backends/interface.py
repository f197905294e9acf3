"""The port between a store and what holds its bytes: a folder, or a bucket of an object store.

A key is a POSIX path relative to the root of the store, such as `jobs/<job_id>/job.json`. A put is atomic and durable:
a reader sees all of an object or nothing of it, and what was put is there after a crash.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NewType, Protocol

Version = NewType("Version", str)  # of an object's content; compared, never read


class Refused(Enum):
    """Why a conditional put wrote nothing."""

    exists = "the key is taken"  # of create_only
    changed = "the object has another version, or is gone"  # of if_match


@dataclass(frozen=True)
class Entry:
    """The facts about an object without its content."""

    key: str
    size: int  # bytes
    version: Version
    changed_s: float  # when it was last put, by the store's own clock: compare it with `Backend.now_s` only


class Backend(Protocol):
    """Hold objects by key. Every method raises StoreError where the folder or the bucket refuses or does not answer."""

    @property
    def reads_at_once(self) -> int:
        """How many reads at once are faster than one after the other."""

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

    def names(self, prefix: str, objects_only: bool = False) -> Sequence[str]:
        """List what lies directly in a folder of keys, sorted, by bare names.

        Args:
            prefix: The folder, such as `jobs/`.
            objects_only: Leave out folders, and whatever else is no object.
        """

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

    def is_taken(self, key: str) -> bool:
        """Return whether anything has a key: an object, or what is none, or what cannot be read."""

    def are_taken(self, keys: Sequence[str]) -> Sequence[bool]:
        """Return `is_taken` of several keys, asking for several at once where that is faster."""

    # What is special about a folder, so that nobody else needs to know. On an object store little of it happens.

    def obstacle(self, key: str) -> str:
        """Describe what has the place of an object and is none, such as a link that leads nowhere; "" elsewhere."""

    def dead_link(self, key: str) -> str:
        """Describe the link because of which a key leads nowhere; "" where there is none."""

    def is_growing(self, key: str, seconds: float) -> bool:
        """Return whether an object changed so recently that it may still be being copied there.

        Raises:
            StoreError: That cannot be found out. The message is the reason alone.
        """

    def move(self, key: str, prefix: str) -> str | None:
        """Move an object to a free name in another folder of keys.

        Returns:
            Where it is now, for a person; None where it is gone.

        Raises:
            StoreError: It cannot be moved. The message is the reason alone.
        """

    def lock(self, key: str) -> AbstractContextManager[None]:
        """Hold a lock, after waiting for it. It ends with the context, and soon after its holder has ended."""

    def lock_state(self, key: str) -> str | None:
        """Return what changes whenever the lock is taken; None while it is held, or where that is not known."""

    def temporary(self, name: str, content: bytes) -> AbstractContextManager[str]:
        """Keep an object for as long as the context lasts, and say where it is; killed processes leave theirs behind.

        Args:
            name: What the name of the object begins with.
            content: All of its bytes.
        """

    def remove_leftovers(self, prefixes: Iterable[str]) -> None:
        """Remove what killed processes have left directly in these folders of keys, as far as that is known."""

    def describe_leftovers(self, prefixes: Iterable[str]) -> Sequence[str]:
        """Describe what processes have left, of which it is not known here whether they have ended."""

    def local_file(self, key: str) -> AbstractContextManager[Path | None]:
        """Have an object as a file for as long as the context lasts; None where there is none."""

    def claim_folder(self, prefix: str) -> bool:
        """Make a folder of keys and return True, or return False where there is one already."""

    def has_folder(self, prefix: str) -> bool:
        """Return whether a folder of keys that was claimed is still there."""
