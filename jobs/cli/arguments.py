"""Arguments and options that several commands share."""

import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

MAX_DURATION_S = 1000 * 3600.0
_DURATION = re.compile(r"(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?")


def _store_place(text: str) -> str:
    if text == "":  # most likely from an unset variable; as a path it would mean the working directory
        raise typer.BadParameter("is empty; allowed: a folder or a URL")
    return os.path.expanduser(text)


def parse_duration(text: str) -> float:
    """Read a duration such as 90s, 10m or 1h30m; return its seconds.

    Raises:
        BadParameter: The text is no duration, or not above zero.
    """
    match = _DURATION.fullmatch(text)
    hours, minutes, seconds = (int(number or 0) for number in match.groups()) if match else (0, 0, 0)
    duration_s = 3600.0 * hours + 60.0 * minutes + seconds
    if not 0 < duration_s <= MAX_DURATION_S:
        raise typer.BadParameter(f"{text!r}: allowed: a duration up to 1000h, such as 90s, 10m or 1h30m")
    return duration_s


def parse_fraction(text: str | float) -> float:
    """Read percentage points, such as 0.3pp, as a fraction.

    Raises:
        BadParameter: The text is no difference of accuracies.
    """
    from jobs.grid import fraction_of

    try:
        return fraction_of(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


GridArgument = Annotated[
    Path, typer.Argument(metavar="GRID", help="The grid file, such as grid.yaml; - is the standard input.")
]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, a name for its latest job, or its folder.")
]
JobOption = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB]",
        show_default=False,
        help="A job's id, a name for its latest job, or its folder; default: the latest job.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print objects for scripts.")]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="MNISTJOBS_STORE",
        metavar="STORE",
        parser=_store_place,
        help="Where all results are: a folder, or s3://, gs:// or az://BUCKET/PREFIX.",
    ),
]
TargetOption = Annotated[
    float | None,
    typer.Option(
        metavar="0.2pp", parser=parse_fraction, help="Count the seeds missing for intervals this wide to either side."
    ),
]
WithinOption = Annotated[
    float | None,
    typer.Option(
        "--within",
        metavar="TIME",
        parser=parse_duration,
        help="A budget, such as 90s, 10m or 1h30m: train as many whole seeds as it allows.",
    ),
]
STORE = "results"


class Format(StrEnum):
    """Formats of `summary`."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"
    latex = "latex"


class FigureFile(StrEnum):
    """The kinds of files in which figures are written besides SVG."""

    pdf = "pdf"
    png = "png"


FiguresOption = Annotated[
    list[FigureFile] | None,
    typer.Option(help="Write each figure in this format, too; may be given twice."),
]


class PlanFormat(StrEnum):
    """Formats of `plan`."""

    table = "table"
    json = "json"
