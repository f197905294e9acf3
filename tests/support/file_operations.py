"""Record the file operations that Python code makes below a folder, at the level of the system's calls."""

import builtins
import io
import os
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

from support.crash_points import Kind, Operation, Recording, read_disk


@contextmanager
def recorded(root: Path) -> Iterator["Recorder"]:
    """Record what is done below `root` until the end of the block; check that nothing escaped the record."""
    root.mkdir(parents=True, exist_ok=True)
    recorder = Recorder(root)
    with pytest.MonkeyPatch.context() as patch:
        for module, name, replacement in recorder.replacements():
            patch.setattr(module, name, replacement)
        yield recorder
    recorder.check()


class _RecordedFile(io.FileIO):
    """A file that notes what reaches the system, as it does; buffers lie above it."""

    note: Callable[[bytes, int], None]

    def write(self, data: Any, /) -> int:  # noqa: ANN401 - anything with a buffer
        offset = self.seek(0, os.SEEK_END) if "a" in self.mode else self.tell()
        count = super().write(data)
        self.note(bytes(data)[:count], offset)
        return count


class Recorder:
    """Stand in for the functions that reach the system, and note what they do below a folder."""

    def __init__(self, root: Path) -> None:
        self._root = os.path.realpath(root)
        before = read_disk(root)
        paths = [path for path, content in before.items() if content is not None]
        self.recording = Recording(before, {path: number for number, path in enumerate(paths)})
        self._files = dict(self.recording.files)
        self._next_file = len(paths)
        self._lock = threading.Lock()
        self._real: dict[str, Callable[..., Any]] = {
            name: getattr(os, name)
            for name in ("open", "write", "fsync", "replace", "link", "unlink", "mkdir", "rmdir", "ftruncate")
        }
        self._open = io.open

    def promise(self, what: set[str] | frozenset[str]) -> None:
        """Note that from here on a crash must not lose this."""
        self.recording.operations.append(Operation("promise", "", promised=frozenset(what)))

    def check(self) -> None:
        """Assert that the record gives what lies on the disk: that no operation went past it."""
        from support.crash_points import replay

        replayed = replay(self.recording, len(self.recording.operations), {})
        assert replayed == read_disk(Path(self._root)), "files were changed by calls that are not recorded"

    def replacements(self) -> list[tuple[Any, str, Callable[..., Any]]]:
        """List what stands in for what."""
        return [
            (io, "open", self._io_open),
            (builtins, "open", self._io_open),
            (os, "open", self._os_open),
            (os, "write", self._os_write),
            (os, "fsync", self._fsync),
            (os, "fdatasync", self._fsync),
            (os, "replace", self._replace),
            (os, "rename", self._replace),
            (os, "link", self._link),
            (os, "unlink", self._unlink),
            (os, "remove", self._unlink),
            (os, "mkdir", self._mkdir),
            (os, "rmdir", self._rmdir),
            (os, "ftruncate", self._ftruncate),
        ]

    def _below(self, path: Any) -> str | None:  # noqa: ANN401 - whatever os takes for a path
        """Give a path relative to the root, or None where it is not below it."""
        if isinstance(path, int):
            path = os.readlink(f"/proc/self/fd/{path}")
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        relative = os.path.relpath(os.path.join(os.path.realpath(folder), name), self._root)
        return None if relative.startswith("..") else relative

    def _note(self, kind: Kind, path: str, **details: Any) -> None:  # noqa: ANN401 - the fields of Operation
        with self._lock:
            self.recording.operations.append(Operation(kind, path, **details))

    def _opened(self, path: str, existed: bool, truncated: bool) -> None:
        if not existed:
            self._files[path] = self._next_file
            self._next_file += 1
            self._note("create", path, file=self._files[path])
        elif truncated:
            self._note("truncate", path, file=self._files[path])

    def _io_open(self, file: Any, mode: str = "r", *rest: Any, **options: Any) -> IO[Any]:  # noqa: ANN401
        path = None if isinstance(file, int) else self._below(file)
        if path is None or not set(mode) & set("wax+"):
            return self._open(file, mode, *rest, **options)
        assert "+" not in mode, "reading and writing at once is not modelled"
        existed = os.path.exists(file)
        raw = _RecordedFile(file, mode.replace("b", "").replace("t", ""))
        self._opened(path, existed, "w" in mode)
        number = self._files[path]
        raw.note = lambda data, offset: self._note("write", path, file=number, data=data, offset=offset)
        if "b" in mode:
            return raw if options.get("buffering", rest[0] if rest else -1) == 0 else io.BufferedWriter(raw)
        return io.TextIOWrapper(io.BufferedWriter(raw), options.get("encoding"))

    def _os_open(self, path: Any, flags: int, *rest: Any, **options: Any) -> int:  # noqa: ANN401
        below = self._below(path)
        existed = os.path.lexists(path)
        descriptor: int = self._real["open"](path, flags, *rest, **options)
        if below is not None and flags & (os.O_CREAT | os.O_TRUNC):
            self._opened(below, existed, bool(flags & os.O_TRUNC))
        return descriptor

    def _os_write(self, descriptor: int, data: Any) -> int:  # noqa: ANN401 - anything with a buffer
        path = self._below(descriptor) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        offset = os.lseek(descriptor, 0, os.SEEK_CUR) if path is not None else 0
        count: int = self._real["write"](descriptor, data)
        if path is not None:
            self._note("write", path, file=self._files[path], data=bytes(data)[:count], offset=offset)
        return count

    def _ftruncate(self, descriptor: int, length: int) -> None:
        self._real["ftruncate"](descriptor, length)
        path = self._below(descriptor)
        if path is not None:
            self._note("truncate", path, file=self._files[path], offset=length)

    def _fsync(self, file: Any) -> None:  # noqa: ANN401 - a descriptor, or what has one
        descriptor = file if isinstance(file, int) else file.fileno()
        self._real["fsync"](descriptor)
        path = self._below(descriptor)
        if path is not None and os.path.isdir(f"/proc/self/fd/{descriptor}"):
            self._note("fsync folder", path)
        elif path is not None:
            self._note("fsync", path, file=self._files[path])

    def _replace(self, source: Any, target: Any) -> None:  # noqa: ANN401 - paths
        old, new = self._below(source), self._below(target)
        self._real["replace"](source, target)
        if old is not None and new is not None:
            self._files[new] = self._files.pop(old)
            self._note("rename", old, file=self._files[new], target=new)

    def _link(self, source: Any, target: Any) -> None:  # noqa: ANN401 - paths
        old, new = self._below(source), self._below(target)
        self._real["link"](source, target)
        if old is not None and new is not None:
            self._files[new] = self._files[old]
            self._note("link", new, file=self._files[new])

    def _unlink(self, path: Any, **options: Any) -> None:  # noqa: ANN401
        below = self._below(path)
        self._real["unlink"](path, **options)
        if below is not None:
            self._files.pop(below, None)
            self._note("unlink", below)

    def _mkdir(self, path: Any, *rest: Any, **options: Any) -> None:  # noqa: ANN401
        self._real["mkdir"](path, *rest, **options)
        below = self._below(path)
        if below is not None:
            self._note("mkdir", below)

    def _rmdir(self, path: Any, **options: Any) -> None:  # noqa: ANN401
        below = self._below(path)
        self._real["rmdir"](path, **options)
        if below is not None:
            self._note("rmdir", below)
