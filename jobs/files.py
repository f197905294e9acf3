"""Files that are there whole or not at all: written beside their place, fsynced and moved there."""

import errno
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jobs.errors import StoreError

_FSYNCS_AT_ONCE = 16


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place, fsynced, then moved there; raises StoreError."""
    write_files(path.parent, {path.name: content})


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files of one folder, each whole or not at all; when this returns, all of them last. Raises StoreError."""
    unique = f"{os.getpid()}-{secrets.token_hex(4)}"
    temporary = {name: folder / f".{name}.{unique}.tmp" for name in contents}
    path = folder
    try:
        make_folder(folder)
        try:
            for name, content in contents.items():
                path = folder / name
                with temporary[name].open("xb") as file:
                    file.write(content)
            path = folder
            _fsync_together(list(temporary.values()))
            for name in contents:
                path = folder / name
                temporary[name].replace(path)
        finally:
            for each in temporary.values():
                each.unlink(missing_ok=True)
        fsync_folder(folder)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}; what was stored before is kept"
        ) from error


def _fsync_together(paths: Sequence[Path]) -> None:
    """Make files durable. Asked for many at once, a disk is done with them in little more than the time of one."""
    with ThreadPoolExecutor(min(len(paths), _FSYNCS_AT_ONCE)) as threads:
        list(threads.map(_fsync, paths))


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each fsynced into the one above; raises OSError."""
    if folder.exists():
        return  # where it is a file, opening what lies in it will say so
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make the entries of a folder durable; raises OSError."""
    _fsync(folder)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """Read a file whole, or return None where no regular file is there; raises StoreError."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):  # it has gone since, here or (ESTALE) on another node
            return None
        raise StoreError(f"{path}: cannot be read: {error.strerror}; allowed: a file that you may read") from error


def names(folder: Path) -> list[str]:
    """List a folder in the order of the names; nothing where it is not there yet; raises StoreError."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}; allowed: a folder that you may read") from error


def delete_files(folder: Path, names: Iterable[str]) -> None:
    """Delete files of a folder, as far as they are still there; raises StoreError."""
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        fsync_folder(folder)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: cannot be deleted: {error.strerror}") from error
