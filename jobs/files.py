"""Files that are there whole or not at all: written beside their place, fsynced and moved there."""

import os
import secrets
from pathlib import Path

from jobs.errors import StoreError


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: beside its place, fsynced, then moved there; raises StoreError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        make_folder(path.parent)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        fsync_folder(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written: {error.strerror or error}; what was stored before is kept"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder and its parents, each fsynced into the one above; raises OSError."""
    if folder.exists():
        return  # where it is a file, opening what lies in it will say so
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    fsync_folder(folder.parent)


def fsync_folder(folder: Path) -> None:
    """Make the entries of a folder durable; raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_file(path: Path) -> bytes | None:
    """Read a file whole, or return None where no regular file is there; raises StoreError."""
    try:
        return path.read_bytes() if path.is_file() else None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; allowed: a file that you may read") from error


def names(folder: Path) -> list[str]:
    """List a folder in the order of the names; nothing where it is not there yet; raises StoreError."""
    try:
        return sorted(os.listdir(folder))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}; allowed: a folder that you may read") from error
