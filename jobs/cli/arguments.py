"""Arguments and options that several commands share."""

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


def _store_place(text: str) -> str:
    if text == "":  # most likely from an unset variable; as a path it would mean the working directory
        raise typer.BadParameter("is empty; allowed: a folder or a URL")
    return os.path.expanduser(text)


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
STORE = "results"


class Format(StrEnum):
    """Formats of `summary`."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


class PlanFormat(StrEnum):
    """Formats of `plan`."""

    table = "table"
    json = "json"
