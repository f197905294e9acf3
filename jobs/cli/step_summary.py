"""What a command found, for the page of a run of GitHub Actions, in Markdown."""

import os
import re
from collections.abc import Sequence

from jobs.cli.output import echo
from jobs.escape import escape

VARIABLE = "GITHUB_STEP_SUMMARY"
_MAX_BYTES = 1024**2  # GitHub drops the whole summary of a step that has more
_MARKUP = re.compile(r"([\\`*_<>\[\]|#~])")


def append_step_summary(title: str, lines: Sequence[str] = (), table: str = "") -> None:
    """Append to the summary of the step, where this is one; what goes wrong is a warning.

    Args:
        title: Text of the heading.
        lines: Text, each line of which becomes an item of a list.
        table: Markdown that precedes the lines.
    """
    if not (path := os.environ.get(VARIABLE)):
        return
    items = [f"- {markdown_text(line)}" for line in lines]
    parts = [f"### {markdown_text(title)}", escape(table, keep="\n").strip("\n"), "\n".join(items)]
    text = "\n\n".join(part for part in parts if part) + "\n\n"
    try:
        _append(path, text.encode(errors="backslashreplace"))
    except OSError as error:
        echo(f"warning: {VARIABLE}: {path}: {error.strerror or error}; the run has no summary of this", err=True)


def _append(path: str, text: bytes) -> None:
    # A pipe that nobody reads must not stop the command.
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK, 0o644)
    with open(descriptor, "ab") as file:
        if os.fstat(descriptor).st_size + len(text) > _MAX_BYTES:
            raise OSError("too long for a summary, which may have 1 MiB")
        file.write(text)


def markdown_text(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", escape(" ".join(text.split())))
