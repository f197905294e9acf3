"""Answers for people: the ranking of configurations."""

import pyarrow as pa

from jobs.report.configurations import CONFIGURATION_COLUMNS, IDENTIFYING, varying_settings
from jobs.report.formats import format_interval, format_percent, format_points, format_setting

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
