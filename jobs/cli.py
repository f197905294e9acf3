"""The command line: the only module that prints or exits."""

import io
import json
import os
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from cluster.port import ClusterError
from jobs.errors import InputError, MnistjobsError
from jobs.inert import make_inert
from mnist_core.errors import DataError

if TYPE_CHECKING:
    from jobs.report import Report

BAD_INPUT = 2
SOME_FAILED = 1
INTERRUPTED = 130  # as shells count it: 128 + SIGINT

app = typer.Typer(
    help="Train replicated studies of MNIST-sized models from a grid file, on this machine or a Ray cluster.\n\n"
    "Example: mnistjobs init grid.yaml && mnistjobs submit grid.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(help="Fetch and verify datasets.\n\nExample: mnistjobs data verify digits", no_args_is_help=True)
app.add_typer(data_app, name="data")


def _store_path(text: str | Path) -> Path:
    if text == "":  # of an unset variable, most likely; as a path it would be the folder one is in
        raise typer.BadParameter("is empty; allowed: a folder")
    return Path(os.path.expanduser(text))


GridArgument = Annotated[Path, typer.Argument(metavar="GRID", help="The grid file, such as grid.yaml.")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="A job's id, or a name for its latest job.")]
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
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character gets its escape.
            stream.reconfigure(errors="backslashreplace")
    warnings.showwarning = _warn
    try:
        app(prog_name="mnistjobs")
    except (MnistjobsError, DataError, ClusterError) as error:
        _say(str(error), err=True)
    except OSError as error:  # a full disk behind stdout, a working directory that is gone
        _say(f"{error.filename or 'mnistjobs'}: {error.strerror or error}", err=True)
    sys.exit(BAD_INPUT)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="GRID", help="The file to write.")] = Path("grid.yaml"),
) -> None:
    """Write a commented starter grid.

    Example: mnistjobs init grid.yaml
    """
    from jobs.grid import STARTER_GRID

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER_GRID)
    except FileExistsError:
        raise InputError(f"{path}: exists already; allowed: a new file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
    _say(f"Wrote {path}. Next: mnistjobs submit {path}")


@app.command()
def plan(grid: GridArgument, store: StoreOption = STORE) -> None:
    """Count a grid's trials, stored and new; nothing runs.

    Example: mnistjobs plan grid.yaml
    """
    from jobs.api import plan_grid
    from jobs.terminal import cpu_places, plan_line, plan_table, print_table

    made = plan_grid(grid, store)
    print_table(plan_table(made))
    _say(plan_line(made, store, cpu_places(made)))


@app.command()
def submit(
    grid: GridArgument,
    store: StoreOption = STORE,
    address: Annotated[
        str | None, typer.Option(envvar="RAY_ADDRESS", metavar="HOST:PORT", help="An existing Ray cluster.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Tasks at once; default: as the CPUs and GPUs allow.")
    ] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="Run here one by one, without Ray.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show the result only.")] = False,
) -> None:
    """Train what the store lacks of a grid; write tables and pictures.

    Example: mnistjobs submit grid.yaml --workers 4
    """
    from rich.console import Console

    from jobs.api import plan_grid, report_job, submit_grid
    from jobs.terminal import LiveView, cpu_places, failures_line, fetch_mnist_with_bar, plan_line
    from mnist_core.datasets import find_mnist

    if in_process and workers:
        raise InputError(f"--workers {workers}: trials run one by one with --in-process; leave one of the two out")
    with _interruptible():
        made = plan_grid(grid, store)
        if not quiet:
            _say(plan_line(made, store, None if address else workers or cpu_places(made)))
        if made.new and made.grid.dataset_source() == "mnist" and find_mnist() is None and not quiet:
            fetch_mnist_with_bar()
        with LiveView(made, Console(stderr=True, quiet=quiet)) as view:
            job = submit_grid(made, address=address, workers=workers, in_process=in_process, observe=view.observe)
        _print_report(report_job(store, job["job_id"]))
    if job["failures"]:
        _say(failures_line(job), err=True)
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
    from jobs.terminal import print_table, summary_table

    table = read_summary(store, job)
    if format_ is Format.table:
        print_table(summary_table(table))
    else:
        renderers = {Format.csv: summary_csv, Format.json: summary_json, Format.markdown: summary_markdown}
        _say(renderers[format_](table).rstrip("\n"))


