"""Percentage points, such as 0.3pp: how grids and options write a difference between accuracies."""

import re

_POINTS = re.compile(r"(?![0.]* ?[p%])([0-9]{1,2}(?:\.[0-9]+)?|\.[0-9]+) ?(?:pp|%)")
POINTS = "percentage points above 0 and below 100, such as 0.3pp"
POINTS_PATTERN = rf"^(?:{_POINTS.pattern})$"


def fraction_of(points: str) -> float:
    """Read percentage points, such as 0.3pp, as a fraction.

    Args:
        points: A number above 0 and below 100, and the unit pp or %.

    Raises:
        ValueError: It is something else.
    """
    match = _POINTS.fullmatch(points.strip())
    if not match:
        raise ValueError(f"{points!r}; allowed: {POINTS}")
    return float(match[1]) / 100


def check_points(text: str) -> str:
    """Return percentage points as they are written; raise ValueError where they are none."""
    fraction_of(text)
    return text
