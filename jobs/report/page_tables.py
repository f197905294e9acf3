"""The tables of the page: differences as a forest plot, configurations with a dot per seed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from jobs.report.answers import Finding, answers, contrasts_by_axis
from jobs.report.choice import Configuration
from jobs.report.forest import forest_range
from jobs.report.formats import BINOMIAL_MARK, CUT_MARK, NO_VALUE, format_n
from jobs.report.summary import Row
from jobs.report.wording import configuration_name, contrast_heading, contrast_label, duration, points, to_points


@dataclass(frozen=True)
class ForestRow:
    """One difference: its words, and where its marks are, in percent of the strip's width."""

    label: str
    finding: Finding
    mean: float | None  # None also where it is beyond the scale
    low: float | None
    high: float | None
    beyond_left: bool  # whether the interval goes beyond the scale
    beyond_right: bool


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
    low: float | None  # ends of the interval, within the strip, in percent of its width
    high: float | None
    mean: float | None
    cells: list[tuple[str, float | str]]  # text, and what it is sorted by
    note: str
    seeds: list[tuple[str, ...]]  # seed, status, test accuracy, epochs, seconds, trial
    links: list[tuple[str, str]]  # anchor and name of what else the page shows of it


def forests(summary: pa.Table, contrasts: pa.Table, effects: pa.Table) -> list[Forest]:
    """Lay out the differences, one forest for each pair of levels of which a seed has finished on both sides."""
    findings = [finding for each in answers(summary, contrasts, effects) for finding in each.findings]
    ordered = [row for rows in contrasts_by_axis(contrasts).values() for row in rows]
    groups: dict[str, list[tuple[Row, Finding]]] = {}
    for row, finding in zip(ordered, findings, strict=True):
        groups.setdefault(contrast_heading(row), []).append((row, finding))
    measured = [
        (heading, found) for heading, found in groups.items() if any(row["mean"] is not None for row, _ in found)
    ]
    return [_forest(number, heading, found, contrasts.column_names) for number, (heading, found) in enumerate(measured)]


def _forest(number: int, heading: str, found: Sequence[tuple[Row, Finding]], names: Sequence[str]) -> Forest:
    rows = [{name: to_points(row[name]) for name in ("mean", "low", "high")} for row, _ in found]
    low, high = forest_range(rows)

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - low) / (high - low), 2)

    ticks = [(round(100 * (tick - low) / (high - low), 2), _signed(tick)) for tick in _ticks(low, high)]
    lines = [
        _forest_row(contrast_label(contrast, names) or "overall", finding, {name: place(row[name]) for name in row})
        for row, (contrast, finding) in zip(rows, found, strict=True)
    ]
    return Forest(heading, f"difference-{number}", place(0.0) or 0.0, ticks, lines)


def _forest_row(label: str, finding: Finding, places: Mapping[str, float | None]) -> ForestRow:
    mean, low, high = (places[name] for name in ("mean", "low", "high"))
    is_seen = mean is not None and 0 <= mean <= 100
    cut_low, cut_high = (None if end is None else min(max(end, 0.0), 100.0) for end in (low, high))
    return ForestRow(
        label, finding, mean if is_seen else None, cut_low, cut_high, (low or 0.0) < 0, (high or 0.0) > 100
    )


def _ticks(low: float, high: float) -> list[float]:
    steps = [base * 10**power for power in range(-2, 3) for base in (1, 2, 5)]
    step = next((each for each in steps if (high - low) / each <= 5), 100)
    first = int(low / step)
    return [round(k * step, 3) for k in range(first - 1, int(high / step) + 2) if low <= k * step <= high]


def _signed(value: float) -> str:
    return f"{value:+g}".replace("-", "\u2212") if value else "0"


@dataclass(frozen=True)
class Strip:
    """The scale that all dots share, in percent of the test images; what lies beyond an end is drawn at it."""

    low: float
    high: float

    def shows(self, fraction: float | None) -> bool:
        """Tell whether an accuracy is on the scale."""
        return fraction is not None and self.low <= 100 * fraction <= self.high

    def place(self, fraction: float | None) -> float | None:
        """Return where an accuracy is, in percent of the strip's width."""
        if fraction is None:
            return None
        return round(min(max(100 * (100 * fraction - self.low) / (self.high - self.low), 0.0), 100.0), 2)


