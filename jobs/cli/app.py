"""The command line: with jobs.cli.data and jobs.cli.output, the only modules that print or exit."""

import io
import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from cluster.interface import ClusterError
from jobs.cli.data import data_app
from jobs.cli.output import say, say_each_warning_once, say_first
from jobs.cli.signals import end_now, interruptible, unread_output_dropped
from jobs.errors import InputError, MnistjobsError
from mnist_core.errors import DataError

if TYPE_CHECKING:
    from jobs.report import Report

BAD_INPUT = 2
SOME_FAILED = 1

app = typer.Typer(
    help="Train replicated studies of MNIST-sized models from a grid file, on this machine or a Ray cluster.\n\n"
    "Example: mnistjobs init grid.yaml && mnistjobs submit grid.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
STORE = Path("results")


class Format(StrEnum):
    """How `summary` writes its table."""

    table = "table"
    csv = "csv"
    json = "json"
    markdown = "markdown"


class PlanFormat(StrEnum):
    """How `plan` writes what it found."""

    table = "table"
    json = "json"


def main() -> NoReturn:
    """Run the command line; bad input ends in one message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character gets its escape.
            stream.reconfigure(errors="backslashreplace")
    say_each_warning_once()
    # matplotlib reads both unchecked: a notebook's backend may not be installed here, and no picture has a date.
    os.environ["MPLBACKEND"] = "svg"
    os.environ.pop("SOURCE_DATE_EPOCH", None)
    try:
        app(prog_name="mnistjobs")
    except (MnistjobsError, DataError, ClusterError) as error:
        say(str(error), err=True)
    except OSError as error:  # a full disk behind stdout, a working directory that is gone
        say(f"{error.filename or 'mnistjobs'}: {error.strerror or error}", err=True)
    sys.exit(BAD_INPUT)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="GRID", help="The file to write.")] = Path("grid.yaml"),
) -> None:
    """Write a commented starter grid, and its JSON Schema for editors.

    Example: mnistjobs init grid.yaml
    """
    from jobs.grid import SCHEMA_FILE, STARTER_GRID, grid_schema

    schema_path = path.with_name(SCHEMA_FILE)
    _write_new(path, STARTER_GRID)
    try:
        if not schema_path.exists():
            _write_new(schema_path, json.dumps(grid_schema(), indent=2) + "\n")
    except InputError:
        path.unlink()  # it would prevent a second try
        raise
    say(f"Wrote {path}; editors check it against {schema_path}. Next: mnistjobs submit {path}")


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink()  # an empty file would prevent a second try
                raise
    except FileExistsError:
        raise InputError(f"{path}: exists already; allowed: a new file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


@app.command()
def plan(
    grid: GridArgument,
    store: StoreOption = STORE,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial, and why it is to be trained.")] = False,
    format_: Annotated[PlanFormat, typer.Option("--format", help="How to write it; json has every trial.")] = (
        PlanFormat.table
    ),
) -> None:
    """Count a grid's trials, stored, new and stale; nothing runs.

    Example: mnistjobs plan grid.yaml --trials
    """
    from jobs.api import plan_grid
    from jobs.cli.plan import cpu_places, plan_json, plan_line, plan_table, plan_trials
    from jobs.cli.tables import print_table

    made = plan_grid(grid, store)
    if format_ is PlanFormat.json:
        say(plan_json(made))
        return
    print_table(plan_trials(made) if trials else plan_table(made))
    say(plan_line(made, store, cpu_places(made)))


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
    from jobs.cli.plan import cpu_places, plan_line
    from jobs.cli.progress import LiveView
    from jobs.cli.tables import failures_line, fetch_mnist_with_bar
    from mnist_core.data import find_mnist

    if in_process and workers:
        raise InputError(f"--workers {workers}: trials run one by one with --in-process; leave one of the two out")
    try:
        with interruptible(), unread_output_dropped():
            made = plan_grid(grid, store, quarantine=True)
            if not quiet:
                say(plan_line(made, store, None if address else workers or cpu_places(made)))
            if made.missing and made.grid.dataset_source() == "mnist" and find_mnist() is None and not quiet:
                fetch_mnist_with_bar()
            with LiveView(made, Console(stderr=True, quiet=quiet)) as view:
                job = submit_grid(made, address=address, workers=workers, in_process=in_process, observe=view.observe)
            _print_report(report_job(store, job["job_id"]))
            if job["failures"]:
                say(failures_line(job), err=True)
    except KeyboardInterrupt:
        end_now()  # a Ray that was interrupted as it started does not end well by itself
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
    from jobs.cli.tables import print_table, summary_table
    from jobs.report import summary_csv, summary_json, summary_markdown

    table = read_summary(store, job)
    if format_ is Format.table:
        print_table(summary_table(table))
    else:
        renderers = {Format.csv: summary_csv, Format.json: summary_json, Format.markdown: summary_markdown}
        say(renderers[format_](table).rstrip("\n"))


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
    """Check every byte of a job; train some trials again.

    Example: mnistjobs verify report --rerun 3
    """
    from jobs.verify import verify_job

    found = verify_job(store, job, rerun)
    say_first(found.problems, "problems")
    say_first([f"note: {note}" for note in found.notes], "notes")
    again = f", {found.rerun} trained again" if rerun else ""
    say(f"{found.trials} trials with their weights, {found.files} files{again}: {len(found.problems)} problems")
    if found.problems:
        sys.exit(SOME_FAILED)


@app.command()
def export(
    job: JobArgument,
    weights: Annotated[
        Path, typer.Option("--weights", metavar="FOLDER", help="Where to write <trial_id>.safetensors per trial.")
    ],
    store: StoreOption = STORE,
) -> None:
    """Write the trained weights of a job, one file per trial.

    Example: mnistjobs export report --weights weights
    """
    from jobs.api import export_weights

    written = export_weights(store, job, weights)
    say(f"Wrote {len(written)} file{'' if len(written) == 1 else 's'} to {weights}")


@app.command("list")
def list_(store: StoreOption = STORE) -> None:
    """List the jobs of a store, oldest first.

    Example: mnistjobs list
    """
    from jobs.api import list_jobs
    from jobs.cli.tables import job_table, print_table

    if jobs := list_jobs(store):
        print_table(job_table(jobs))
    else:
        say(f"No jobs in {store} yet; `mnistjobs submit GRID` makes one")


@app.command()
def compact(store: StoreOption = STORE) -> None:
    """Merge a store's small parts into larger ones.

    Example: mnistjobs compact
    """
    from jobs.api import compact_store

    done = compact_store(store)
    what = f"{len(done.merged)} parts merged into {len(done.written)}" if done.merged else "no small parts to merge"
    say(f"{store}: {what}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a grid file, for editors.

    Example: mnistjobs schema > grid.schema.json
    """
    from jobs.grid import grid_schema

    say(json.dumps(grid_schema(), indent=2))


def _print_report(written: "Report") -> None:
    from jobs.cli.tables import print_table, summary_table

    print_table(summary_table(written.summary))
    say(f"Report: {written.page}")
