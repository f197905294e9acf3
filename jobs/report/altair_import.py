"""Import Altair wherever this process stands: by itself it fails without a home, and without docstrings."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.errors import ReportError


@contextmanager
def _some_home() -> Iterator[None]:
    """Name a home where this process has none; Altair would keep downloads there, which nobody asks it for."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = os.devnull
        try:
            yield
        finally:
            del os.environ["HOME"]
    else:
        yield


if sys.flags.optimize > 1:
    raise ReportError("a report cannot be drawn where Python leaves docstrings out; allowed: Python without -OO")
with _some_home():
    import altair as alt
    from altair.utils.schemapi import debug_mode

__all__ = ["alt", "debug_mode"]
