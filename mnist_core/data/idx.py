"""Read IDX files of 28x28 images or of labels, gzipped or not, without trusting their headers.

Shapes: N images or labels, D 784 pixels. The format is described at http://yann.lecun.com/exdb/mnist/
"""

import gzip
import hashlib
import math
import os
import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from io import BufferedIOBase
from pathlib import Path

import numpy as np
import numpy.typing as npt

from mnist_core.errors import DataError
from mnist_core.paths import describe_missing

UInt8Array = npt.NDArray[np.uint8]

SIDE = 28  # pixels
_GZIP = b"\x1f\x8b"
_MAX_POINTER_BYTES = 300  # of a small text file in place of the data
_UBYTE = 0x08
_MAX_LABEL = 9
_MAX_COUNT = 1_000_000  # limits the memory that a forged header can request


def read_idx(path: Path) -> tuple[UInt8Array, str]:
    """Read an IDX file and hash its content.

    Args:
        path: The file, gzipped or not, whatever its suffix.

    Returns:
        The read-only array, (N, D) for images and (N,) for labels, and the sha256 of the decompressed bytes in
        hexadecimal.

    Raises:
        DataError: The file is missing, damaged, or not an IDX file of 28x28 images or of labels 0 to 9.
    """
    with _open_content(path) as content:
        magic = content.read(4)
        if magic[:2] != b"\0\0":
            raise DataError(f"{path}: {_describe_other(magic + content.read(_MAX_POINTER_BYTES))}")
        sizes = content.read(4 * _dimensions(path, magic))
        shape = _shape(path, magic, sizes)
        expected = math.prod(shape)
        # Reading one byte more than announced detects a file that is too long, and makes gzip check its CRC.
        body = content.read(expected + 1)
    if len(body) != expected:
        problem = f"is truncated after {len(body):,} of" if len(body) < expected else "goes on after"
        raise DataError(f"{path}: {problem} the {expected:,} bytes that its header announces; replace it")
    array = np.frombuffer(body, np.uint8).reshape(shape)
    if array.ndim == 1:
        _check_labels(path, array)
    digest = hashlib.sha256(magic + sizes)
    digest.update(body)
    return array, digest.hexdigest()


@contextmanager
def _open_content(path: Path) -> Iterator[BufferedIOBase]:
    """Open a file, decompressing it if it is gzipped; raise DataError if it cannot be read."""
    if link := describe_missing(path):
        fetch = "; fetch it with `git annex get`" if "annex/objects" in link else "; replace it"
        raise DataError(f"{path}: {link}{fetch}")
    if os.path.exists(path) and not os.path.isfile(path):
        raise DataError(f"{path}: is not a regular file; an IDX file is expected")
    try:
        with path.open("rb") as file:
            # Checked by content: browsers and servers decompress files without changing their names.
            is_gzip = file.peek(2)[:2] == _GZIP
            with gzip.GzipFile(fileobj=file) if is_gzip else nullcontext(file) as content:
                yield content
    except EOFError:
        raise DataError(f"{path}: the gzip data ends too early; the file is truncated, replace it") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: the gzip data is damaged ({error}); replace it") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def looks_like_idx(path: Path) -> bool:
    """Return whether a file begins as IDX files do, gzipped or not."""
    try:
        with path.open("rb") as file:
            return os.path.isfile(path) and file.read(2) in (b"\0\0", _GZIP)
    except OSError:
        return False


def _describe_other(start: bytes) -> str:
    """Describe a file that is no IDX file by its first bytes, and what to do about it."""
    if start.lstrip().startswith(b"<"):
        return "is a web page, probably a failed download; replace it with the IDX file"
    if start.startswith(b"version https://git-lfs.github.com/"):
        size = re.search(rb"size (\d{1,15})", start)
        whole = f", which has {int(size[1]):,} bytes" if size else ""
        return f"is a pointer of Git LFS to the file{whole}; fetch it with `git lfs pull`"
    if b"/annex/objects/" in start:
        return "is a pointer of git-annex to the file; fetch it with `git annex get`"
    if start.startswith(b"PK\x03\x04"):
        return "is a zip archive; unpack it"
    found = f"begins with the bytes {start[:4].hex(' ')}" if start else "is empty"
    return f"{found}; IDX images begin with 00 00 08 03, labels with 00 00 08 01"


def _dimensions(path: Path, magic: bytes) -> int:
    """Read the number of dimensions from the first four bytes: 3 for images, 1 for labels."""
    if len(magic) < 4:
        raise DataError(f"{path}: {_describe_other(magic)}")
    if magic[2] != _UBYTE:
        raise DataError(f"{path}: has element type 0x{magic[2]:02x}; only 0x08 (unsigned byte) is allowed")
    if magic[3] not in (1, 3):
        raise DataError(f"{path}: has {magic[3]} dimensions; images have 3, labels have 1")
    return magic[3]


def _shape(path: Path, magic: bytes, sizes: bytes) -> tuple[int, ...]:
    """Read the array's shape from the header: (N, D) or (N,)."""
    if len(sizes) != 4 * magic[3]:
        raise DataError(f"{path}: is truncated within its header; replace it")
    count, *sides = struct.unpack(f">{magic[3]}I", sizes)
    if sides not in ([], [SIDE, SIDE]):
        raise DataError(f"{path}: has images of {sides[0]}x{sides[1]} pixels; only {SIDE}x{SIDE} is allowed")
    if count > _MAX_COUNT:
        raise DataError(f"{path}: announces {count:,} elements; at most {_MAX_COUNT:,} are allowed")
    return (count, SIDE * SIDE) if sides else (count,)


def _check_labels(path: Path, labels: UInt8Array) -> None:
    above = np.flatnonzero(labels > _MAX_LABEL)
    if above.size:
        value, index = labels[above[0]], above[0]
        raise DataError(f"{path}: has label {value} at index {index}; labels are 0 to {_MAX_LABEL}")
