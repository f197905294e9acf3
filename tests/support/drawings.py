"""Keep the figures that the tests have drawn in a folder, since drawing them takes most of the time of a tiny study.

The folder serves the processes of a test run and the processes that they start.
"""

import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = "MNISTJOBS_TEST_DRAWINGS"  # the environment variable that tells a process of the folder
RENDER = "jobs.report.drawing.render"  # what turns a specification with its rows into SVG


def draw_once(folder: Path) -> Callable[[dict[str, Any]], str]:
    """Wrap the function that draws, so that equal figures are drawn once.

    Args:
        folder: Where the figures are kept, by a hash of their specification.
    """
    from jobs.report.drawing import render

    def draw_or_look_up(spec: dict[str, Any]) -> str:
        kept = folder / hashlib.sha256(json.dumps(spec).encode()).hexdigest()
        with suppress(FileNotFoundError):  # another process may remove it at any time
            return kept.read_text(encoding="utf-8")
        own, figure = kept.with_suffix(f".{os.getpid()}"), render(spec)
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
        from jobs.report import drawing

        setattr(drawing, RENDER.rpartition(".")[2], draw_once(Path(folder)))


def forget(folder: Path) -> None:
    """Have every figure drawn anew."""
    for path in folder.iterdir():
        path.unlink(missing_ok=True)
