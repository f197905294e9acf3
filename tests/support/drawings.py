"""Keep the figures that a test process has drawn, since drawing them takes most of the time of a tiny study."""

import pickle
from collections.abc import Callable
from typing import Any

DRAWINGS = ("training_curves", "learning_curve", "confusion_matrix", "weight_sheet")  # names in jobs.report.figures


def draw_once(draw: Callable[..., str], drawings: dict[bytes, str]) -> Callable[..., str]:
    """Wrap a function that draws a figure, so that equal arguments are drawn once.

    Args:
        draw: Returns the SVG of its positional arguments.
        drawings: Where the figures are kept, by the function's name and its arguments.
    """

    def draw_or_look_up(*arguments: Any) -> str:  # noqa: ANN401
        key = pickle.dumps((draw.__name__, arguments))
        if key not in drawings:
            drawings[key] = draw(*arguments)
        return drawings[key]

    return draw_or_look_up
