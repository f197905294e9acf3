"""Download files over HTTP: try mirrors in turn, resume partial files, check digests, rename complete files."""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mnist_core.data.idx import read_idx
from mnist_core.errors import DataError, DownloadError, NoMirrorDelivered

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

Progress = Callable[[str, int, int | None], None]  # file name, bytes so far, total bytes or None

_TIMEOUT_S = 30.0  # to connect, and for each read
_CHUNK_BYTES = 1 << 16
_MAX_FILE_BYTES = 64 << 20


def download(
    files: Mapping[str, str],
    folder: Path,
    *,
    mirrors: Sequence[str] = MIRRORS,
    progress: Progress | None = None,
    max_file_bytes: int = _MAX_FILE_BYTES,
) -> None:
    """Download the IDX files that are missing from a folder.

    Existing files are neither checked nor replaced. One process downloads at a time; others wait for it.

    Args:
        files: File name -> sha256 of the decompressed bytes, in hexadecimal.
        folder: Where to write; created if it does not exist.
        mirrors: Addresses of the folders that hold the files, in the order in which to try them.
        progress: Called with the file name, the bytes downloaded so far and the total, or None if it is unknown.
        max_file_bytes: Limit on the size of each file, in bytes as transferred.

    Raises:
        DownloadError: The folder cannot be written, or a mirror is not a web address.
        NoMirrorDelivered: No mirror delivered one of the files intact.
    """
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise DownloadError(f"mirror {mirror!r}: is not a web address; it must begin with http:// or https://")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            # Listed inside the lock: another process may have downloaded files while this one waited.
            for name in [name for name in files if not (folder / name).exists()]:
                _try_mirrors(folder / name, files[name], mirrors, progress, max_file_bytes)
    except OSError as error:
        raise DownloadError(f"{folder}: cannot be written: {error}; set $MNISTJOBS_DATA_DIR") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Lock the folder against other processes; the lock file is removed on exit."""
    path = folder / ".lock"
    descriptor = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # The previous owner may have removed the file; a lock on a removed file excludes nobody.
        if _is_same_file(descriptor, path):
            return descriptor
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _try_mirrors(target: Path, digest: str, mirrors: Sequence[str], progress: Progress | None, max_bytes: int) -> None:
    partial = target.with_name(f"{target.name}.partial")
    reasons = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{target.name}"
        try:
            _download_and_check(url, partial, digest, progress, max_bytes)
        except (DataError, HTTPException, OSError, ValueError) as error:
            reasons.append(f"\n  {url}: {_reason(error).removeprefix(f'{partial}: ')}")
        else:
            _move_into_place(partial, target)
            return
    advice = "set $MNISTJOBS_DATA_DIR to a folder that holds it, or use another mirror"
    raise NoMirrorDelivered(f"{target.name}: no mirror delivered it; {advice}{''.join(reasons)}")


def _download_and_check(url: str, partial: Path, digest: str, progress: Progress | None, max_bytes: int) -> None:
    """Complete the partial file and check it: delete it if it is damaged, keep it if the transfer was interrupted."""
    resumed = partial.exists()
    try:
        _transfer(url, partial, progress, max_bytes)
        found = read_idx(partial)[1]
        if found != digest:
            raise DataError(f"the sha256 of its decompressed bytes is {found}; {digest} is expected")
    except DataError:
        partial.unlink(missing_ok=True)
        if not resumed:
            raise
        # The existing part may come from another mirror or another version of the file: start again from nothing.
        _download_and_check(url, partial, digest, progress, max_bytes)


def _transfer(url: str, partial: Path, progress: Progress | None, max_bytes: int) -> None:
    """Append the missing bytes to the partial file, or rewrite it if the server sends the whole file."""
    start = partial.stat().st_size if partial.exists() else 0
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urlopen(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if start and error.code == 416:  # there are no bytes after `start`: the file may be complete
            return
        raise
    with response, partial.open("ab" if response.status == 206 else "wb") as file:
        done = file.tell()
        total = None if response.length is None else done + response.length
        while chunk := response.read(_CHUNK_BYTES):
            done += len(chunk)
            if max(done, total or 0) > max_bytes:
                raise DataError(f"is larger than the {max_bytes:,} bytes allowed")
            file.write(chunk)
            if progress:
                progress(partial.stem, done, total)
    if total is not None and done < total:
        raise ConnectionError(
            f"the connection ended after {done:,} of {total:,} bytes; the next download resumes there"
        )


def _move_into_place(partial: Path, target: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    _fsync_folder(target.parent)


def _fsync_folder(folder: Path) -> None:
    """Make a rename durable; on some network and FUSE file systems (EINVAL, ENOTSUP) nothing more can be done."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
