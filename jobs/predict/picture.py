"""Make of a picture what a network expects: a digit in 28x28 pixels, light on dark, as MNIST's images are.

What MNIST's authors did is done again: the digit fits a box of 20x20 pixels, keeps its proportions, and has its centre
of mass in the middle. Shapes: H rows and W columns of a picture.
"""

import io
import os
import warnings
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from jobs.errors import InputError
from jobs.store import write_output
from mnist_core.data import SIDE
from mnist_core.paths import describe_missing, existing_path

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

Floats = NDArray[np.float32]
Image28 = NDArray[np.uint8]  # (28, 28)

BOX = 20  # pixels of the longer side of a digit of MNIST
MIDDLE = 14.5  # where the centre of mass of MNIST's images is: in the middle of the pixel with index 14
_MAX_SIDE = 1000  # pixels; larger pictures are made smaller first
_MIN_CONTRAST = 16  # grey levels of 255 by which a digit differs from its background
_NOISE = 4  # times the median deviation of the border is still background
_MIN_STROKE, _STROKE = 0.05, 0.1  # of the longer side: thinner strokes are thickened, up to MNIST's thinner ones
_THICKENED = 200  # pixels of the longer side at most when strokes are thickened
_CELLS, _CELL = 8, 4  # of scikit-learn's digits: 8x8 values, each of a cell of 4x4 pixels
_ENLARGED = 10  # times
_PICTURES = "allowed: the file of a picture, such as a PNG or a JPEG"


def prepare_file(path: str | Path, dataset: str) -> Image28:
    """Read a picture and make the image of it that a network sees.

    Args:
        path: Of the picture.
        dataset: The name of the dataset that the network was trained on.

    Raises:
        InputError: There is no such file, or it is no picture, or it shows nothing.
    """
    try:
        return prepare(read_picture(path), dataset)
    except ValueError as error:
        raise InputError(f"{path}: {error}; allowed: a picture of one digit, with some margin") from error


def read_picture(path: str | Path) -> Floats:
    """Read a picture as grey levels (H, W) from 0, black, to 1.

    Raises:
        InputError: There is no such file, or it is no picture.
    """
    with _open(path) as file:
        try:
            return np.asarray(_grey(_decode(file)), np.float32)
        except Exception as error:  # nothing says which exceptions a decoder raises for a damaged file
            is_too_large = type(error).__name__.startswith("DecompressionBomb")
            reason = "is larger than a picture may be" if is_too_large else "cannot be read as a picture"
            raise InputError(f"{path}: {reason}; {_PICTURES}") from error


