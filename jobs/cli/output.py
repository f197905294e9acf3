"""What the command line says: text from elsewhere made inert, and no warning twice."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from jobs.escape import escape

_MOST_LINES = 100


def say(text: str, err: bool = False) -> None:
    """Print a text of any number of lines."""
    print(escape(text, keep="\n"), file=sys.stderr if err else sys.stdout, flush=True)


def say_first(lines: Sequence[str], what: str) -> None:
    """Print the first of some lines to stderr, and how many more there are of what."""
    for line in lines[:_MOST_LINES]:
        say(line, err=True)
    if len(lines) > _MOST_LINES:
        say(f"and {len(lines) - _MOST_LINES} more {what}; mnistjobs.verify_job gives all", err=True)


def say_each_warning_once() -> None:
    """Print warnings in one line each; what one command says it says once, whichever of its steps finds it."""
    said = set[str]()

    def show(message: Warning | str, *where: Any, **how: Any) -> None:  # noqa: ANN401
        if str(message) not in said:
            said.add(str(message))
            say(f"warning: {message}", err=True)

    warnings.showwarning = show
