"""The command that answers in one line."""

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.arguments import STORE, JobArgument, StoreOption
from jobs.cli.output import echo

if TYPE_CHECKING:
    from jobs.report import Verdict

EXIT_CODES = {"better": 0, "worse": 3, "negligible": 4, "keep going": 5}


def _fraction(text: str | float) -> float:
    """Read percentage points as a fraction."""
    from jobs.grid import fraction_of

    try:
        return fraction_of(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def verdict(
    job: JobArgument,
    store: StoreOption = STORE,
    contrast: Annotated[
        str | None,
        typer.Option(
            metavar="AXIS[=LEVEL]", help="The setting to judge, such as adaptive_lr; default: the only one that varies."
        ),
    ] = None,
    margin: Annotated[
        float | None,
        typer.Option(metavar="0.3pp", parser=_fraction, help="The difference below which two levels are equally good."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print an object with the figures.")] = False,
) -> None:
    """Judge a setting: better, worse, negligible or keep going.

    Ask as often as you like while seeds are added: the error of 5 % holds for all looks together. Exit code: 0 better,
    3 worse, 4 negligible, 5 keep going.

    Example: mnistjobs verdict report --contrast adaptive_lr
    """
    from jobs.api import judge_job

    axis, _, level = (contrast or "").partition("=")
    found = judge_job(store, job, axis or None, level or None, margin)
    echo(json.dumps(asdict(found), indent=2) if json_ else verdict_line(found))
    sys.exit(EXIT_CODES[found.verdict])


def verdict_line(found: "Verdict") -> str:
    """Say a verdict in one line."""
    what = f"{found.axis} {found.level_a} against {found.level_b}: {found.verdict}"
    if found.mean is None:
        return f"{what}; no seed has finished in all {found.configurations} configurations"
    seeds = f"{found.n} seed{'' if found.n == 1 else 's'}, {found.configurations} configurations"
    interval = "no bound yet"
    if found.low is not None and found.high is not None:
        interval = f"95 % at any time [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return f"{what}; {100 * found.mean:+.2f} pp, {interval}, {seeds}{_by_pair(found)}{_forecast(found)}"


def _by_pair(found: "Verdict") -> str:
    """Say where an average hides differences of both signs."""
    if found.pairs < 2 or not (found.better_in and found.worse_in):
        return ""
    return f"; on average only: better in {found.better_in} of {found.pairs} pairs of them, worse in {found.worse_in}"


def _forecast(found: "Verdict") -> str:
    if found.verdict != "keep going":
        return ""
    if found.seeds_needed is None:
        return "; with a difference like this one no number of seeds within reason decides"
    return f"; about {found.seeds_needed} seeds in all would decide, if mean and spread stay as they are"
