"""Download files over HTTP into a folder: mirrors in turn, resumed, checked, and moved into place whole."""

import fcntl
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from mnist_core.data.idx import read_idx_and_digest
from mnist_core.errors import DataError, DownloadError

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

Progress = Callable[[str, int, int | None], None]  # file name, bytes so far, bytes in all if known

_TIMEOUT_S = 30.0  # for the connection and for each read
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
    """Download those IDX files that the folder lacks, given as name -> sha256 of the decompressed bytes.

    A file that is there is neither checked nor replaced. Raises DownloadError where no mirror delivers.
    """
    for mirror in mirrors:
        if not mirror.startswith(("http://", "https://")):
            raise DownloadError(f"mirror {mirror!r}: is no web address; it begins with http:// or https://")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            # Only now: another process may have downloaded while this one waited for the lock.
            for name in [name for name in files if not (folder / name).exists()]:
                _try_mirrors(folder / name, files[name], mirrors, progress, max_file_bytes)
    except OSError as error:
        raise DownloadError(f"{folder}: cannot be written: {error}; set $MNISTJOBS_DATA_DIR") from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time into the folder; the lock file is gone afterwards."""
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
        # Whoever held it before us removed the file, and a lock on a removed file keeps nobody out.
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
    advice = "set $MNISTJOBS_DATA_DIR to a folder that holds it, or name another address with --mirror URL"
    raise DownloadError(f"{target.name}: no mirror delivered it; {advice}{''.join(reasons)}")


def _download_and_check(url: str, partial: Path, digest: str, progress: Progress | None, max_bytes: int) -> None:
    """Bring the partial file to its end and check it; a damaged one is removed, an interrupted one kept."""
    resumed = partial.exists()
    try:
        _transfer(url, partial, progress, max_bytes)
        found = read_idx_and_digest(partial)[1]
        if found != digest:
            raise DataError(f"the sha256 of its decompressed bytes is {found}; {digest} is expected")
    except DataError:
        partial.unlink(missing_ok=True)
        if not resumed:
            raise
        # What was there may have come from another mirror or an older file: once more, from nothing.
        _download_and_check(url, partial, digest, progress, max_bytes)


def _transfer(url: str, partial: Path, progress: Progress | None, max_bytes: int) -> None:
    """Append to the partial file what it still lacks, or write it anew where the server sends all."""
    start = partial.stat().st_size if partial.exists() else 0
    request = Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        response = urlopen(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        error.close()
        if start and error.code == 416:  # nothing after `start`: the file may be complete
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
        raise ConnectionError(f"the connection ended after {done:,} of {total:,} bytes; run again to go on")


def _move_into_place(partial: Path, target: Path) -> None:
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(target)
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(error: Exception) -> str:
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    return str(error.reason if isinstance(error, URLError) else error) or type(error).__name__
