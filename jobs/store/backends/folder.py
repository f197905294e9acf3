"""A store in a folder: temporaries, renames, fsyncs and locks, which no other backend needs."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG

from jobs.errors import StoreError
from jobs.store.atomic_files import (
    NOT_THERE,
    create_file,
    delete_files,
    list_dir,
    make_folder,
    read_file,
    seconds_now,
    temporary_writer,
    write_file,
)
from jobs.store.backends.interface import Entry, Refused, Version

_LOCK = ".lock"  # in the folder of an object that is put with `if_match`


@dataclass(frozen=True)
class FolderBackend:
    """Implement `jobs.store.backends.interface.Backend` with the files of a folder."""

    root: Path

    def put(
        self, key: str, content: bytes, *, create_only: bool = False, if_match: Version | None = None
    ) -> Version | Refused:
        """Write beside the file's place, fsync, rename, and fsync the folder."""
        path = self._path(key)
        if if_match is not None:
            with self._locked(path.parent):
                if self._version(path) != if_match:
                    return Refused.changed
                return _version_of(write_file(path, content))
        if create_only:
            with _refused(path, "written"):
                make_folder(path.parent)
            created = create_file(path, content)
            return _version_of(created) if created else Refused.exists
        return self._replace(path, content)

    @staticmethod
    def _replace(path: Path, content: bytes) -> Version:
        was_there = os.path.lexists(path)
        try:
            return _version_of(write_file(path, content))
        except StoreError:
            if not was_there:
                with suppress(OSError):
                    path.unlink()  # it may have been moved to its name without being durable
            raise

    def get(self, key: str) -> tuple[bytes, Version] | None:
        """Read a regular file, also behind a link."""
        path = self._path(key)
        while True:
            version = self._version(path)
            content = read_file(path)
            if content is None:
                return None
            if self._version(path) == version:  # else it was replaced meanwhile
                return content, version

    def head(self, key: str) -> Entry | None:
        """Describe a regular file, also behind a link."""
        return self._entry(key)

    def list(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Describe files in the order of their keys; temporary files are none of the store's objects."""
        for key in self._keys(prefix):
            if key > after and (entry := self._entry(key)):
                yield entry

    def _keys(self, prefix: str) -> Iterator[str]:
        # Sorted as keys are: a folder's name sorts with its slash.
        names = [f"{name}/" if (self._path(prefix) / name).is_dir() else name for name in self.names(prefix)]
        for name in sorted(names):
            if name.endswith("/"):
                yield from self._keys(f"{prefix}{name}")
            elif temporary_writer(name) is None and name != _LOCK:
                yield f"{prefix}{name}"

    def names(self, prefix: str) -> Sequence[str]:
        """List a folder, whatever is in it; nothing where it does not exist."""
        return list_dir(self._path(prefix))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, and make that durable."""
        folders: dict[Path, list[str]] = {}
        for path in map(self._path, keys):
            folders.setdefault(path.parent, []).append(path.name)
        for folder, names in folders.items():
            if folder.is_dir():
                delete_files(folder, names)

    def now_s(self, beside: str) -> float:
        """Return the modification time of a new temporary file."""
        folder = self._path(beside).parent
        with _refused(folder, "written"):
            make_folder(folder)
            return seconds_now(folder)

    def locate(self, key: str = "") -> str:
        """Return the path."""
        return str(self._path(key))

    def honours_conditions(self) -> bool:
        """Return True: a link fails where a name is taken."""
        return True

    def _path(self, key: str) -> Path:
        return self.root / key

    def _entry(self, key: str) -> Entry | None:
        found = self._stat(self._path(key))
        return found and Entry(key, found.st_size, _version_of(found), found.st_mtime)

    def _version(self, path: Path) -> Version:
        found = self._stat(path)
        return _version_of(found) if found else Version("")

    @staticmethod
    def _stat(path: Path) -> os.stat_result | None:
        try:
            found = path.stat()
        except OSError as error:
            if error.errno in NOT_THERE:
                return None
            message = f"{path}: cannot be read: {error.strerror}; allowed: a file that you may read"
            raise StoreError(message) from error
        return found if S_ISREG(found.st_mode) else None

    @contextmanager
    def _locked(self, folder: Path) -> Iterator[None]:
        """Keep other conditional puts out of a folder; the system releases the lock when the process ends."""
        with _refused(folder / _LOCK, "locked"):
            make_folder(folder)
            file = (folder / _LOCK).open("ab")
        with file:
            with _refused(folder / _LOCK, "locked"):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _version_of(found: os.stat_result) -> Version:
    """Make a version of what every replacement changes: a new file has an inode of its own."""
    return Version(f"{found.st_ino:x}-{found.st_mtime_ns:x}-{found.st_size:x}")


@contextmanager
def _refused(path: Path, verb: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path}: cannot be {verb}: {error.strerror or error}; allowed: a folder that you may write"
        raise StoreError(message) from error
