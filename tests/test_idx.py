"""IDX files: their content, and the message for each kind of damage."""

import gzip
import os
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from support.idx_files import idx_bytes

from mnist_core.data.idx import read_idx
from mnist_core.errors import DataError

IMAGES = np.arange(2 * 784, dtype=np.uint32).astype(np.uint8).reshape(2, 28, 28)
LABELS = np.array([7, 0, 9], np.uint8)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "file"
    path.write_bytes(content)
    return path


def test_images_are_read_as_read_only_rows_of_784(tmp_path: Path) -> None:
    images, _ = read_idx(written(tmp_path, idx_bytes(IMAGES)))
    np.testing.assert_array_equal(images, IMAGES.reshape(2, 784), strict=True)
    assert not images.flags.writeable


def test_gzip_is_detected_by_content_not_suffix(tmp_path: Path) -> None:
    zipped = written(tmp_path, gzip.compress(idx_bytes(LABELS)))
    plain = tmp_path / "file.gz"
    plain.write_bytes(idx_bytes(LABELS))
    assert read_idx(zipped)[0].tolist() == read_idx(plain)[0].tolist() == [7, 0, 9]


def test_the_digest_is_that_of_the_decompressed_bytes(tmp_path: Path) -> None:
    # printf '\0\0\10\1\0\0\0\3\7\0\11' | sha256sum
    digest = "f56856a625e570f4360ac2c5fa7df922347bd0f5294464e12ccb68d82c63b1f5"
    content = idx_bytes(LABELS)
    assert read_idx(written(tmp_path, content))[1] == digest
    assert read_idx(written(tmp_path, gzip.compress(content)))[1] == digest


def header(*sizes: int, element_type: int = 8) -> bytes:
    return struct.pack(f">HBB{len(sizes)}I", 0, element_type, len(sizes), *sizes)


ZIPPED = gzip.compress(idx_bytes(IMAGES), mtime=0)
DAMAGED = {
    "empty": (b"", "is empty"),
    "text": (b"label,pixel\n", "begins with the bytes 6c 61 62 65"),
    "three bytes": (b"\0\0\x08", "begins with the bytes 00 00 08;"),
    "little-endian": (b"\x03\x08\0\0" + bytes(12), "begins with the bytes 03 08 00 00"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "is a web page, probably a failed download"),
    "web page after a blank line": (b"\n<html>", "is a web page"),
    "gzipped web page": (gzip.compress(b"<html>404</html>"), "is a web page"),
    "float pixels": (header(2, 28, 28, element_type=0x0D) + bytes(6272), "has element type 0x0d; only 0x08"),
    "two dimensions": (header(2, 784) + bytes(1568), "has 2 dimensions"),
    "header cut": (header(2, 28, 28)[:10], "is truncated within its header"),
    "images of 32x32": (header(1, 32, 32) + bytes(1024), "has images of 32x32 pixels; only 28x28"),
    "a forged count": (header(2**32 - 1, 28, 28), "announces 4,294,967,295 elements; at most 1,000,000"),
    "too short": (idx_bytes(IMAGES)[:-1], "is truncated after 1,567 of the 1,568 bytes"),
    "too long": (idx_bytes(IMAGES) + b"\0", "goes on after the 1,568 bytes"),
    "gzip too long": (gzip.compress(idx_bytes(LABELS) + bytes(10)), "goes on after the 3 bytes"),
    "gzip truncated": (ZIPPED[: len(ZIPPED) // 2], "the gzip data ends too early"),
    "gzip without its end": (ZIPPED[:-1], "the gzip data ends too early"),
    "gzip header cut": (ZIPPED[:5], "the gzip data ends too early"),
    "gzip CRC": (ZIPPED[:-8] + bytes(4) + ZIPPED[-4:], "the gzip data is damaged"),
    "gzip stream": (ZIPPED[:10] + b"\xff" * 40, "the gzip data is damaged"),
    "gzip and garbage": (ZIPPED + b"garbage", "the gzip data is damaged"),
    "a label above 9": (idx_bytes(np.array([1, 2, 10, 11], np.uint8)), "has label 10 at index 2"),
}


@pytest.mark.parametrize(("content", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damage_is_described(tmp_path: Path, content: bytes, message: str) -> None:
    path = written(tmp_path, content)
    with pytest.raises(DataError) as caught:
        read_idx(path)
    assert str(caught.value).startswith(f"{path}: {message}")


@pytest.mark.medium
def test_a_gzip_bomb_is_not_decompressed(tmp_path: Path) -> None:
    bomb = gzip.compress(idx_bytes(LABELS) + bytes(200_000_000), compresslevel=1)
    tracemalloc.start()
    with pytest.raises(DataError, match="goes on after the 3 bytes"):
        read_idx(written(tmp_path, bomb))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2_000_000


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: cannot be read: No such file or directory"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match="below: cannot be read: Not a directory"):
        read_idx(written(tmp_path, b"") / "below")


def test_folders_and_fifos_are_refused_unopened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo"):
        with pytest.raises(DataError, match="is not a regular file"):
            read_idx(path)
