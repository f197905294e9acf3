"""Every state in which a crash can leave a folder, from the file operations that a protocol makes.

In the manner of SQLite's crash tests: operations are recorded beneath our functions, as the system sees them, and
replayed on a model of a disk that keeps no more than it must. What is written is durable once its file is fsynced, a
new, moved or deleted name once its folder is; until then each may be lost, torn or garbage, alone or with others.
"""

import hashlib
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal

Kind = Literal[
    "create", "write", "truncate", "fsync", "rename", "link", "unlink", "mkdir", "rmdir", "fsync folder", "promise"
]
Fault = Literal["lost", "torn", "garbage", "under both names"]
Disk = dict[str, bytes | None]  # by path below the root; a folder has no content
ENTRIES = ("create", "rename", "link", "unlink", "mkdir", "rmdir")  # what changes the names in a folder


@dataclass(frozen=True)
class Operation:
    """One thing that the system was asked for."""

    kind: Kind
    path: str  # below the root
    file: int = -1  # which file it is, whatever its name
    data: bytes = b""
    offset: int = 0
    target: str = ""  # of a rename
    promised: frozenset[str] = frozenset()  # what has to last from here on

    def __str__(self) -> str:
        return f"{self.kind} {self.path}" + (f" to {self.target}" if self.target else "")


@dataclass
class Recording:
    """What lay on the disk before, and what was done to it since."""

    before: Disk
    files: dict[str, int]  # by path
    operations: list[Operation] = field(default_factory=list)

    def promised(self, count: int) -> frozenset[str]:
        """Return all that was promised within so many operations."""
        return frozenset().union(*(operation.promised for operation in self.operations[:count]))

    def versions(self) -> dict[str, set[bytes | None]]:
        """Give every content that a name was ever meant to have: from before, and when a file was moved there."""
        found: dict[str, set[bytes | None]] = {path: {content} for path, content in self.before.items()}
        for count, operation in enumerate(self.operations, start=1):
            if operation.kind in ("rename", "link", "mkdir", "create"):
                name = operation.target or operation.path
                found.setdefault(name, set()).add(replay(self, count, {})[name])
        return found


@dataclass(frozen=True)
class CrashPoint:
    """A moment, and what became of the operations that were not durable by then."""

    count: int  # operations done
    faults: Mapping[int, Fault]
    name: str


def replay(recording: Recording, count: int, faults: Mapping[int, Fault]) -> Disk:
    """Return what lies on the disk after so many operations, of which some fared ill."""
    contents = {recording.files[path]: bytes(recording.before[path] or b"") for path in recording.files}
    names: dict[str, int | None] = {path: recording.files.get(path) for path in recording.before}
    for place, operation in enumerate(recording.operations[:count]):
        fault = faults.get(place)
        if operation.kind in ENTRIES:
            _change_names(names, operation, fault)
        if operation.kind == "create":
            contents.setdefault(operation.file, b"")
        elif operation.kind == "write":
            contents[operation.file] = _written(contents[operation.file], operation, fault)
        elif operation.kind == "truncate" and fault != "lost":
            contents[operation.file] = contents[operation.file][: operation.offset]
    # A file that lies in a folder that was lost is lost.
    found = {path: file for path, file in names.items() if all(str(up) in names for up in _folders_of(path))}
    return {path: None if file is None else contents[file] for path, file in found.items()}


def _change_names(names: dict[str, int | None], operation: Operation, fault: Fault | None) -> None:
    if fault == "lost":
        return
    if operation.kind == "rename":
        if fault != "under both names":
            names.pop(operation.path, None)
        names[operation.target] = operation.file
    elif operation.kind in ("unlink", "rmdir"):
        names.pop(operation.path, None)
    else:
        names[operation.path] = operation.file if operation.kind in ("create", "link") else None


def _written(content: bytes, operation: Operation, fault: Fault | None) -> bytes:
    if fault == "lost":
        return content
    data = operation.data
    if fault == "torn":
        data = data[: len(data) // 2]
    elif fault == "garbage":
        data = random.Random(len(data)).randbytes(len(data))
    padded = content.ljust(operation.offset, b"\0")
    return padded[: operation.offset] + data + padded[operation.offset + len(data) :]


def _folders_of(path: str) -> list[PurePosixPath]:
    return list(PurePosixPath(path).parents)[:-1]


def crash_points(recording: Recording) -> Iterator[CrashPoint]:
    """Enumerate the crashes: at every moment, each pending operation with each fault, alone, and together."""
    operations = recording.operations
    for count in range(len(operations) + 1):
        if count and operations[count - 1].kind == "promise":
            continue  # not a moment on the disk
        pending = _pending(operations, count)
        names = [place for place in pending if operations[place].kind in ENTRIES]
        yield CrashPoint(count, {}, "killed")
        for place in pending:
            for fault in _faults_of(operations[place]):
                yield CrashPoint(count, {place: fault}, f"{operations[place]} {fault}")
        if len(pending) > 1:
            yield CrashPoint(count, dict.fromkeys(pending, "lost"), "all that is pending lost")
            for place in pending:
                others: dict[int, Fault] = {other: "lost" for other in pending if other != place}
                yield CrashPoint(count, others, f"all that is pending lost but {operations[place]}")
        if len(names) > 1:
            yield CrashPoint(count, dict.fromkeys(names, "lost"), "all names that are pending lost")


def _pending(operations: Sequence[Operation], count: int) -> list[int]:
    """Find the operations that need not have reached the disk yet."""
    return [place for place in range(count) if not _is_durable(operations[place], operations[place + 1 : count])]


def _is_durable(operation: Operation, later: Sequence[Operation]) -> bool:
    if operation.kind in ("write", "truncate"):
        return any(other.kind == "fsync" and other.file == operation.file for other in later)
    if operation.kind in ENTRIES:
        synced = {other.path for other in later if other.kind == "fsync folder"}
        changed = {str(PurePosixPath(path).parent) for path in (operation.path, operation.target or operation.path)}
        return changed <= synced
    return True


def _faults_of(operation: Operation) -> tuple[Fault, ...]:
    if operation.kind == "write":
        return ("lost", "torn", "garbage")
    return ("lost", "under both names") if operation.kind == "rename" else ("lost",)


def read_disk(root: Path) -> Disk:
    """Read all that lies below a folder."""
    paths = sorted(root.rglob("*"))
    return {path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes() for path in paths}


def write_disk(root: Path, disk: Disk) -> None:
    """Lay out on a real disk what a crash has left."""
    root.mkdir(parents=True)
    for path, content in sorted(disk.items()):
        if content is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(content)


def digest(disk: Disk) -> str:
    """Tell one disk from another."""
    hashed = hashlib.sha256()
    for path, content in sorted(disk.items()):
        hashed.update(repr((path, None if content is None else hashlib.sha256(content).digest())).encode())
    return hashed.hexdigest()
