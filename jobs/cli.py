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
    import pyarrow as pa

    from jobs.report import Report
    from jobs.submit import Plan

BAD_INPUT = 2
SOME_FAILED = 1
INTERRUPTED = 130  # as shells count it: 128 + SIGINT
_MOST_ROWS = 40  # configurations that `plan` lists

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

    made = plan_grid(grid, store)
    _print_plan(made)
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
    from jobs.live import LiveView

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

    table = read_summary(store, job)
    if format_ is Format.table:
        _print_summary(table)
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

    rows = [
        [job["job_id"], job["status"], str(len(job["trial_ids"])), job["submitted_at"][:19]] for job in list_jobs(store)
    ]
    _print_table(["job", "status", "trials", "submitted (UTC)"], rows)


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


def _print_plan(made: "Plan") -> None:
    """Print a row per configuration: the settings that vary, and how many of its trials are new and stored."""
    from jobs.summary import CONFIGURATION, configuration_key, setting_text

    counts: dict[tuple[object, ...], list[int]] = {}
    for identity, trial in made.trials.items():
        counts.setdefault(configuration_key(vars(trial)), [0, 0])[identity in made.stored] += 1
    columns = [place for place in range(len(CONFIGURATION)) if place < 3 or len({key[place] for key in counts}) > 1]
    rows = [[*(setting_text(key[place]) for place in columns), *map(str, count)] for key, count in counts.items()]
    _print_table([*(CONFIGURATION[place].name for place in columns), "new", "stored"], rows[:_MOST_ROWS])
    if len(rows) > _MOST_ROWS:
        typer.echo(f"and {len(rows) - _MOST_ROWS} more configurations")


def _print_report(written: "Report") -> None:
    for name in written.damaged:
        typer.echo(f"warning: part {name} is damaged; its trials count as missing", err=True)
    _print_summary(written.summary)
    typer.echo(f"Report: {written.page}")


def _print_summary(table: "pa.Table") -> None:
    from jobs.summary import summary_cells

    _print_table(*summary_cells(table))


def _print_table(header: list[str], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*header, box=SIMPLE_HEAD)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    # A pipe has no width of its own: let every row have its line.
    console.print(table, width=None if console.is_terminal else 10_000, soft_wrap=not console.is_terminal)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """End on SIGTERM as on Ctrl-C."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
