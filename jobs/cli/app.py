"""The commands. With the other modules of jobs.cli, this is the only one that prints or exits.

Heavy imports are inside the commands, so that --help and --version take a tenth of a second.
"""

import io
import json
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from cluster import ClusterError
from jobs.cli.answers import best, compare, verdict
from jobs.cli.arguments import (
    STORE,
    FiguresOption,
    Format,
    GridArgument,
    JobOption,
    PlanFormat,
    StoreOption,
    TargetOption,
)
from jobs.cli.data import data_app
from jobs.cli.exit_codes import BAD_INPUT, SOME_FAILED
from jobs.cli.export import export
from jobs.cli.hints import LOST_TRIALS, OUTDATED_FILES
from jobs.cli.life import cancel, list_, logs, status, watch
from jobs.cli.output import echo, echo_error, echo_first, echo_warnings_once
from jobs.cli.predict import predict
from jobs.cli.query import query
from jobs.cli.step_summary import append_step_summary
from jobs.cli.submit import drive, print_report, remarks_on, resume, submit
from jobs.errors import InputError, MnistjobsError
from mnist_core.errors import DataError, KernelsError

app = typer.Typer(
    help="Train replicated studies of MNIST-sized models from a grid file, on this machine or a Ray cluster.\n\n"
    "Example: mnistjobs init grid.yaml && mnistjobs submit grid.yaml",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_app, name="data")
app.command()(submit)
app.command(hidden=True)(drive)
app.command()(resume)
for command in (status, watch, logs, cancel):
    app.command()(command)
app.command("list")(list_)
app.command()(verdict)
app.command()(best)
app.command()(compare)
app.command()(query)
app.command()(predict)
app.command()(export)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        from importlib.metadata import version

        echo(f"mnistjobs {version('mnistjobs')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Take the options that come before a command."""


def main() -> NoReturn:
    """Run the command line; an error that a user can cause becomes one message and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # escapes characters that the terminal does not have
    echo_warnings_once()
    try:
        app(prog_name="mnistjobs")
    except (MnistjobsError, DataError, KernelsError, ClusterError) as error:
        echo_error(error)
    except OSError as error:  # a full disk behind stdout, a working directory that is gone
        echo(f"{error.filename or 'mnistjobs'}: {error.strerror or error}", err=True)
    sys.exit(BAD_INPUT)


@app.command()
def init(
    path: Annotated[Path, typer.Argument(metavar="GRID", help="The file to write.")] = Path("grid.yaml"),
) -> None:
    """Write a commented starter grid, and its JSON Schema for editors.

    Example: mnistjobs init grid.yaml
    """
    from jobs.cli.starter import write_starter

    schema_path = write_starter(path)
    echo(f"Wrote {path}; editors check it against {schema_path}. Next: mnistjobs submit {path}")


@app.command()
def plan(
    grid: GridArgument,
    store: StoreOption = STORE,
    trials: Annotated[bool, typer.Option("--trials", help="List every trial, and why it would be trained.")] = False,
    format_: Annotated[
        PlanFormat, typer.Option("--format", help="json has every trial, or every fault of the grid.")
    ] = (PlanFormat.table),
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
) -> None:
    """Count a grid's trials: stored, new and stale. Nothing is trained.

    Example: mnistjobs plan grid.yaml --trials
    """
    from jobs.api import plan_grid
    from jobs.cli.plan import (
        decision_line,
        faults_json,
        given_grid,
        plan_json,
        plan_line,
        plan_table,
        plan_trials,
        trials_at_once,
    )
    from jobs.cli.tables import print_table

    if json_ or format_ is PlanFormat.json:
        try:
            echo(plan_json(plan_grid(given_grid(grid), store)))
        except InputError as error:
            echo(faults_json(grid, error))
            sys.exit(BAD_INPUT)
        return
    made = plan_grid(given_grid(grid), store)
    print_table(plan_trials(made) if trials else plan_table(made))
    echo(plan_line(made, store, trials_at_once(made)))
    if line := decision_line(made):
        echo(line)


@app.command()
def summary(
    job: JobOption = None,
    store: StoreOption = STORE,
    target: TargetOption = None,
    format_: Annotated[Format, typer.Option("--format", help="The format of the table.")] = Format.table,
) -> None:
    """Print a job's accuracies, one row per configuration.

    Example: mnistjobs summary report --target 0.2pp
    """
    from jobs.api import read_summary
    from jobs.cli.tables import print_summary
    from jobs.report import summary_json, summary_latex, summary_markdown, table_csv

    table, remarks = read_summary(store, job, target), remarks_on(store, job)
    append_step_summary(f"mnistjobs summary {job or ''}", remarks, summary_markdown(table))
    if format_ is Format.table:
        print_summary(table)
        for line in remarks:
            echo(line)
    else:
        renderers = {
            Format.csv: table_csv,
            Format.json: summary_json,
            Format.markdown: summary_markdown,
            Format.latex: summary_latex,
        }
        echo(renderers[format_](table).rstrip("\n"))


@app.command()
def report(job: JobOption = None, store: StoreOption = STORE, figures: FiguresOption = None) -> None:
    """Write a job's tables, figures and page again, from the store.

    Example: mnistjobs report report --figures pdf
    """
    from jobs.api import report_job
    from jobs.report import summary_markdown

    written, remarks = report_job(store, job, [figure.value for figure in figures or ()]), remarks_on(store, job)
    append_step_summary(f"mnistjobs report {written.job_id}", remarks, summary_markdown(written.summary))
    print_report(written)
    for line in remarks:
        echo(line)


@app.command("verify")
def verify_job_(
    job: JobOption = None,
    store: StoreOption = STORE,
    rerun: Annotated[int, typer.Option(min=0, metavar="N", help="Train N trials again, chosen at random.")] = 0,
) -> None:
    """Check every byte of a job; train some trials again.

    Example: mnistjobs verify report --rerun 3
    """
    from jobs.report import format_count
    from jobs.verify import verify_job

    found = verify_job(store, job, rerun)
    echo_first(found.problems, "problem")
    hints = {LOST_TRIALS: found.lost_trials, OUTDATED_FILES: found.outdated_files}
    echo_first([hint for hint, reasons in hints.items() if reasons], "hint")
    echo_first([f"note: {note}" for note in found.notes], "note")
    checked = f"{format_count(found.trials, 'trial')} with weights, {format_count(found.files, 'file')}"
    again = f", {found.rerun} trained again" if rerun else ""
    echo(f"{checked}{again}: {format_count(len(found.problems), 'problem')}")
    if found.problems:
        sys.exit(SOME_FAILED)


@app.command()
def compact(store: StoreOption = STORE) -> None:
    """Merge a store's small parts into larger ones.

    Example: mnistjobs compact
    """
    from jobs.api import compact_store
    from jobs.report import format_count

    done = compact_store(store)
    merged = f"{format_count(len(done.merged), 'part')} merged into {len(done.written)}"
    echo(f"{store}: {merged if done.merged else 'no small parts to merge'}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a grid file, for editors.

    Example: mnistjobs schema > grid.schema.json
    """
    from jobs.grid import grid_schema

    echo(json.dumps(grid_schema(), indent=2))