def _open(path: str | Path) -> BinaryIO:
    """Open a regular file; a pipe or a device might never deliver a picture.

    Raises:
        InputError: It cannot be opened, or is something else.
    """
    try:
        # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
        descriptor = os.open(existing_path(Path(path)), flags)
    except FileNotFoundError as error:
        raise InputError(f"{path}: {describe_missing(path) or 'no such file'}; {_PICTURES}") from error
    except (OSError, ValueError) as error:
        reason = describe_missing(path) or f"cannot be opened: {getattr(error, 'strerror', None) or error}"
        raise InputError(f"{path}: {reason}; {_PICTURES}") from error
    mode = os.fstat(descriptor).st_mode
    if S_ISREG(mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise InputError(f"{path}: is {'a folder' if S_ISDIR(mode) else 'a pipe or a device'}; {_PICTURES}")


def _decode(file: BinaryIO) -> "PillowImage":
    """Decode a picture and turn it as its camera says; raises whatever the decoder does."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about metadata that is of no use here
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(file) as image:
            image.draft("L", (_MAX_SIDE, _MAX_SIDE))
            turned = ImageOps.exif_transpose(image)
            turned.load()
            return turned


def _grey(image: "PillowImage") -> "PillowImage":
    """Turn a picture into grey levels from 0 to 1; what is transparent becomes background."""
    from PIL import Image

    if image.mode.startswith(("I", "F")):  # 16 bits and more
        levels = np.asarray(image, np.float32)
        is_known = np.isfinite(levels)
        levels = np.where(is_known, levels, np.median(levels[is_known]) if is_known.any() else 0)
        scaled = Image.fromarray((levels - levels.min()) / max(float(np.ptp(levels)), 1.0))
        scaled.thumbnail((_MAX_SIDE, _MAX_SIDE))
        return scaled
    coloured = image.convert("RGBA")
    coloured.thumbnail((_MAX_SIDE, _MAX_SIDE))
    grey = np.asarray(coloured.convert("L"), np.float32) / 255
    alpha = np.asarray(coloured.getchannel("A"), np.float32) / 255
    ink = float((grey * alpha).sum() / max(float(alpha.sum()), 1.0))
    background = 1.0 if ink < 0.5 else 0.0
    return Image.fromarray(grey * alpha + background * (1 - alpha))


def prepare(grey: Floats, dataset: str = "mnist") -> Image28:
    """Make the image that a network sees of a picture.

    Args:
        grey: Grey levels (H, W) from 0 to 1, dark on light or light on dark.
        dataset: The name of the dataset that the network was trained on: `digits` has an own format, all others
            have MNIST's.

    Raises:
        ValueError: The picture shows nothing.
    """
    ink = crop(find_ink(grey))
    return _like_digits(ink) if dataset == "digits" else _like_mnist(ink)


def find_ink(grey: Floats) -> Floats:
    """Tell digit and background apart: return how much ink each pixel has, from 0 to 1.

    Raises:
        ValueError: The picture shows nothing.
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    background = float(np.median(border))
    is_dark = background - float(grey.min()) >= float(grey.max()) - background
    ink = background - grey if is_dark else grey - background
    ink = np.clip(ink - _NOISE * float(np.median(np.abs(border - background))), 0, None)
    peak = float(ink.max(initial=0))
    if peak < _MIN_CONTRAST / 255:
        raise ValueError("shows nothing: no pixel differs much from the border")
    return np.asarray(ink / peak, np.float32)


def crop(ink: Floats) -> Floats:
    """Cut out the digit; of large pictures, shades that are background are cleared first."""
    threshold = otsu(ink) / 2
    rows, columns = (np.flatnonzero((ink >= threshold).any(axis=axis)) for axis in (1, 0))
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if max(cut.shape) > 2 * BOX:
        cut = np.where(cut >= threshold, cut, np.float32(0))
        return _thicken(_resized(cut, min(max(cut.shape), _THICKENED)), threshold)
    return cut


def otsu(ink: Floats) -> float:
    """Return the level between ink and background that separates both best (Otsu 1979)."""
    counts, edges = np.histogram(ink, 64, (0.0, 1.0))
    levels = (edges[:-1] + edges[1:]) / 2
    below, above = counts.cumsum()[:-1], counts[::-1].cumsum()[::-1][1:]
    sums = (counts * levels).cumsum()
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = (sums[-1] - sums[:-1]) / above - sums[:-1] / below
    return float(edges[1:-1][np.argmax(np.where((below > 0) & (above > 0), below * above * gap**2, -1.0))])


def _thicken(ink: Floats, threshold: float) -> Floats:
    """Give strokes that would vanish in 20 pixels about the width of those of MNIST."""
    from PIL import Image, ImageFilter

    is_ink = np.pad(ink >= threshold, 1)
    inner = is_ink[1:-1, 1:-1] & is_ink[:-2, 1:-1] & is_ink[2:, 1:-1] & is_ink[1:-1, :-2] & is_ink[1:-1, 2:]
    area = int(is_ink.sum())
    width = 2 * area / max(area - int(inner.sum()), 1)  # of a long stroke: its area over half of its edge
    side = max(ink.shape)
    if width >= _MIN_STROKE * side:
        return ink
    radius = round((_STROKE * side - width) / 2)
    wider = Image.fromarray(np.uint8(255 * np.pad(ink, radius)), mode="L").filter(ImageFilter.MaxFilter(2 * radius + 1))
    return np.asarray(wider, np.float32) / np.float32(255)


def _like_mnist(ink: Floats) -> Image28:
    digit = _resized(ink, BOX)
    rows, columns = digit.shape
    mass = float(digit.sum())
    top = round(MIDDLE - float((digit.sum(axis=1) * (np.arange(rows) + 0.5)).sum()) / mass)
    left = round(MIDDLE - float((digit.sum(axis=0) * (np.arange(columns) + 0.5)).sum()) / mass)
    top, left = (int(np.clip(each, 0, SIDE - size)) for each, size in ((top, rows), (left, columns)))
    image = np.zeros((SIDE, SIDE), np.uint8)
    image[top : top + rows, left : left + columns] = np.rint(255 * digit)
    return image


def _like_digits(ink: Floats) -> Image28:
    """Average a digit of 32x32 in cells of 4x4, and enlarge the 8x8 values as `mnist_core.data` does."""
    digit = _resized(ink, _CELLS * _CELL)
    rows, columns = digit.shape
    whole = np.zeros((_CELLS * _CELL, _CELLS * _CELL), np.float32)
    top, left = (len(whole) - rows) // 2, (len(whole) - columns) // 2
    whole[top : top + rows, left : left + columns] = digit
    values = whole.reshape(_CELLS, _CELL, _CELLS, _CELL).mean(axis=(1, 3))  # (8, 8)
    small = np.rint(255 * values).astype(np.uint8)
    return np.pad(small.repeat(3, axis=0).repeat(3, axis=1), (SIDE - 3 * _CELLS) // 2)


def _resized(ink: Floats, side: int) -> Floats:
    """Scale a digit so that its longer side has `side` pixels, and its darkest pixel all the ink."""
    from PIL import Image

    scale = side / max(ink.shape)
    size = tuple(max(round(each * scale), 1) for each in ink.shape[::-1])
    scaled = np.asarray(Image.fromarray(ink).resize(size, Image.Resampling.BICUBIC))
    scaled = np.clip(scaled, 0, 1)
    return np.asarray(scaled / scaled.max(), np.float32)


def write_image(image: Image28, path: Path) -> None:
    """Write what a network sees as a PNG, ten times as large.

    Raises:
        StoreError: The file cannot be written.
    """
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).resize((_ENLARGED * SIDE, _ENLARGED * SIDE), Image.Resampling.NEAREST).save(file, "PNG")
    write_output(path, file.getvalue())
