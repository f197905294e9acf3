"""Keep the figures that the tests have drawn in a folder, since drawing them takes most of the time of a tiny study.

The folder serves a test process and the processes that it starts.
"""

import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = "MNISTJOBS_TEST_DRAWINGS"  # the environment variable that tells a process of the folder
NAMES = ("training_curves", "learning_curve", "confusion_matrix", "weight_sheet")  # what draws, in jobs.report.figures


def draw_once(name: str, folder: Path) -> Callable[..., str]:
    """Wrap a function that draws a figure, so that equal arguments are drawn once.

    Args:
        name: Of the function, which returns the SVG of its positional arguments.
        folder: Where the figures are kept, by the function's name and its arguments.
    """
    draw: Callable[..., str] = getattr(_figures(), name)

    def draw_or_look_up(*arguments: Any) -> str:  # noqa: ANN401
        kept = folder / hashlib.sha256(pickle.dumps((name, arguments))).hexdigest()
        if kept.exists():
            return kept.read_text(encoding="utf-8")
        own, figure = kept.with_suffix(f".{os.getpid()}"), draw(*arguments)
        try:
            own.write_text(figure, encoding="utf-8")
            own.rename(kept)
        except OSError:  # a test lets the disk be full
            own.unlink(missing_ok=True)
        return figure

    return draw_or_look_up


def draw_once_if_told() -> None:
    """Draw every figure once, for the rest of this process's life, if its environment names a folder for them."""
    if folder := os.environ.get(FOLDER):
        for name in NAMES:
            setattr(_figures(), name, draw_once(name, Path(folder)))


def _figures() -> ModuleType:
    from jobs.report import figures  # only here: matplotlib takes long to import

    return figures


def forget(folder: Path) -> None:
    """Have every figure drawn anew."""
    for path in folder.iterdir():
        path.unlink()