@app.command()
def report(job: JobArgument, store: StoreOption = STORE) -> None:
    """Write a job's tables, pictures and page anew from the store.

    Example: mnistjobs report report
    """
    from jobs.api import report_job

    _print_report(report_job(store, job))


@app.command("verify")
def verify_job_(
    job: JobArgument,
    store: StoreOption = STORE,
    rerun: Annotated[int, typer.Option(min=0, metavar="N", help="Trials, chosen at random, to train again.")] = 0,
) -> None:
    """Check every byte of a job; with --rerun, train some of its trials again.

    Example: mnistjobs verify report --rerun 3
    """
    from jobs.api import verify_job

    found = verify_job(store, job, rerun)
    for problem in found.problems:
        _say(problem, err=True)
    again = f", {found.rerun} trained again" if rerun else ""
    _say(f"{found.trials} trials with their weights, {found.tables} tables{again}: {len(found.problems)} problems")
    if found.problems:
        sys.exit(SOME_FAILED)


@app.command("list")
def list_(store: StoreOption = STORE) -> None:
    """List the jobs of a store, oldest first.

    Example: mnistjobs list
    """
    from jobs.api import list_jobs
    from jobs.terminal import job_table, print_table

    if jobs := list_jobs(store):
        print_table(job_table(jobs))
    else:
        _say(f"No jobs in {store} yet; `mnistjobs submit GRID` makes one")


@app.command()
def compact(store: StoreOption = STORE) -> None:
    """Merge a store's small parts into larger ones.

    Example: mnistjobs compact
    """
    from jobs.api import compact_store

    done = compact_store(store)
    what = f"{len(done.merged)} parts merged into {len(done.written)}" if done.merged else "no small parts to merge"
    _say(f"{store}: {what}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a grid file, for editors.

    Example: mnistjobs schema > grid.schema.json
    """
    from jobs.grid import grid_schema

    _say(json.dumps(grid_schema(), indent=2))


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(metavar="NAME", help="mnist or digits.")], mirror: MirrorOption = None
) -> None:
    """Download a dataset unless it is there.

    Example: mnistjobs data fetch mnist
    """
    from jobs.terminal import fetch_mnist_with_bar
    from mnist_core.datasets import NAMED_DATASETS

    if name not in NAMED_DATASETS:
        raise InputError(f"dataset {name!r}: cannot be fetched; allowed: {', '.join(NAMED_DATASETS)}")
    if name == "mnist":
        fetch_mnist_with_bar(mirror)
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
    _say(f"{name} is whole{place}: {sizes}, fingerprint {info.fingerprint}")


def _say(text: str, err: bool = False) -> None:
    print(make_inert(text, keep="\n"), file=sys.stderr if err else sys.stdout, flush=True)


def _warn(message: Warning | str, *where: Any, **how: Any) -> None:  # noqa: ANN401
    _say(f"warning: {message}", err=True)


def _print_report(written: "Report") -> None:
    from jobs.terminal import print_table, summary_table

    print_table(summary_table(written.summary))
    _say(f"Report: {written.page}")


@contextmanager
def _interruptible() -> Iterator[None]:
    """Take SIGTERM and a closed terminal for Ctrl-C, and say after any of them how to go on."""
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    except KeyboardInterrupt:
        _say("Interrupted. What has finished is stored; submit the same grid again to train the rest.", err=True)
        sys.exit(INTERRUPTED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
