"""The command line: the only module that prints or exits."""

import json
import signal
import sys
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cluster.port import ClusterError
from jobs.errors import MnistjobsError
from mnist_core.errors import DataError

if TYPE_CHECKING:
    from rich.table import Table

    from jobs.report import Report
    from jobs.submit import Plan

BAD_INPUT = 2
SOME_FAILED = 1
INTERRUPTED = 130  # as shells count it: 128 + SIGINT
_PIPE_WIDTH = 400  # columns

app = typer.Typer(
    help="Train replicated studies of MNIST-sized models from a grid file, on this machine or a Ray cluster.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Fetch and verify datasets.", no_args_is_help=True)
app.add_typer(data_app, name="data")

GridArgument = Annotated[Path, typer.Argument(metavar="GRID", help="The grid file, such as grid.yaml.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or a name for its latest job.")]
StoreOption = Annotated[
    Path, typer.Option("--store", envvar="MNISTJOBS_STORE", metavar="FOLDER", help="The folder that holds all results.")
]
MirrorOption = Annotated[list[str] | None, typer.Option(metavar="URL", help="Download from here instead; repeatable.")]
STORE = Path("results")


class Format(StrEnum):
    """How `summary` writes its table."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


def main() -> NoReturn:
    """Run the command line; bad input ends in one message and exit code 2."""
    try:
        app()
    except (MnistjobsError, DataError, ClusterError) as error:
        from jobs.inert import make_inert

        typer.echo(make_inert(str(error), keep="\n"), err=True)
        sys.exit(BAD_INPUT)
    sys.exit(0)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="[GRID]", help="The file to write.")] = Path("grid.yaml"),
) -> None:
    """Write a commented starter grid.

    Example: mnistjobs init grid.yaml
    """
    from jobs.errors import InputError
    from jobs.grid import STARTER_GRID

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER_GRID)
    except FileExistsError:
        raise InputError(f"{path}: exists already; allowed: a new file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    typer.echo(f"Wrote {path}. Next: mnistjobs submit {path}")


@app.command()
def plan(grid: GridArgument, store: StoreOption = STORE) -> None:
    """Say which trials a grid asks for and which of them are stored; nothing runs.

    Example: mnistjobs plan grid.yaml
    """
    from jobs.api import plan_grid
    from jobs.terminal import plan_table

    made = plan_grid(grid, store)
    _print(plan_table(made))
    typer.echo(_count(made, store))


@app.command()
def submit(
    grid: GridArgument,
    store: StoreOption = STORE,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", metavar="HOST:PORT", help="An existing Ray cluster.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Trials at once; default: as the CPUs allow.")
    ] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="Run here one by one, without Ray.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
) -> None:
    """Train what a grid asks for and the store lacks; write tables, pictures and a page.

    Example: mnistjobs submit grid.yaml --workers 4
    """
    from rich.console import Console

    from jobs.api import plan_grid, report_job, submit_grid
    from jobs.terminal import LiveView

    signal.signal(signal.SIGTERM, _interrupt)
    made = plan_grid(grid, store)
    typer.echo(_count(made, store))
    view = LiveView(made, Console(stderr=True, quiet=quiet))
    try:
        with view:
            job = submit_grid(
                made, store, address=address, workers=workers, in_process=in_process, observe=view.observe
            )
    except KeyboardInterrupt:
        typer.echo("Interrupted. What has finished is stored; submit the same grid again to train the rest.", err=True)
        sys.exit(INTERRUPTED)
    _print_report(report_job(store, job["job_id"]))
    for failure in job["failures"]:
        typer.echo(f"failed: trial {failure['trial_id']}: {failure['message']}", err=True)
    if job["failures"]:
        sys.exit(SOME_FAILED)


@app.command()
def summary(
    job: JobArgument,
    store: StoreOption = STORE,
    format_: Annotated[Format, typer.Option("--format", help="How to write the table.")] = Format.table,
) -> None:
    """Print a job's accuracies, one row per configuration.

    Example: mnistjobs summary report --format markdown
    """
    from jobs.api import read_summary
    from jobs.summary import summary_csv, summary_json, summary_markdown
    from jobs.terminal import summary_table

    table = read_summary(store, job)
    if format_ is Format.table:
        _print(summary_table(table))
    else:
        renderers = {Format.csv: summary_csv, Format.json: summary_json, Format.markdown: summary_markdown}
        typer.echo(renderers[format_](table).rstrip("\n"))


@app.command()
def report(job: JobArgument, store: StoreOption = STORE) -> None:
    """Write a job's tables, pictures and page anew, from the store alone.

    Example: mnistjobs report report
    """
    from jobs.api import report_job

    _print_report(report_job(store, job))


@app.command("list")
def list_(store: StoreOption = STORE) -> None:
    """List the jobs of a store, oldest first.

    Example: mnistjobs list
    """
    from jobs.api import list_jobs
    from jobs.terminal import job_table

    _print(job_table(list_jobs(store)))


@app.command()
def schema() -> None:
    """Print the JSON Schema of a grid file, for editors.

    Example: mnistjobs schema > grid.schema.json
    """
    from jobs.grid import grid_schema

    typer.echo(json.dumps(grid_schema(), indent=2))


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist or digits.")], mirror: MirrorOption = None
) -> None:
    """Download a dataset unless it is there.

    Example: mnistjobs data fetch mnist
    """
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    from jobs.errors import InputError
    from mnist_core.datasets import NAMED_DATASETS, fetch_mnist
    from mnist_core.download import MIRRORS

    if name not in NAMED_DATASETS:
        raise InputError(f"dataset {name!r}: cannot be fetched; allowed: {', '.join(NAMED_DATASETS)}")
    if name == "mnist":
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=Console(stderr=True)) as bars:
            tasks = {}

            def show(file: str, done: int, total: int | None) -> None:
                if file not in tasks:
                    tasks[file] = bars.add_task(file, total=total)
                bars.update(tasks[file], completed=done)

            fetch_mnist(mirrors=mirror or MIRRORS, progress=show)
    verify(name)


@data_app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist, digits or a folder of IDX files.")],
) -> None:
    """Check every byte of a dataset on this machine.

    Example: mnistjobs data verify mnist
    """
    from mnist_core.datasets import NAMED_DATASETS, find_mnist, verify_dataset

    info = verify_dataset(name if name in NAMED_DATASETS else Path(name))
    place = f" in {find_mnist()}" if name == "mnist" else ""
    sizes = f"{info.train_size} training, {info.validation_size} validation and {info.test_size} test images"
    typer.echo(f"{name} is whole{place}: {sizes}, fingerprint {info.fingerprint}")


def _count(made: "Plan", store: Path) -> str:
    found, new = len(made.stored), len(made.new)
    return f"{made.grid.name}: {len(made.trials)} trials, {found} found in {store}, {new} to train"


def _print_report(written: "Report") -> None:
    from jobs.terminal import summary_table

    for name in written.damaged:
        typer.echo(f"warning: part {name} is damaged; its trials count as missing", err=True)
    _print(summary_table(written.summary))
    typer.echo(f"Report: {written.page}")


def _print(table: "Table") -> None:
    from rich.console import Console

    # A pipe has no width of its own: let every row have its line.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(table)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
