"""The tables of the page: differences as a forest plot, configurations with a dot per seed, the overview of many."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import pyarrow as pa

from jobs.report.answers import Finding, answers, configuration_name
from jobs.report.choice import Configuration
from jobs.report.forest import forest_range
from jobs.report.formats import format_n
from jobs.report.summary import Row
from jobs.report.wording import contrast_heading, contrast_label, duration, level_words, points, to_points

HEAT_STEPS = 9  # shades of the overview
_MAX_COLUMNS = 12  # of the overview


@dataclass(frozen=True)
class ForestRow:
    """One difference: its words, and where its marks are, in percent of the strip's width."""

    label: str
    finding: Finding
    mean: float | None
    low: float | None
    high: float | None
    title: str


@dataclass(frozen=True)
class Forest:
    """All differences of one kind, on one axis."""

    heading: str
    anchor: str
    zero: float  # percent of the strip's width
    ticks: list[tuple[float, str]]
    rows: list[ForestRow]


@dataclass(frozen=True)
class ConfigurationRow:
    """One configuration of the table: numbers to sort by beside the text that is shown."""

    anchor: str
    name: str
    dots: list[tuple[float, str, bool]]  # percent of the strip's width, text, whether it collapsed
    low: float | None  # ends of the interval, percent of the strip's width
    high: float | None
    mean: float | None
    cells: list[tuple[str, float | str]]  # text, and what it is sorted by
    note: str
    seeds: list[tuple[str, ...]]  # seed, status, test accuracy, epochs, seconds, trial
    links: list[tuple[str, str]]  # anchor and name of what else the page shows of it


def forests(summary: pa.Table, contrasts: pa.Table, effects: pa.Table) -> list[Forest]:
    """Lay out the differences, one forest for each pair of levels."""
    findings = [finding for each in answers(summary, contrasts, effects) for finding in each.findings]
    by_axis: dict[str, list[Row]] = {}
    for row in contrasts.to_pylist():
        by_axis.setdefault(row["axis"], []).append(row)
    ordered = [row for rows in by_axis.values() for row in rows]
    groups: dict[str, list[tuple[Row, Finding]]] = {}
    for row, finding in zip(ordered, findings, strict=True):
        groups.setdefault(contrast_heading(row), []).append((row, finding))
    return [
        _forest(number, heading, found, contrasts.column_names)
        for number, (heading, found) in enumerate(groups.items())
    ]


def _forest(number: int, heading: str, found: Sequence[tuple[Row, Finding]], names: Sequence[str]) -> Forest:
    rows = [{name: to_points(row[name]) for name in ("mean", "low", "high")} for row, _ in found]
    low, high = forest_range(rows)

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - low) / (high - low), 2)

    ticks = [(round(100 * (tick - low) / (high - low), 2), _signed(tick)) for tick in _ticks(low, high)]
    lines = [
        ForestRow(
            contrast_label(contrast, names) or "overall",
            finding,
            place(row["mean"]),
            place(row["low"]),
            place(row["high"]),
            f"{finding.label}: {finding.difference}",
        )
        for row, (contrast, finding) in zip(rows, found, strict=True)
    ]
    return Forest(heading, f"difference-{number}", place(0.0) or 0.0, ticks, lines)


def _ticks(low: float, high: float) -> list[float]:
    steps = [base * 10**power for power in range(-2, 3) for base in (1, 2, 5)]
    step = next((each for each in steps if (high - low) / each <= 5), 100)
    first = int(low / step)
    return [round(k * step, 3) for k in range(first - 1, int(high / step) + 2) if low <= k * step <= high]


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "\u2212") if value else "0"


def configuration_rows(
    configurations: Sequence[Configuration],
    trials: pa.Table,
    varying: Sequence[str],
    links: Mapping[str, Sequence[tuple[str, str]]],
) -> list[ConfigurationRow]:
    """Lay out the table of configurations.

    Args:
        configurations: In the order of the summary.
        trials: A table with the schema TRIALS.
        varying: The settings that vary.
        links: By configuration_id, what else the page shows.
    """
    stored: dict[str, list[dict[str, Any]]] = {}
    for trial in trials.sort_by("seed").to_pylist():
        stored.setdefault(trial["configuration_id"], []).append(trial)
    return [
        _row(one, stored.get(one.row["configuration_id"], []), varying, links.get(one.row["configuration_id"], ()))
        for one in configurations
    ]


