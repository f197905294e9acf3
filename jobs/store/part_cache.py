"""Parts of a bucket that were read before, in the user's cache folder: a part never changes, so it is fetched once.

A part is named by the hash of its bytes, and what is read is compared with it: a damaged copy is fetched again. Several
processes may use the folder. It may be deleted at any time.
"""

import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

LIMIT = "MNISTJOBS_CACHE_GB"  # gigabytes; 0 for no cache
_DEFAULT_GB = 2.0
_KEPT = 0.9  # of the limit, after the oldest copies have been deleted
_CHECKED_BYTES = 64 << 20  # of new copies, between two looks at the size of the folder
_LEFTOVER_S = 3600.0  # after so long, a copy that has no name yet belongs to a process that was killed


@dataclass
class PartCache:
    """Keep copies of parts in a folder, up to a limit; without a folder, keep nothing."""

    folder: Path | None
    limit_bytes: int
    _unchecked_bytes: int = field(default=_CHECKED_BYTES, init=False)  # a look comes with the first copy

    def read(self, name: str) -> bytes | None:
        """Return a copy, which has to be compared with its name, or None where there is none."""
        if self.folder is None:
            return None
        path = self.folder / name
        try:
            content = path.read_bytes()
            os.utime(path)  # the time of the last use decides what is deleted first
        except OSError:
            return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Keep a copy, where the folder can be written."""
        if self.folder is None or len(content) > self.limit_bytes:
            return
        temporary = self.folder / f".{secrets.token_hex(8)}.tmp"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            temporary.write_bytes(content)
            temporary.replace(self.folder / name)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
            return
        self._unchecked_bytes += len(content)
        if self._unchecked_bytes >= min(_CHECKED_BYTES, self.limit_bytes // 10):
            self._unchecked_bytes = 0
            self._make_room()

    def remove(self, name: str) -> None:
        """Delete a copy that turned out to be damaged."""
        if self.folder is not None:
            with suppress(OSError):
                (self.folder / name).unlink()

    def _make_room(self) -> None:
        """Delete the copies that were used longest ago until the rest is well below the limit."""
        found = sorted(self._files())
        size = sum(size for _, size, _ in found)
        if size <= self.limit_bytes:
            return
        for _, of_file, path in found:
            if size <= _KEPT * self.limit_bytes:
                return
            with suppress(OSError):  # another process was faster
                path.unlink()
            size -= of_file

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """Yield the time of the last use, the size and the path of each file; leftovers of killed processes go."""
        assert self.folder is not None
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                with suppress(OSError):
                    found = entry.stat()
                    if entry.name.startswith(".") and time.time() - found.st_mtime > _LEFTOVER_S:
                        os.unlink(entry)
                    else:
                        yield found.st_mtime, found.st_size, Path(entry.path)


def part_cache() -> PartCache:
    """Return the cache that the environment asks for: in $XDG_CACHE_HOME, else in ~/.cache, else none."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return _cache_in(base if os.path.isabs(base) else "", _limit_bytes())


@cache
def _cache_in(base: str, limit_bytes: int) -> PartCache:
    is_wanted = base and limit_bytes > 0
    return PartCache(Path(base) / "mnistjobs" / "parts" if is_wanted else None, limit_bytes)


def _limit_bytes() -> int:
    """Read the limit; one that is no number counts as the default, since a cache is not worth an error."""
    gigabytes = _DEFAULT_GB
    with suppress(ValueError):
        gigabytes = float(os.environ.get(LIMIT) or _DEFAULT_GB)
    return int(gigabytes * 1e9) if 0 <= gigabytes < 1e9 else int(_DEFAULT_GB * 1e9)
