"""The command that answers in one line."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from jobs.cli.arguments import STORE, JobArgument, StoreOption, parse_fraction
from jobs.cli.output import echo
from jobs.cli.step_summary import append_step_summary

if TYPE_CHECKING:
    from jobs.report import JobComparison, Verdict

EXIT_CODES = {"better": 0, "worse": 3, "negligible": 4, "keep going": 5}
COMPARISON_EXIT_CODES = {"equal": 0, "no worse": 0, "worse": 3, "open": 5}


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
        typer.Option(
            metavar="0.3pp", parser=parse_fraction, help="The difference below which two levels are equally good."
        ),
    ] = None,
    junit: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a JUnit file, too: worse fails, keep going is skipped.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print an object with the figures.")] = False,
) -> None:
    """Judge a setting: better, worse, negligible or keep going.

    Ask as often as you like while seeds are added: the error of 5 % holds for all looks together. Exit code: 0 better,
    3 worse, 4 negligible, 5 keep going.

    Example: mnistjobs verdict report --contrast adaptive_lr
    """
    from jobs.api import judge_job, read_decision

    axis, _, level = (contrast or "").partition("=")
    found = judge_job(store, job, axis or None, level or None, margin)
    line = "; ".join(filter(None, [verdict_line(found), read_decision(store, job)]))
    echo(json.dumps(asdict(found), indent=2) if json_ else line)
    append_step_summary(f"mnistjobs verdict {job}", [line])
    if junit:
        from jobs.cli.junit import junit_xml
        from jobs.store import write_output

        write_output(junit, junit_xml(found, job, line))
    sys.exit(EXIT_CODES[found.verdict])


def best(
    job: JobArgument,
    store: StoreOption = STORE,
    json_: Annotated[bool, typer.Option("--json", help="Print a list of objects, one per configuration.")] = False,
) -> None:
    """Rank a job's configurations by validation accuracy.

    Those that cannot be told from the best are marked. The test set has no part in the choice, so that the test
    accuracy of the first one is not flattered by it.

    Example: mnistjobs best report
    """
    from jobs.api import rank_job
    from jobs.cli.tables import lay_out, print_table
    from jobs.report import best_lines, ranking_cells, ranking_markdown

    ranking = rank_job(store, job)
    lines = best_lines(ranking) if ranking.num_rows else ["no trial has finished yet"]
    append_step_summary(f"mnistjobs best {job}", lines, ranking_markdown(ranking) if ranking.num_rows else "")
    if json_:
        echo(json.dumps(ranking.to_pylist(), indent=2))
        return
    if ranking.num_rows:
        print_table(lay_out(*ranking_cells(ranking)))
    echo("\n".join(lines))


def compare(
    first: Annotated[str, typer.Argument(metavar="JOB", help="The job to compare with: an id, a name or a folder.")],
    second: Annotated[str, typer.Argument(metavar="JOB", help="The job that may have become worse.")],
    store: StoreOption = STORE,
    gate: Annotated[
        float | None,
        typer.Option(metavar="0.2pp", parser=parse_fraction, help="The loss of test accuracy that is accepted."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print an object with the figures.")] = False,
) -> None:
    """Compare two jobs: equal to the bit, or is one worse?

    They may come from two versions of the code. Where not all trials are equal, the paired test decides. Exit code:
    0 equal, or no worse than the gate allows; 3 worse; 5 open. The folder of a job also names its store.

    Example: mnistjobs compare before after --gate 0.2pp
    """
    from jobs.api import compare_jobs

    found = compare_jobs(store, first, second, gate or 0.0)
    lines = comparison_lines(found)
    echo(json.dumps(asdict(found), indent=2) if json_ else lines)
    append_step_summary(f"mnistjobs compare {first} {second}", lines.splitlines())
    sys.exit(COMPARISON_EXIT_CODES[found.outcome])


def comparison_lines(found: "JobComparison") -> str:
    """Say in a few lines what changed between two jobs."""
    from jobs.report import format_count

    lines = [f"{found.outcome}: {found.equal:,} of {format_count(found.trials, 'trial')} are equal in every number"]
    if found.mean is not None and found.outcome != "equal":
        where = f"{format_count(found.n, 'seed')}, {format_count(len(found.changes), 'configuration')}"
        lines[0] += f"; test accuracy {100 * found.mean:+.2f} pp{_interval_of(found)}, {where}"
        lines += _changed_configurations(found)
    for count, which in ((found.only_first, "first"), (found.only_second, "second")):
        if count:
            lines.append(f"Only the {which} job has {format_count(count, 'trial')} more")
    return "\n".join(lines)


def _changed_configurations(found: "JobComparison") -> list[str]:
    """Name the configurations whose change is clear."""
    from jobs.report import CONFIGURATION_COLUMNS, IDENTIFYING, format_p, varying_settings

    columns = {name: [change.settings[name] for change in found.changes] for name in CONFIGURATION_COLUMNS}
    shown = [*IDENTIFYING, *varying_settings(columns)]
    return [
        f"  {', '.join(f'{name} {change.settings[name]}' for name in shown)}: {100 * change.difference.mean:+.2f} pp"
        f"{_interval(change.difference.low, change.difference.high)}, p {format_p(change.p_holm)} (Holm)"
        for change in found.changes
        if change.p_holm is not None and change.p_holm < 0.05 and change.difference.mean is not None
    ]


def _interval_of(found: "JobComparison") -> str:
    """Format the interval of a comparison, and say so where it holds however often one has looked."""
    from jobs.report import ANYTIME

    interval = _interval(found.low, found.high)
    if found.method != ANYTIME:
        return interval
    return f", 95 % at any time{interval}" if interval else ", no bound yet"


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" [{100 * low:+.2f}, {100 * high:+.2f}]"


def verdict_line(found: "Verdict") -> str:
    """Say a verdict in one line."""
    what = f"{found.axis} {found.level_a} against {found.level_b}: {found.verdict}"
    if found.mean is None:
        return f"{what}; no seed has finished in all {found.configurations} configurations"
    seeds = f"{found.n} seed{'' if found.n == 1 else 's'}, {found.configurations} configurations"
    interval = "no bound yet"
    if found.low is not None and found.high is not None:
        interval = f"95 % at any time [{100 * found.low:+.2f}, {100 * found.high:+.2f}]"
    return (
        f"{what}; {100 * found.mean:+.2f} pp, {interval}, {seeds}{_by_pair(found)}{_forecast(found)}{_collapsed(found)}"
    )


def _collapsed(found: "Verdict") -> str:
    """Say where collapsed networks are part of the figures."""
    if not found.collapsed:
        return ""
    return f"; {found.collapsed} trial{'' if found.collapsed == 1 else 's'} collapsed, which these figures include"


def _by_pair(found: "Verdict") -> str:
    """Say where an average hides differences of both signs."""
    if found.pairs < 2 or not (found.better_in and found.worse_in):
        return ""
    return f"; on average only: better in {found.better_in} of {found.pairs} pairs of them, worse in {found.worse_in}"


def _forecast(found: "Verdict") -> str:
    from jobs.report import MIN_FOR_ANSWER, MIN_SEEDS

    if found.verdict != "keep going":
        return ""
    if found.low is None and found.n < MIN_SEEDS:
        return f"; a verdict takes {MIN_FOR_ANSWER} seeds at least"
    if found.seeds_needed is None:
        return "; with a difference like this one no number of seeds within reason decides"
    return f"; about {found.seeds_needed} seeds in all would decide, if mean and spread stay as they are"
