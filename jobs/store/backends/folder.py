"""A store in a folder: temporaries, renames, fsyncs and locks, which no other backend needs."""

import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from jobs.errors import StoreError
from jobs.store.atomic_files import (
    NOT_THERE,
    create_file,
    delete_files,
    fsync_folder,
    list_dir,
    list_files,
    make_folder,
    read_file,
    seconds_now,
    temporary_file,
    temporary_writer,
    write_file,
)
from jobs.store.backends.interface import Entry, Refused, Version
from jobs.store.processes import Process, is_gone
from mnist_core.paths import describe_missing

_LOCK = ".lock"  # in the folder of an object that is put with `if_match`


@dataclass(frozen=True)
class FolderBackend:
    """Implement `jobs.store.backends.interface.Backend` with the files of a folder."""

    root: Path
    reads_at_once: int = 1

    def put(
        self, key: str, content: bytes, *, create_only: bool = False, if_match: Version | None = None
    ) -> Version | Refused:
        """Write beside the file's place, fsync, rename, and fsync the folder."""
        path = self.root / key
        if if_match is not None:
            with _refused(path.parent, "written"):
                make_folder(path.parent)
            with _locked(path.parent / _LOCK):
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
        path = self.root / key
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
        names = [f"{name}/" if (self.root / prefix / name).is_dir() else name for name in self.names(prefix)]
        for name in sorted(names):
            if name.endswith("/"):
                yield from self._keys(f"{prefix}{name}")
            elif temporary_writer(name) is None and name != _LOCK:
                yield f"{prefix}{name}"

    def names(self, prefix: str, objects_only: bool = False) -> Sequence[str]:
        """List a folder; nothing where it does not exist."""
        return sorted(list_files(self.root / prefix)) if objects_only else list_dir(self.root / prefix)

    def delete(self, keys: Iterable[str]) -> None:
        """Delete files, and make that durable."""
        folders: dict[Path, list[str]] = {}
        for path in map(self.root.joinpath, keys):
            folders.setdefault(path.parent, []).append(path.name)
        for folder, names in folders.items():
            if folder.is_dir():
                delete_files(folder, names)

    def now_s(self, beside: str) -> float:
        """Return the modification time of a new temporary file."""
        folder = (self.root / beside).parent
        with _refused(folder, "written"):
            make_folder(folder)
            return seconds_now(folder)

    def locate(self, key: str = "") -> str:
        """Return the path."""
        return str(self.root / key)

    def honours_conditions(self) -> bool:
        """Return True: a link fails where a name is taken."""
        return True

    def _entry(self, key: str) -> Entry | None:
        found = self._stat(self.root / key)
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

    def is_taken(self, key: str) -> bool:
        """Look without following a link; behind a link that leads nowhere there was something."""
        path = self.root / key
        try:
            path.lstat()
        except OSError as error:
            return error.errno not in NOT_THERE or bool(describe_missing(path.parent))
        return True

    def obstacle(self, key: str) -> str:
        """Describe a link, a folder, a device or a pipe."""
        path = self.root / key
        try:
            mode = path.lstat().st_mode
        except OSError:
            return ""
        kind = "a link" if S_ISLNK(mode) else "a folder" if S_ISDIR(mode) else "a device or pipe"
        return "" if S_ISREG(mode) else describe_missing(path).removeprefix("is ") or kind

    def are_taken(self, keys: Sequence[str]) -> Sequence[bool]:
        """Look at one after the other."""
        return [self.is_taken(key) for key in keys]

    def dead_link(self, key: str) -> str:
        """Describe the link; it may be any of the folders above."""
        return describe_missing(self.root / key)

    def is_growing(self, key: str, seconds: float) -> bool:
        """Compare the modification time with the clock of the file system."""
        entry = self._entry(key)
        try:
            return entry is not None and seconds_now((self.root / key).parent) - entry.changed_s < seconds
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error

    def move(self, key: str, prefix: str) -> str | None:
        """Rename a file, and make that durable; if a crash undoes the move, the next command repeats it."""
        path, folder = self.root / key, self.root / prefix
        try:
            target = _free_name(folder, path.name)
            try:
                path.replace(target)
            except OSError:
                target.unlink(missing_ok=True)
                raise
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StoreError(error.strerror or str(error)) from error
        for changed in (folder, path.parent):
            with suppress(OSError):
                fsync_folder(changed)
        return str(target)

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Lock a file."""
        with _locked(self.root / key):
            yield

    def lock_state(self, key: str) -> str | None:
        """Return None: a lock of the system leaves no trace."""
        return None

    @contextmanager
    def temporary(self, name: str, content: bytes) -> Iterator[str]:
        """Keep a temporary file in the store's folder."""
        with temporary_file(self.root, name, content) as path:
            yield str(path)

    def remove_leftovers(self, prefixes: Iterable[str]) -> None:
        """Remove temporary files whose writers have ended."""
        for path, writer in self._temporary_files(prefixes):
            if is_gone(writer):
                with suppress(OSError):
                    path.unlink()

    def describe_leftovers(self, prefixes: Iterable[str]) -> Sequence[str]:
        """Describe temporary files of writers on other hosts."""
        return [
            f"{path} is a temporary file of process {writer.pid} on {writer.host}; remove it if that has ended"
            for path, writer in self._temporary_files(prefixes)
            if not writer.is_from_here()
        ]

    def _temporary_files(self, prefixes: Iterable[str]) -> Iterator[tuple[Path, Process]]:
        for folder in map(self.root.joinpath, prefixes):
            if folder.is_dir() and not folder.is_symlink():
                for name in list_dir(folder):
                    if writer := temporary_writer(name):
                        yield folder / name, writer

    @contextmanager
    def local_file(self, key: str) -> Iterator[Path | None]:
        """Give the file itself."""
        path = self.root / key
        yield path if os.path.isfile(path) else None

    def claim_folder(self, prefix: str) -> bool:
        """Make a folder, durably; a store that was there before may itself not be durable yet."""
        path = self.root / prefix
        try:
            make_folder(path.parent)
            fsync_folder(self.root)  # an earlier process may have been killed between making a folder in it and this
            path.mkdir()
            fsync_folder(path.parent)
        except FileExistsError:
            return False
        except OSError as error:
            message = f"store {str(self.root)!r}: cannot be written: {error.strerror or error}"
            raise StoreError(message) from error
        return True

    def has_folder(self, prefix: str) -> bool:
        """Look for the folder: without it, most likely, the whole store is gone."""
        return os.path.isdir(self.root / prefix)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; the system releases it when the process ends."""
    with ExitStack() as stack:
        with _refused(path, "locked"):
            fcntl.flock(stack.enter_context(path.open("ab")), fcntl.LOCK_EX)
        yield


def _free_name(folder: Path, name: str) -> Path:
    """Take a name that is not in use in a folder; raises OSError."""
    make_folder(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise NotADirectoryError(None, "it is not a folder of the store")
    for suffix in chain([""], map(".{}".format, count(1))):
        target = folder / f"{name}{suffix}"
        with suppress(FileExistsError):
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # a rename would replace an existing file
            return target
    raise AssertionError("numbers end")


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
