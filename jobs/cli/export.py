"""The command that hands a job to other tools."""

from enum import StrEnum
from shlex import quote
from typing import Annotated

import typer

from jobs.cli.arguments import STORE, JobArgument, StoreOption
from jobs.cli.output import echo


class Tool(StrEnum):
    """What `export` writes for."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"
    ro_crate = "ro-crate"


# What each tool reads: what is counted, and how it is opened.
_READ_BY = {
    Tool.tensorboard: ("run", "tensorboard --logdir {place}"),
    Tool.mlflow: ("run", "mlflow ui --backend-store-uri {uri}"),
    Tool.ro_crate: ("file", ""),
}


def export(
    job: JobArgument,
    weights: Annotated[
        str | None,
        typer.Option("--weights", metavar="FOLDER", help="Where to write <trial_id>.safetensors per trial."),
    ] = None,
    to: Annotated[Tool | None, typer.Option("--to", help="Write what this tool reads.")] = None,
    into: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Where to; for mlflow also a tracking URI; default: named as the tool."),
    ] = None,
    store: StoreOption = STORE,
) -> None:
    """Write a job's trained weights, or hand the job to another tool.

    tensorboard and mlflow get a run per trial with its settings, curves and results; ro-crate gets the job's tables,
    figures and page with a description of how they were made. Each needs an extra, such as mnistjobs[tensorboard].

    Example: mnistjobs export report --to tensorboard
    """
    from jobs.api import export_job, export_weights
    from jobs.report import format_count

    if "" in (weights, into):  # most likely from an unset variable; as a path it would mean the working directory
        raise typer.BadParameter("a folder's name is empty; allowed: the name of a new folder")
    if (weights is None) == (to is None):
        raise typer.BadParameter("allowed: either --weights FOLDER or --to with a tool")
    if weights is not None:
        written = export_weights(store, job, weights)
        echo(f"Wrote {format_count(len(written), 'file')} to {weights}")
    if to is not None:
        place = into or to.value
        noun, command = _READ_BY[to]
        done = f"Wrote {format_count(export_job(store, job, to.value, place), noun)} to {place}"
        address = place if "://" in place else f"sqlite:///{place}/mlflow.db"
        shown = command.format(place=quote(place), uri=quote(address))
        echo(f"{done}; look at them with `{shown}`" if command else done)
