"""Quarantine: the folder for damaged parts, so that each is reported once and its bytes stay available."""

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

import pyarrow as pa

from jobs.errors import DamagedPartWarning, ForeignPartWarning
from jobs.store.atomic_files import fsync_folder, list_dir, make_folder, read_file, seconds_since_changed
from jobs.store.layout import Store, weights_path
from jobs.store.parts import decode_part, foreign_version, part_name
from jobs.store.schemas import PART
from mnist_core.paths import describe_missing

GROWING_S = 60.0  # a damaged file that was modified more recently may be a copy that has not ended
_MOVED = re.compile(r"[0-9a-f]{64}\.(parquet|safetensors)(\.\d+)?")  # the name of a quarantined file
_CONSEQUENCE = "trials that no other part holds count as missing"


def describe_unusable(store: Store, names: Iterable[str]) -> list[UserWarning]:
    """Explain why parts are not used; nothing is written or moved.

    Args:
        store: the store.
        names: of parts that were read as unusable.

    Returns:
        A DamagedPartWarning for each damaged part, and one ForeignPartWarning for all parts of other versions.

    Raises:
        StoreError: a part exists and cannot be read.
    """
    return _describe(store, names, may_move=False)


def set_aside(store: Store, names: Iterable[str]) -> list[UserWarning]:
    """Move damaged parts to the quarantine, and explain why parts are not used, as `describe_unusable` does.

    Parts of another version stay in place, and so does what is not a file, and a file that may still be growing. A
    store that cannot be written is left unchanged.

    Raises:
        StoreError: a part exists and cannot be read.
    """
    return _describe(store, names, may_move=True)


def _describe(store: Store, names: Iterable[str], may_move: bool) -> list[UserWarning]:
    found: list[UserWarning] = []
    foreign: dict[str, str] = {}  # versions by name
    for name in sorted(names):
        path = store.parts / name
        mode = _mode(path)
        if mode is None:
            continue  # another process has moved it, or a compaction has merged it
        content = read_file(path) if S_ISREG(mode) else None
        named_rightly = content if content is not None and part_name(content) == name else None
        if not S_ISREG(mode):
            found.append(_other_than_a_file(path, mode))
        elif named_rightly and decode_part(named_rightly, PART.names) is not None:
            message = f"part {name} was incomplete when it was read and is whole now; read the store again"
            found.append(DamagedPartWarning(message))
        elif named_rightly and (version := foreign_version(named_rightly)):
            foreign[name] = version
        elif warning := _move(store, name) if may_move else _left_in_place(name):
            found.append(warning)
    return [*found, *_other_versions(store, foreign)]


def _mode(path: Path) -> int | None:
    """Return what a path is, without following links, or None where it does not exist."""
    try:
        return path.lstat().st_mode
    except OSError:
        return None


def _other_than_a_file(path: Path, mode: int) -> UserWarning:
    kind = "a link" if S_ISLNK(mode) else "a folder" if S_ISDIR(mode) else "a device or pipe"
    found = describe_missing(path).removeprefix("is ") or kind
    return DamagedPartWarning(
        f"part {path.name} is damaged: {found}, where a file is allowed; {_CONSEQUENCE}. It is not moved: remove it"
    )


def _left_in_place(name: str) -> UserWarning:
    return DamagedPartWarning(f"part {name} is damaged, or still being copied; it is ignored, and {_CONSEQUENCE}")


def _move(store: Store, name: str) -> UserWarning | None:
    """Move a damaged part to the quarantine, unless it may still be growing; None where another process was faster."""
    path = store.parts / name
    try:
        if seconds_since_changed(path, store.parts) < GROWING_S:
            return _left_in_place(name)
        moved = _rename_into(store.quarantine, path)
    except FileNotFoundError:
        return None
    except OSError as error:
        return DamagedPartWarning(
            f"part {name} is damaged and ignored; {_CONSEQUENCE}. "
            f"It cannot be moved to {store.quarantine}: {error.strerror or error}"
        )
    return DamagedPartWarning(f"part {name} is damaged; it has been moved to {moved}, and {_CONSEQUENCE}")


def set_aside_weights(store: Store, sha256: str) -> str:
    """Move a damaged file of weights to the quarantine, so that its trials count as missing; describe its state.

    A file that may still be growing stays in place, and so does every file of a store that cannot be written.
    """
    path = weights_path(store, sha256)
    try:
        if seconds_since_changed(path, store.weights) < GROWING_S:
            return "are damaged, or still being copied"
        return f"are damaged; the file has been moved to {_rename_into(store.quarantine, path)}"
    except OSError as error:
        return f"are damaged; the file cannot be moved to {store.quarantine}: {error.strerror or error}"


def _rename_into(folder: Path, path: Path) -> Path:
    """Move a file to a folder under a name that is not in use there; raises OSError."""
    make_folder(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise NotADirectoryError(None, "it is not a folder of the store")
    for suffix in chain([""], map(".{}".format, count(1))):
        target = folder / f"{path.name}{suffix}"
        try:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # a rename would replace an existing file
        except FileExistsError:
            continue
        break
    try:
        path.replace(target)
    except OSError:
        target.unlink(missing_ok=True)
        raise
    for changed in (folder, path.parent):
        with suppress(OSError):  # if a crash undoes the move, the next command repeats it
            fsync_folder(changed)
    return target


def _other_versions(store: Store, versions: dict[str, str]) -> list[UserWarning]:
    """Make one warning of all parts of other versions."""
    if not versions:
        return []
    first, is_one = min(versions), len(versions) == 1
    parts = f"part {first} was" if is_one else f"{len(versions)} parts, such as {first}, were"
    ignored = "it is ignored" if is_one else "they are ignored"
    wrote = ", ".join(sorted(set(versions.values())))
    return [
        ForeignPartWarning(
            f"{store.parts}: {parts} written by another version of mnistjobs ({wrote}), and {ignored}; "
            "read this store with that version, or use another store"
        )
    ]


def describe_quarantine(store: Store) -> list[str]:
    """Describe each file in the quarantine, one sentence each; raises StoreError."""
    return [f"{store.quarantine / name} {_state(store, name)}" for name in _quarantined(store)]


def _quarantined(store: Store) -> list[str]:
    """List the files that were moved to the quarantine; others that lie there are not the store's."""
    return [name for name in list_dir(store.quarantine) if _MOVED.fullmatch(name)]


def _state(store: Store, name: str) -> str:
    if ".safetensors" in name:
        return "is a damaged file of weights that is not used; it can be removed"
    if _whole_part(store, name) is not None:
        return f"is a whole part; move it back to {store.parts}"
    return "is a damaged part that is not used; it can be removed"


def quarantined_hashes(store: Store) -> list[str]:
    """Return the hashes of the weights that whole parts in the quarantine name; raises StoreError."""
    parts = (_whole_part(store, name) for name in _quarantined(store))
    return [sha256 for rows in parts if rows is not None for sha256 in rows["weights_sha256"].to_pylist()]


def _whole_part(store: Store, name: str) -> pa.Table | None:
    """Read a file in the quarantine, or return None where it is damaged; raises StoreError."""
    path = store.quarantine / name
    content = read_file(path) if S_ISREG(_mode(path) or 0) else None
    if content is None or part_name(content) != f"{name.partition('.parquet')[0]}.parquet":
        return None
    return decode_part(content, PART.names)