def choose_strip(trials: pa.Table) -> Strip:
    """Choose a scale with whole percents at its ends that shows every seed that did not collapse."""
    columns = (trials[name].to_pylist() for name in ("test_accuracy", "collapsed"))
    shown = [
        100 * accuracy for accuracy, collapsed in zip(*columns, strict=True) if accuracy is not None and not collapsed
    ]
    if not shown:
        return Strip(0.0, 100.0)
    pad = max(0.05 * (max(shown) - min(shown)), 0.2)
    return Strip(max(math.floor(min(shown) - pad), 0.0), min(math.ceil(max(shown) + pad), 100.0))


def configuration_rows(
    configurations: Sequence[Configuration],
    trials: pa.Table,
    varying: Sequence[str],
    links: Mapping[str, Sequence[tuple[str, str]]],
    strip: Strip,
) -> list[ConfigurationRow]:
    """Lay out the table of configurations.

    Args:
        configurations: In the order of the summary.
        trials: A table with the schema TRIALS.
        varying: The settings that vary.
        links: By configuration_id, what else the page shows.
        strip: The scale of the dots.
    """
    stored: dict[str, list[dict[str, Any]]] = {}
    for trial in trials.sort_by("seed").to_pylist():
        stored.setdefault(trial["configuration_id"], []).append(trial)
    return [
        _row(
            one, stored.get(one.row["configuration_id"], []), varying, links.get(one.row["configuration_id"], ()), strip
        )
        for one in configurations
    ]


def _row(
    one: Configuration, trials: Sequence[Row], varying: Sequence[str], links: Sequence[tuple[str, str]], strip: Strip
) -> ConfigurationRow:
    row = one.row
    dots = [
        (
            strip.place(trial["test_accuracy"]) or 0.0,
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
        strip.place(row["test_accuracy_low_cut"]),
        strip.place(row["test_accuracy_high_cut"]),
        strip.place(row["test_accuracy_mean"]) if strip.shows(row["test_accuracy_mean"]) else None,
        [
            _cell(row["test_accuracy_mean"]),
            (_interval(row), row["test_accuracy_low"] or -1.0),
            (_ends(row, "new_images_low", "new_images_high"), row["new_images_low"] or -1.0),
            _cell(row["test_accuracy_std"]),
            (format_n([row["n"]], [row["seeds_requested"]]), row["n"]),
            _cell(row["train_accuracy_mean"]),
            _cell(row["validation_accuracy_mean"]),
            ("–" if cost is None else duration(cost), cost or -1.0),
        ],
        _note(row),
        [_seed(trial) for trial in trials],
        list(links),
    )


def _note(row: Row) -> str:
    """Say what is odd about a configuration, and its mean without the seeds that collapsed."""
    intact = row["test_accuracy_mean_without_collapsed"]
    mean = f"; mean of the others: {_percent(intact)}" if row["collapsed"] and intact is not None else ""
    return f"{row['note']}{mean}"


def _seed(trial: Row) -> tuple[str, ...]:
    accuracy = "–" if trial["test_accuracy"] is None else f"{_percent(trial['test_accuracy'])} %"
    status = f"{trial['status']}, collapsed" if trial["collapsed"] else trial["status"]
    seconds = "–" if trial["seconds"] is None else duration(trial["seconds"])
    return (f"{trial['seed']}", status, accuracy, f"{trial['epochs_run'] or '–'}", seconds, trial["trial_id"])


def _percent(fraction: float | None) -> str:
    return "–" if fraction is None else points(fraction, 2, signed=False)


def _cell(fraction: float | None) -> tuple[str, float]:
    return _percent(fraction), -1.0 if fraction is None else fraction


def _interval(row: Row) -> str:
    """Format the interval for seeds with its marks, or both values where there are two."""
    if row["n"] == 2:
        return f"({_percent(row['test_accuracy_min'])}, {_percent(row['test_accuracy_max'])})"
    if row["interval"] is None:
        return NO_VALUE
    low, high = (
        _percent(row[f"{end}_cut"]) + (CUT_MARK if row[f"{end}_cut"] != row[end] else "")
        for end in ("test_accuracy_low", "test_accuracy_high")
    )
    return f"{low} to {high}{BINOMIAL_MARK if row['interval'] == 'binomial' else ''}"


def _ends(row: Row, low: str, high: str) -> str:
    return "–" if row[low] is None else f"{_percent(row[low])} to {_percent(row[high])}"
