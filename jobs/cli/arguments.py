"""Arguments and options that several commands share."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def _store_path(text: str | Path) -> Path:
    if text == "":  # most likely from an unset variable; as a path it would mean the working directory
        raise typer.BadParameter("is empty; allowed: a folder")
    return Path(os.path.expanduser(text))


GridArgument = Annotated[
    Path, typer.Argument(metavar="GRID", help="The grid file, such as grid.yaml; - is the standard input.")
]
JobArgument = Annotated[
    str, typer.Argument(metavar="JOB", help="A job's id, a name for its latest job, or its folder.")
]
StoreOption = Annotated[
    Path,
    typer.Option(
        "--store",
        envvar="MNISTJOBS_STORE",
        metavar="FOLDER",
        parser=_store_path,
        help="The folder that holds all results.",
    ),
]
STORE = Path("results")


class Format(StrEnum):
    """Formats of `summary`."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


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
