"""Pictures of test images, where the dataset is at hand: a report neither fails for them nor waits long.

Shapes: N test images, D 784 pixels.
"""

import base64
import io
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from mnist_core.data import SIDE, DatasetInfo, read_test_images
from mnist_core.errors import DigestMismatch

Images = NDArray[np.uint8]  # (N, D)

_TIMEOUT_S = 10.0  # for a disk or a network that does not answer
_MAX_IMAGES = 300_000  # of a dataset: a folder is read as a whole, to tell whether it is still the same
_BLOCK = re.compile(b"<!-- pictures -->.*?<!-- /pictures -->", re.DOTALL)  # of a page, with or without pictures
_LIST = b'<ol class="hardest"'


class _TooLarge(Exception):
    """A dataset that would take a report too long to read."""


@dataclass(frozen=True)
class Pictures:
    """Pictures as data URLs, in the order in which they were asked for; else why there are none."""

    urls: Sequence[str] = ()
    reason: str = ""


def begin_reading(dataset: DatasetInfo, read: Callable[[DatasetInfo], Images] = read_test_images) -> Future[Images]:
    """Read the test images of a dataset in a thread, while other things are drawn.

    Args:
        dataset: The dataset as it was when the job was submitted.
        read: Returns its test images.
    """
    reading: Future[Images] = Future()
    if dataset.train_size + dataset.validation_size + dataset.test_size > _MAX_IMAGES:
        reading.set_exception(_TooLarge())
        return reading

    def fill() -> None:
        try:
            reading.set_result(read(dataset))
        except Exception as error:  # whatever it is, the report is made
            reading.set_exception(error)

    # A daemon, because a read that hangs must not keep the process alive, as a thread of a pool would.
    Thread(target=fill, name="test images", daemon=True).start()
    return reading


def take_pictures(reading: Future[Images], indices: Sequence[int], timeout_s: float = _TIMEOUT_S) -> Pictures:
    """Make pictures of some test images, once they have been read.

    Args:
        reading: What `begin_reading` returned.
        indices: Of the images, in the test split.
        timeout_s: How long to wait at most.
    """
    try:
        images = reading.result(timeout_s)
        return Pictures([_data_url(images[index]) for index in indices])
    except TimeoutError:
        return Pictures(reason=f"the dataset could not be read within {timeout_s:g} seconds")
    except _TooLarge:
        return Pictures(reason="the dataset is so large that reading it would take the report too long")
    except (DigestMismatch, IndexError):
        return Pictures(reason="the dataset has changed since the job was submitted")
    except Exception:  # whatever it is, the report is made
        return Pictures(reason="the dataset cannot be read where this page was made")


def _data_url(pixels: NDArray[np.uint8]) -> str:
    """Encode an image (D,) as a PNG, pixel by pixel."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels.reshape(SIDE, SIDE)).save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def differ_in_pictures_alone(page: bytes, other: bytes) -> bool:
    """Tell whether two pages are equal but for pictures that at least one of them lacks, for want of the dataset."""
    have_both = _LIST in page and _LIST in other
    return not have_both and _BLOCK.sub(b"", page) == _BLOCK.sub(b"", other)
