"""What the networks get wrong: confusion matrices as tables, and the hardest test images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from jobs.report.matrices import percent_of_rows

MAX_HARDEST = 16
Digits = NDArray[np.uint8]
_TOP = 5
_MAX_NAMES = 100  # characters of the names of configurations
_STEPS = (0, 0.5, 2, 5, 10, 25, 50, 80)  # percent from which on a cell has the next shade


@dataclass(frozen=True)
class MatrixCell:
    """A cell of a confusion matrix on the page."""

    text: str
    count: int
    shade: int


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix on the page."""

    anchor: str
    name: str
    caption: str
    rows: list[list[MatrixCell]]
    top: str  # the most frequent confusions, in words


@dataclass(frozen=True)
class HardImage:
    """A test image that many networks get wrong."""

    image: int
    actual: int
    wrong: int  # networks
    networks: int
    taken_for: str
    missed_by: str
    picture: str = ""  # a data URL


@dataclass(frozen=True)
class HardImages:
    """The hardest test images, the hardest first."""

    images: Sequence[HardImage] = ()
    without_pictures: str = ""  # why they have none


def matrix(anchor: str, name: str, caption: str, counts: NDArray[np.int64]) -> Matrix:
    """Lay out a confusion matrix.

    Args:
        anchor: Of its place on the page.
        name: Of the configuration.
        caption: What it is summed over.
        counts: Shape (10, 10): actual digit, predicted digit.
    """
    percent = percent_of_rows(counts)
    rows = [
        [
            MatrixCell("–" if np.isnan(share) else f"{share:.1f}" if share else "0", int(count), _shade(share))
            for share, count in zip(shares, of_row, strict=True)
        ]
        for shares, of_row in zip(percent.tolist(), counts.tolist(), strict=True)
    ]
    return Matrix(anchor, name, caption, rows, _top(counts, percent))


def _shade(share: float) -> int:
    return 0 if np.isnan(share) or share == 0 else sum(share > step for step in _STEPS)


def _top(counts: NDArray[np.int64], percent: NDArray[np.float64]) -> str:
    wrong = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_TOP]
    named = [
        f"{actual} taken for {predicted}: {counts[actual, predicted]:,} times "
        f"({percent[actual, predicted]:.1f} % of all {actual}s)"
        for actual, predicted in (divmod(int(index), len(counts)) for index in order)
        if wrong[actual, predicted]
    ]
    return "; ".join(named)


def hardest_images(networks: Sequence[tuple[str, tuple[Digits, Digits]]], names: Mapping[str, str]) -> list[HardImage]:
    """Find the test images that most networks get wrong.

    Args:
        networks: Of each, its configuration_id, and the actual and the predicted digit of each test image.
        names: Of the configurations, by configuration_id.
    """
    if not networks:
        return []
    actual = networks[0][1][0]
    configuration = np.array([one for one, _ in networks])
    predicted = np.stack([digits[1] for _, digits in networks if len(digits[1]) == len(actual)])  # (networks, images)
    missed = predicted != actual
    wrong = missed.sum(axis=0)
    order = np.argsort(-wrong, kind="stable")[:MAX_HARDEST]
    found = []
    for image in order[wrong[order] > 0].tolist():
        digits = np.bincount(predicted[missed[:, image], image], minlength=10)
        taken = ", ".join(
            f"{digit}\u00a0({digits[digit]})" for digit in np.argsort(-digits, kind="stable")[:3] if digits[digit]
        )
        by = _missed_by(configuration, configuration[missed[:, image]], names)
        found.append(HardImage(image, int(actual[image]), int(wrong[image]), len(predicted), taken, by))
    return found


def _missed_by(all_of: NDArray[np.str_], missing: NDArray[np.str_], names: Mapping[str, str]) -> str:
    """Name the configurations of which more than half of the seeds get an image wrong."""
    ids, counts = np.unique(all_of, return_counts=True)
    wrong = dict(zip(*np.unique(missing, return_counts=True), strict=True))
    most = {each for each, count in zip(ids, counts, strict=True) if 2 * wrong.get(each, 0) > count}
    named, others = ([name for each, name in names.items() if each in part] for part in (most, {*ids} - most))
    if not others or not named:
        return "no configuration" if not named else "every configuration"
    options = ("; ".join(named), f"all but {'; '.join(others)}")
    fitting = [each for each in options if len(each) <= _MAX_NAMES]
    return min(fitting, key=len) if fitting else f"{len(named)} of {len(ids)} configurations"
