"""Answers for people: the ranking of configurations."""

from collections.abc import Sequence

import pyarrow as pa

from jobs.report.configurations import CONFIGURATION_COLUMNS, IDENTIFYING, varying_settings
from jobs.report.formats import format_count, format_interval, format_percent, format_points, format_setting
from jobs.report.paired import ANYTIME, MIN_FOR_P
from jobs.report.ranking import LEFT_OUT
from jobs.report.summary import Row

_MAX_COLLAPSED = 5  # configurations in a sentence
_RANKING_HEADERS = ("validation accuracy", "behind (pp) [95 % interval]", "", "test accuracy")


def ranking_cells(ranking: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Format a ranking for a person, with accuracies in percent.

    Args:
        ranking: A table with the schema RANKING.

    Returns:
        The header, and one list of cells per configuration. Settings that do not vary are left out.
    """
    settings = [*IDENTIFYING, *varying_settings(ranking.select(CONFIGURATION_COLUMNS).to_pydict())]
    header = ["rank", *(name.replace("_", " ") for name in settings), "n", *_RANKING_HEADERS]
    rows = [
        [
            f"{row['rank']}",
            *(format_setting(row[name]) for name in settings),
            f"{row['n']}",
            format_percent(row["validation_accuracy_mean"]),
            "" if row["rank"] == 1 else format_points(row["behind"]) + format_interval(row),
            "" if row["rank"] == 1 or not row["is_tied"] else "tied",
            format_percent(row["test_accuracy_mean"]),
        ]
        for row in ranking.to_pylist()
    ]
    return header, rows


def best_lines(ranking: pa.Table) -> list[str]:
    """Name the best configuration, say how many others cannot be told from it, and where networks collapsed.

    Args:
        ranking: A table with the schema RANKING, with one row at least.
    """
    rows = ranking.to_pylist()
    settings = [*IDENTIFYING, *varying_settings(ranking.select(CONFIGURATION_COLUMNS).to_pydict())]
    named = ", ".join(f"{name.replace('_', ' ')} {format_setting(rows[0][name])}" for name in settings)
    lines = [f"Best: {named} ({rows[0]['configuration_id']}); {_others(rows[1:])}"]
    if any(row["method"] == ANYTIME for row in rows):
        lines.append("The results decided how many seeds were trained: intervals hold however often one looks")
    if collapsed := [f"{row['collapsed']} of {row['n']} at rank {row['rank']}" for row in rows if row["collapsed"]]:
        more = len(collapsed) - _MAX_COLLAPSED
        listed = ", ".join(collapsed[:_MAX_COLLAPSED]) + (
            f" and at {more} further rank{'' if more == 1 else 's'}" if more > 0 else ""
        )
        lines.append(f"Collapsed: {listed}; means and intervals include them")
    if left_out := int((ranking.schema.metadata or {}).get(LEFT_OUT, 0)):
        lines.append(f"Not ranked: {format_count(left_out, 'configuration')} without a finished trial")
    return lines


def _others(rows: Sequence[Row]) -> str:
    """Say how many of the other configurations cannot be told from the best one."""
    if not rows:
        return "it is the only configuration with a finished trial"
    tied = [row for row in rows if row["is_tied"]]
    if not tied:
        return "all others are clearly behind"
    line = f"{format_count(len(tied), 'configuration')} cannot be told from it"
    if untested := sum(row["p_holm"] is None for row in tied):
        which = "" if untested == len(tied) else f" of {untested} of these"
        line += f"; fewer than {MIN_FOR_P} seeds in common{which} are too few for a test"
    return line
