"""Write files whole or not at all: under a temporary name, fsynced, then renamed."""

import errno
import os
import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG

from jobs.errors import StoreError
from jobs.store.processes import Process, this_process

# The file does not exist, has been deleted on another node (ESTALE), or the path leads nowhere.
NOT_THERE = (errno.ENOENT, errno.ESTALE, errno.ENOTDIR, errno.ELOOP)
MAX_FILE_BYTES = 1 << 30  # a larger file was not written by mnistjobs, and is not read
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)  # of file systems without hard links
_TEMPORARY = re.compile(
    r"\..*\.(?P<host>[\w-]+)\.(?P<boot>[0-9a-f]*)\.(?P<space>\d+)\.(?P<pid>\d+)\.(?P<started>\d+)\.[0-9a-f]{8}\.tmp",
    re.ASCII | re.DOTALL,
)


def write_output(path: Path, content: bytes) -> None:
    """Write a file that a person named: whole or not at all, unless it is a link or a device, such as /dev/stdout.

    Args:
        path: the file, which is replaced if it exists; a link stays one.
        content: all of its bytes.

    Raises:
        StoreError: it cannot be written.
    """
    if not path.is_symlink() and (path.is_file() or not path.exists()):
        write_file(path, content)
        return
    try:
        path.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror or error}") from error


def write_file(path: Path, content: bytes) -> os.stat_result:
    """Write a file, and make its folder where needed; when this returns, both are durable.

    Args:
        path: the file, which is replaced if it exists.
        content: all of its bytes.

    Returns:
        What the system knows of the new file.

    Raises:
        StoreError: it cannot be written; what `path` named before is unchanged, unless only the last fsync failed.
    """
    temporary = path.parent / _temporary_name(path.name)
    try:
        make_folder(path.parent)
        try:
            found = _write_durably(temporary, content)
            temporary.replace(path)
        finally:
            # Also after a failed fsync: the kernel may have dropped the pages, and a second fsync would falsely
            # succeed.
            temporary.unlink(missing_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}; what was stored before is kept"
        ) from error
    return found


def _write_durably(path: Path, content: bytes) -> os.stat_result:
    """Write a new file and fsync it; raise OSError."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        return os.fstat(file.fileno())


def create_file(path: Path, content: bytes) -> os.stat_result | None:
    """Write a file whole unless its folder has one of that name; the folder has to exist.

    Returns:
        What the system knows of the new file, or None where the name is taken.

    Raises:
        StoreError: The file cannot be written.
    """
    temporary = path.with_name(_temporary_name(path.name))
    try:
        try:
            found = _write_durably(temporary, content)
            created = _move_to_free_name(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}; what was stored before is kept"
        ) from error
    return found if created else None


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


@contextmanager
def temporary_file(folder: Path, name: str, content: bytes) -> Iterator[Path]:
    """Keep a file in a folder for as long as the context lasts; where the process is killed, `clean_up` removes it.

    Args:
        folder: The folder; it is made where it does not exist.
        name: What the file's name begins with.
        content: What the file holds.

    Raises:
        StoreError: The file cannot be written.
    """
    path = folder / _temporary_name(name)
    try:
        make_folder(folder)
        _write_durably(path, content)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror or error}") from error
    try:
        yield path
    finally:
        with suppress(OSError):  # a temporary file that stays is named by `describe_unattributed_files`
            path.unlink()


def _temporary_name(name: str) -> str:
    """Make the temporary name of a file; it identifies the writer, so that others can tell when that has ended."""
    start = os.fsencode(name)[:64].decode("ascii", errors="replace").replace("\ufffd", "_")
    writer = ".".join(map(str, vars(this_process()).values()))
    return f".{start}.{writer}.{secrets.token_hex(4)}.tmp"


def temporary_writer(name: str) -> Process | None:
    """Return the process that wrote a temporary file, or None where the name is not that of one.

    Other programs have temporary files too, which are not the store's.
    """
    match = _TEMPORARY.fullmatch(name)
    if match is None:
        return None
    numbers = (int(match[field]) for field in ("space", "pid", "started"))
    return Process(match["host"], match["boot"], *numbers)


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each fsynced into the one above; raises OSError."""
    if folder.exists():
        return  # where it is a file, opening a path below it raises
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    try:
        fsync_folder(folder.parent)
    except OSError:
        with suppress(OSError):  # another process may have written to it already
            folder.rmdir()  # the next writer would take an existing folder for durable
        raise


def fsync_folder(folder: Path) -> None:
    """Make the entries of a folder durable; raises OSError.

    Some network and FUSE file systems cannot fsync folders (EINVAL, ENOTSUP); there, nothing more can be done.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """Read a file, or return None where there is no regular file or one over MAX_FILE_BYTES; raises StoreError."""
    try:
        found = path.stat()
        return path.read_bytes() if S_ISREG(found.st_mode) and found.st_size <= MAX_FILE_BYTES else None
    except OSError as error:
        if error.errno in NOT_THERE:
            return None
        raise StoreError(f"{path}: cannot be read: {error.strerror}; allowed: a file that you may read") from error


def list_dir(folder: Path) -> list[str]:
    """List the names in a folder, sorted; none where the folder does not exist.

    Raises:
        StoreError: the folder cannot be read.
    """
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}; allowed: a folder that you may read") from error


def list_files(folder: Path) -> list[str]:
    """List the names of the files in a folder, also of those behind a link; none where the folder does not exist.

    Raises:
        StoreError: the folder cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.is_file()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}; allowed: a folder that you may read") from error


def delete_files(folder: Path, names: Iterable[str]) -> None:
    """Delete files of a folder; those that do not exist are skipped.

    Raises:
        StoreError: a file cannot be deleted.
    """
    try:
        for name in names:
            (folder / name).unlink(missing_ok=True)
        fsync_folder(folder)
    except OSError as error:
        raise StoreError(f"{error.filename or folder}: cannot be deleted: {error.strerror}") from error


def seconds_now(folder: Path) -> float:
    """Return the time by the clock of a folder's file system, which is that of a new file; raises OSError."""
    temporary = folder / _temporary_name("now")
    try:
        temporary.touch(exist_ok=False)
        return temporary.stat().st_mtime
    finally:
        temporary.unlink(missing_ok=True)