def _row(
    one: Configuration, trials: Sequence[Row], varying: Sequence[str], links: Sequence[tuple[str, str]]
) -> ConfigurationRow:
    row = one.row
    dots = [
        (
            round(100 * trial["test_accuracy"], 2),
            f"seed {trial['seed']}: {_percent(trial['test_accuracy'])} %",
            bool(trial["collapsed"]),
        )
        for trial in trials
        if trial["status"] == "finished" and trial["test_accuracy"] is not None
    ]
    seconds = [trial["seconds"] for trial in trials if trial["seconds"] is not None]
    cost = sum(seconds) / len(seconds) if seconds else None
    return ConfigurationRow(
        f"configuration-{row['configuration_id']}",
        configuration_name(row, varying),
        dots,
        to_points(row["test_accuracy_low_cut"]),
        to_points(row["test_accuracy_high_cut"]),
        to_points(row["test_accuracy_mean"]),
        [
            _cell(row["test_accuracy_mean"]),
            (_ends(row, "test_accuracy_low_cut", "test_accuracy_high_cut"), row["test_accuracy_low"] or -1.0),
            (_ends(row, "new_images_low", "new_images_high"), row["new_images_low"] or -1.0),
            _cell(row["test_accuracy_std"]),
            (format_n([row["n"]], [row["seeds_requested"]]), row["n"]),
            _cell(row["train_accuracy_mean"]),
            _cell(row["validation_accuracy_mean"]),
            ("–" if cost is None else duration(cost), cost or -1.0),
        ],
        row["note"],
        [_seed(trial) for trial in trials],
        list(links),
    )


def _seed(trial: Row) -> tuple[str, ...]:
    accuracy = "–" if trial["test_accuracy"] is None else f"{_percent(trial['test_accuracy'])} %"
    status = f"{trial['status']}, collapsed" if trial["collapsed"] else trial["status"]
    seconds = "–" if trial["seconds"] is None else duration(trial["seconds"])
    return (f"{trial['seed']}", status, accuracy, f"{trial['epochs_run'] or '–'}", seconds, trial["trial_id"])


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else points(fraction, 2, signed=False)


def _cell(fraction: float | None) -> tuple[str, float]:
    return _percent(fraction), -1.0 if fraction is None else fraction


def _ends(row: Row, low: str, high: str) -> str:
    return "–" if row[low] is None else f"{_percent(row[low])} to {_percent(row[high])}"


@dataclass(frozen=True)
class HeatCell:
    """One configuration of the overview."""

    text: str
    shade: int
    anchor: str
    title: str


@dataclass(frozen=True)
class Heat:
    """The overview of many configurations: mean test accuracies by rows and columns."""

    columns: list[str]
    rows: list[tuple[str, list[HeatCell | None]]]


def heat_table(summary: pa.Table, varying: Sequence[str]) -> Heat:
    """Arrange all configurations by their settings, with the mean test accuracy of each."""
    rows = summary.to_pylist()
    levels = {name: list(dict.fromkeys(row[name] for row in rows)) for name in varying}
    across: list[str] = []
    count = 1
    for name in sorted(varying, key=lambda each: (each != "subset_size", -len(levels[each]))):
        if count * len(levels[name]) <= _MAX_COLUMNS:
            across.append(name)
            count *= len(levels[name])
    down = [name for name in varying if name not in across]
    found = {tuple(row[name] for name in (*down, *across)): row for row in rows}
    means = [row["test_accuracy_mean"] for row in rows if row["n"]]
    low, high = min(means, default=0.0), max(means, default=1.0)
    columns = list(product(*(levels[name] for name in across)))
    lines = []
    for key in product(*(levels[name] for name in down)):
        cells = [_heat_cell(found.get((*key, *column)), low, high, varying) for column in columns]
        if any(cells):
            lines.append((_words(down, key) or "all", cells))
    return Heat([_words(across, column) for column in columns], lines)


def _words(names: Sequence[str], levels: Sequence[Any]) -> str:
    pairs = zip(names, levels, strict=True)
    return ", ".join(level_words(name, level) for name, level in pairs if level is not None)


def _heat_cell(row: Row | None, low: float, high: float, varying: Sequence[str]) -> HeatCell | None:
    if row is None:
        return None
    mean = row["test_accuracy_mean"]
    shade = 0 if mean is None else round((HEAT_STEPS - 1) * (mean - low) / ((high - low) or 1.0))
    text = "–" if mean is None else points(mean, signed=False) + ("*" if row["note"] else "")
    title = f"{configuration_name(row, varying)}: {_percent(mean)} %, n = {row['n']}. {row['note']}".strip()
    return HeatCell(text, shade, f"configuration-{row['configuration_id']}", title)
