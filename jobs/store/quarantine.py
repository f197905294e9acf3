"""Quarantine: where damaged parts are put, so that they are warned of once and whoever wants to can look at them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from stat import S_ISDIR, S_ISLNK, S_ISREG

from jobs.errors import DamagedPartWarning, ForeignPartWarning, StoreError
from jobs.store.atomic_files import fsync_folder, make_folder, names, read_file
from jobs.store.part_bytes import decode_part, part_name, writer_version
from jobs.store.parts import Store
from jobs.store.schemas import PART

_CONSEQUENCE = "trials that no other part holds are missing, and `mnistjobs submit` trains them again"


def set_aside(store: Store, unusable: Iterable[str]) -> list[UserWarning]:
    """Move the damaged ones of these parts to the quarantine, and say of every part why it is not used.

    Parts that another version of mnistjobs wrote stay, and so does what is no file: a link or a folder is not ours to
    move. A store that cannot be written to is left as it is. Raises StoreError where a part cannot be read.
    """
    found: list[UserWarning] = []
    foreign: dict[str, str] = {}  # versions by name
    for name in sorted(unusable):
        path = store.parts / name
        if not _is_file(path):
            found.extend(_say_what_it_is(path))
            continue
        content = read_file(path)
        is_named_rightly = content is not None and part_name(content) == name
        if content is not None and is_named_rightly and (version := writer_version(content)):
            foreign[name] = version
        else:
            found.extend(_move(store, name))
    if foreign:
        found.append(_other_version(store, foreign))
    return found


def _is_file(path: Path) -> bool:
    try:
        return S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _say_what_it_is(path: Path) -> Iterator[UserWarning]:
    with suppress(OSError):  # it has gone, to the quarantine or into another part
        mode = path.lstat().st_mode
        kind = "link" if S_ISLNK(mode) else "folder" if S_ISDIR(mode) else "device or pipe"
        yield DamagedPartWarning(
            f"part {path.name} is damaged: a {kind}, where a file is allowed; {_CONSEQUENCE}. "
            "It stays where it is: remove it"
        )


def _move(store: Store, name: str) -> Iterator[UserWarning]:
    """Move a part that was read as damaged; nothing happens where another reader was faster."""
    try:
        place = _rename_into(store.quarantine, store.parts / name)
    except FileNotFoundError:
        return
    except OSError as error:
        yield DamagedPartWarning(
            f"part {name} is damaged and ignored; {_CONSEQUENCE}. "
            f"It cannot be moved to {store.quarantine}: {error.strerror or error}"
        )
        return
    if _take_back(store, name, place):
        yield DamagedPartWarning(f"part {name} was read as damaged and then as whole: run the command again")
    else:
        yield DamagedPartWarning(f"part {name} is damaged; it is in {place} now, and {_CONSEQUENCE}")


def _rename_into(folder: Path, path: Path) -> Path:
    """Move a file to a folder under a name that is free there; raises OSError."""
    make_folder(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise NotADirectoryError(None, "it is no folder of the store")
    for suffix in chain([""], map(".{}".format, count(1))):
        place = folder / f"{path.name}{suffix}"
        try:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL))  # a rename would replace what is there
        except FileExistsError:
            continue
        break
    try:
        path.replace(place)
    except OSError:
        place.unlink(missing_ok=True)
        raise
    for changed in (folder, path.parent):
        with suppress(OSError):  # should the move be lost, the next reader makes it again
            fsync_folder(changed)
    return place


def _take_back(store: Store, name: str, place: Path) -> bool:
    """Move a part back that is whole after all: written anew between reading and moving, or misread."""
    with suppress(OSError, StoreError):
        content = read_file(place)
        if content is not None and part_name(content) == name and decode_part(content, PART.names) is not None:
            place.replace(store.parts / name)
            fsync_folder(store.parts)
            return True
    return False


def _other_version(store: Store, versions: dict[str, str]) -> UserWarning:
    wrote = ", ".join(sorted(set(versions.values())))
    return ForeignPartWarning(
        f"{store.parts}: {len(versions)} parts, such as {min(versions)}, were written by another version of mnistjobs "
        f"({wrote}) and are ignored; read them with that version"
    )


def quarantined(store: Store) -> list[str]:
    """Name what lies in the quarantine, and of each whether it is damaged; raises StoreError."""
    return [f"{store.quarantine / name} {_state(store, name)}" for name in names(store.quarantine)]


def _state(store: Store, name: str) -> str:
    path = store.quarantine / name
    stem = name.partition(".parquet")[0]
    content = read_file(path) if _is_file(path) else None
    if content is not None and part_name(content) == f"{stem}.parquet" and decode_part(content, PART.names) is not None:
        return f"is a whole part; move it back to {store.parts}"
    return "is a damaged part that nothing reads; remove it when you need it no more"
