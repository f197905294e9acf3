"""Print text: escaped, and each warning once."""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

from jobs.cli.hints import ALL_FAULTS, with_hint
from jobs.errors import InputError
from jobs.escape import escape

_MAX_LINES = 100
_MAX_FAULTS = 20  # of a grid; with the rest of the screen for the prompt and the command


def echo(text: str, err: bool = False) -> None:
    """Print text, with every invisible character but the newline escaped.

    Args:
        text: One line or more.
        err: Whether to print to stderr.
    """
    print(escape(text, keep="\n"), file=sys.stderr if err else sys.stdout, flush=True)


def echo_first(lines: Sequence[str], noun: str) -> None:
    """Print the first lines of many to stderr, and the number of the others.

    Args:
        lines: All of them.
        noun: What a line is, in the singular.
    """
    for line in lines[:_MAX_LINES]:
        echo(line, err=True)
    if (rest := len(lines) - _MAX_LINES) > 0:
        echo(f"and {rest} more {noun if rest == 1 else f'{noun}s'}; mnistjobs.verify_job returns all", err=True)


def echo_error(error: Exception) -> None:
    """Print an error to stderr, with what to do about it; of the faults of a file a screenful, and how many more."""
    faults = error.faults if isinstance(error, InputError) else []
    if (rest := len(faults) - _MAX_FAULTS) <= 0:
        echo(with_hint(error), err=True)
        return
    for fault in faults[:_MAX_FAULTS]:
        echo(str(fault), err=True)
    echo(f"and {rest} more {'fault' if rest == 1 else 'faults'}; {ALL_FAULTS}", err=True)


def echo_warnings_once() -> None:
    """Print each warning in one line; print the same one once, however many steps of a command issue it."""
    seen = set[str]()

    def show(message: Warning | str, *where: Any, **how: Any) -> None:  # noqa: ANN401
        text = with_hint(message) if isinstance(message, Warning) else message
        if text not in seen:
            seen.add(text)
            echo(f"warning: {text}", err=True)

    warnings.showwarning = show
