"""Files that are there whole or not at all: written beside their place, fsynced and moved there."""

import errno
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from stat import S_ISREG

from jobs.errors import StoreError
from jobs.store.processes import Process, this_process

_FSYNCS_AT_ONCE = 16
_OPEN_AT_ONCE = 64  # files: a process may have some hundreds
# It has gone since, here or (ESTALE) on another node; or it leads nowhere.
_NOT_THERE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ELOOP)
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of file systems without hard links
_LARGEST = 1 << 30  # bytes of a file of ours; what is larger is not read
_TEMPORARY = re.compile(
    r"\..*\.(?P<host>[\w-]+)\.(?P<boot>[0-9a-f]*)\.(?P<space>\d+)\.(?P<pid>\d+)\.(?P<started>\d+)\.[0-9a-f]{8}\.tmp",
    re.ASCII | re.DOTALL,
)


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place, fsynced, then moved there; raises StoreError."""
    write_files(path.parent, {path.name: content})


def write_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Write files of one folder, each whole or not at all; when this returns, all of them last. Raises StoreError."""
    temporary = {name: folder / _temporary_name(name) for name in contents}
    path = folder
    try:
        make_folder(folder)
        try:
            waiting = list(contents)
            while waiting:
                batch, waiting = waiting[:_OPEN_AT_ONCE], waiting[_OPEN_AT_ONCE:]
                path = folder / batch[0]
                _write_lasting({temporary[name]: contents[name] for name in batch})
            for name in contents:
                path = folder / name
                temporary[name].replace(path)
        finally:
            # Also what an fsync has failed for: a second fsync would call it done, and the system may have dropped it.
            for each in temporary.values():
                each.unlink(missing_ok=True)
        fsync_folder(folder)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}; what was stored before is kept"
        ) from error


def create_file(path: Path, content: bytes) -> bool:
    """Write a file whole unless its folder has one of that name; the folder has to exist.

    Returns:
        Whether it was written.

    Raises:
        StoreError: The file cannot be written.
    """
    temporary = path.with_name(_temporary_name(path.name))
    try:
        try:
            _write_lasting({temporary: content})
            created = _move_to_free_name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}; what was stored before is kept"
        ) from error
    return created


def _move_to_free_name(temporary: Path, path: Path) -> bool:
    """Move a file to a name that is free; a link, unlike a rename, fails where the name is taken."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if path.exists():
            return False
        temporary.replace(path)
    return True


def _write_lasting(contents: Mapping[Path, bytes]) -> None:
    """Write new files and make them durable. Asked for many at once, a disk takes little more than for one."""
    with ExitStack() as stack:
        files = [stack.enter_context(path.open("xb")) for path in contents]
        for file, content in zip(files, contents.values(), strict=True):
            file.write(content)
            file.flush()
        # By the descriptors they were written with: another one need not hear of a write that failed.
        with ThreadPoolExecutor(min(len(files), _FSYNCS_AT_ONCE)) as threads:
            list(threads.map(os.fsync, [file.fileno() for file in files]))


def _temporary_name(name: str) -> str:
    """Name the file beside a file's place so that others can tell when its writer is gone."""
    start = os.fsencode(name)[:64].decode("ascii", errors="replace").replace("\ufffd", "_")
    writer = ".".join(map(str, vars(this_process()).values()))
    return f".{start}.{writer}.{secrets.token_hex(4)}.tmp"


def is_temporary(name: str) -> bool:
    """Tell whether a file's name is that of one under way, whoever writes it."""
    return name.startswith(".") and name.endswith(".tmp")


def temporary_writer(name: str) -> Process | None:
    """Tell which process writes, or wrote, a temporary file, by its name; None where that does not say."""
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return None
    numbers = (int(match[field]) for field in ("space", "pid", "started"))
    return Process(match["host"], match["boot"], *numbers)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each fsynced into the one above; raises OSError."""
    if folder.exists():
        return  # where it is a file, opening what lies in it will say so
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    try:
        fsync_folder(folder.parent)
    except OSError:
        with suppress(OSError):  # of others' files in it
            folder.rmdir()  # whoever found it would take it for durable
        raise


def fsync_folder(folder: Path) -> None:
    """Make the entries of a folder durable; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """Read a file whole, or return None where no regular file of a sensible size is there; raises StoreError."""
    try:
        found = path.stat()
        return path.read_bytes() if S_ISREG(found.st_mode) and found.st_size <= _LARGEST else None
    except OSError as error:
        if error.errno in _NOT_THERE:
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
