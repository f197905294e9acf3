"""The results of a study in sentences: a question for each setting that varies, answered by rule from its contrasts.

The four words of a contrast decide: clear, suggested, negligible and open. What is open is never called equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from jobs.report.arms import Level
from jobs.report.contrasts import ALPHA
from jobs.report.formats import format_count
from jobs.report.paired import ANYTIME, MIN_FOR_P
from jobs.report.summary import Row
from jobs.report.wording import context_columns, contrast_label, level_words, parse_level, points, setting_name

_UNSURE = {
    "suggested": "a difference is suggested, not clear",
    "negligible": "the difference lies within the margin that does not matter",
    "open": "{seeds} leave it open",
}

_ASKED_FIRST = ("adaptive_lr", "model", "subset_size")
_NOT_DECIDED = "Not decided: "


@dataclass(frozen=True)
class Finding:
    """One contrast in words."""

    label: str  # what both configurations have in common
    difference: str  # in points, with its interval
    agreement: str  # 5 of 5 seeds
    word: str
    p: str
    remark: str  # collapsed, diverged, failed and missing trials behind it


@dataclass(frozen=True)
class Answer:
    """The answer to the question about one setting."""

    axis: str
    question: str
    headline: str
    findings: tuple[Finding, ...]
    average: str  # over the other settings; empty where there are none


def answers(summary: pa.Table, contrasts: pa.Table, effects: pa.Table) -> list[Answer]:
    """Answer the question about each setting that varies: its influence on the test accuracy.

    Args:
        summary: A table with the schema SUMMARY.
        contrasts: A table as `contrast_table` makes it.
        effects: A table with the schema EFFECTS.
    """
    rows = contrasts_by_axis(contrasts)
    troubled = [row for row in summary.to_pylist() if _troubles(row)]
    names = contrasts.column_names
    averages = {row["effect"]: row for row in effects.to_pylist()}
    return [
        Answer(
            axis,
            question(axis, found[0]),
            headline(axis, found, context_columns(names), averages.get(axis)),
            _findings(found, names, troubled),
            _average(averages.get(axis), len(found)),
        )
        for axis, found in rows.items()
    ]


def contrasts_by_axis(contrasts: pa.Table) -> dict[str, list[Row]]:
    """Group contrasts by the setting that they are about, in the order in which readers ask."""
    rows: dict[str, list[Row]] = {}
    for row in contrasts.to_pylist():
        rows.setdefault(row["axis"], []).append(row)
    first = [axis for axis in _ASKED_FIRST if axis in rows]
    return {axis: rows[axis] for axis in dict.fromkeys([*first, *rows])}


def question(axis: str, row: Row) -> str:
    """Ask what a setting does."""
    if axis == "adaptive_lr":
        return "Does the adaptive rate help?"
    if axis == "subset_size":
        return "How much do more images buy?"
    if axis == "model":
        a, b = (level_words(axis, row[name]) for name in ("level_a", "level_b"))
        return f"Does the {a} beat the {b}?"
    name = setting_name(axis)
    return f"What {'do' if name.endswith('s') else 'does'} the {name} change?"


def headline(axis: str, rows: Sequence[Row], context: Sequence[str], average: Row | None = None) -> str:
    """Answer in one sentence.

    Args:
        axis: The setting.
        rows: Its contrasts.
        context: The other settings that vary.
        average: The effect of the setting, averaged over the others: it may be clear where no single contrast is.
    """
    measured = [row for row in rows if row["mean"] is not None]
    if not measured:
        return "Open: no seed has finished on both sides of any comparison."
    most = max(row["n"] for row in measured)
    if most < MIN_FOR_P and ANYTIME not in {row["method"] for row in measured}:
        return (
            f"Open: a test needs {MIN_FOR_P} seeds, and there {'is' if most == 1 else 'are'} {most}. "
            f"Measured: {_range(measured)}"
        )
    groups = _outcomes(measured)
    if axis == "subset_size" and set(groups) == {"gain"}:
        return f"{_range(measured)} Each comparison is clear."
    clauses = [f"{_where(found, measured, context)}{_says(axis, kind, found)}" for kind, found in groups.items()]
    lead = _lead(axis, groups)
    if lead == _NOT_DECIDED and average and average["p_holm"] is not None and average["p_holm"] < ALPHA:
        lead = f"On average {points(average['mean'])} points{_interval(average)}, which is clear. One by one: "
    sentence = f"{lead}{'; '.join(clauses)}."
    return f"{sentence[0].upper()}{sentence[1:]}"


def _outcomes(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Group contrasts by their outcome: gain or loss where it is clear, else their word."""
    kinds = ("gain", "loss", "suggested", "negligible", "open")
    found: dict[str, list[Row]] = {}
    for row in rows:
        kind = ("gain" if row["mean"] > 0 else "loss") if row["word"] == "clear" else row["word"]
        found.setdefault(kind, []).append(row)
    return {kind: found[kind] for kind in kinds if kind in found}


def _lead(axis: str, groups: Mapping[str, Sequence[Row]]) -> str:
    if "gain" in groups and "loss" in groups:
        return "It depends: "
    decided = groups.keys() & {"gain", "loss"}
    if not decided:
        return _NOT_DECIDED if groups.keys() != {"negligible"} else "It hardly matters: "
    if axis not in ("adaptive_lr", "model"):
        return ""
    if decided == {"loss"}:
        return "No: "
    return "Yes: " if len(groups) == 1 else "In part: "


def _says(axis: str, kind: str, rows: Sequence[Row]) -> str:
    """Write the clause about contrasts with one outcome."""
    if kind in _UNSURE:
        n = sorted({row["n"] for row in rows})
        seeds = format_count(n[0], "seed") if len(n) == 1 else f"{n[0]} to {n[-1]} seeds"
        return _UNSURE[kind].format(seeds=seeds)
    by = _spread(rows)
    if axis == "adaptive_lr":
        return f"it {'raises accuracy by' if kind == 'gain' else 'costs'} {by}"
    if axis == "subset_size":
        return f"more images {'raise accuracy by' if kind == 'gain' else 'cost'} {by}"
    levels = {(row["level_a"], row["level_b"]) for row in rows}
    if len(levels) > 1:
        return f"the larger level is {'better' if kind == 'gain' else 'worse'} by {by}" if axis != "model" else f"{by}"
    a, b = (level_words(axis, parse_level(axis, text)) for text in levels.pop())
    better, worse = (a, b) if kind == "gain" else (b, a)
    return f"{'the ' if axis == 'model' else ''}{better} beats {'the ' if axis == 'model' else ''}{worse} by {by}"


def _spread(rows: Sequence[Row]) -> str:
    """Give the size of some differences of one sign: 1.9 to 4.0 points."""
    sizes = sorted(abs(row["mean"]) for row in rows)
    low, high = (points(size, signed=False) for size in (sizes[0], sizes[-1]))
    return f"{low} points" if low == high else f"{low} to {high} points"


def _range(rows: Sequence[Row]) -> str:
    """Give the range of some differences, with their signs."""
    means = sorted(row["mean"] for row in rows)
    low, high = points(means[0]), points(means[-1])
    return f"{low} points." if low == high else f"{low} to {high} points."


def _where(found: Sequence[Row], rows: Sequence[Row], context: Sequence[str]) -> str:
    """Say where an outcome holds: with the levels of one other setting that it holds for alone, or how often."""
    if len(found) == len(rows):
        return ("", "in both comparisons ")[len(rows) - 1] if len(rows) < 3 else f"in all {len(rows)} comparisons "
    for name in context:
        levels = {row[name] for row in found} - {None}
        if levels and [row for row in rows if row[name] in levels] == list(found):
            return f"with {' and '.join(_with_article(name, level) for level in sorted(levels, key=str))} "
    if len(found) == 1 and len({(row["level_a"], row["level_b"]) for row in rows}) == 1:
        words = (_with_article(name, found[0][name]) for name in context if found[0][name] is not None)
        return f"with {' and '.join(words)} "
    return f"in {len(found)} of {len(rows)} comparisons "


def _with_article(name: str, level: Level) -> str:
    return f"{'the ' if name in ('model', 'adaptive_lr') else ''}{level_words(name, level)}"


def _has_steps(rows: Sequence[Row]) -> bool:
    """Tell whether contrasts compare several pairs of levels, which a label then names."""
    return len({(row["level_a"], row["level_b"]) for row in rows}) > 1 or rows[0]["axis"] not in (
        "adaptive_lr",
        "model",
    )


def _findings(rows: Sequence[Row], names: Sequence[str], troubled: Sequence[Row]) -> tuple[Finding, ...]:
    with_levels = _has_steps(rows)
    return tuple(_finding(row, names, troubled, with_levels) for row in rows)


def _finding(row: Row, names: Sequence[str], troubled: Sequence[Row], with_levels: bool) -> Finding:
    label = contrast_label(row, names)
    if with_levels:
        levels = [parse_level(row["axis"], row[name]) for name in ("level_b", "level_a")]
        step = f"{level_words(row['axis'], levels[0])} → {level_words(row['axis'], levels[1])}"
        label = f"{label}, {step}" if label else step
    label = label or "overall"
    if row["mean"] is None:
        return Finding(label, "no seed on both sides", "", row["word"], "", _remark(row, names, troubled))
    return Finding(
        label,
        f"{points(row['mean'])} points{_interval(row)}",
        f"{row['seeds_agree']} of {format_count(row['n'], 'seed')}",
        row["word"],
        "" if row["p_holm"] is None else f"Holm p = {row['p_holm']:.2g}",
        _remark(row, names, troubled),
    )


def _interval(row: Row) -> str:
    return "" if row["low"] is None else f" [{points(row['low'])}, {points(row['high'])}]"


def _average(row: Row | None, contrasts: int) -> str:
    if row is None or row["mean"] is None or contrasts < 2:
        return ""
    levels = [level_words(row["effect"], parse_level(row["effect"], row[name])) for name in ("level_a", "level_b")]
    compared = f"{levels[0]} against {levels[1]}"
    return f"On average over the other settings, {compared}: {points(row['mean'])} points{_interval(row)}."


def _remark(row: Row, names: Sequence[str], troubled: Sequence[Row]) -> str:
    """Name the trials behind a contrast that are not as they should be; give its mean without those that collapsed."""
    axis, columns, found = row["axis"], context_columns(names), {}
    for name in ("level_a", "level_b"):
        level = parse_level(axis, row[name])
        alike = (
            each
            for each in troubled
            if each[axis] == level and all(None in (each[c], row[c]) or each[c] == row[c] for c in columns)
        )
        found[level_words(axis, level)] = next((_troubles(each) for each in alike), "")
    if len(found) == 2 and len(set(found.values())) == 1 and all(found.values()):
        found = {"both": next(iter(found.values()))}
    remarks = [f"{level}: {troubles}" for level, troubles in found.items() if troubles]
    if row["collapsed"] and row["mean_without_collapsed"] is not None:
        others = format_count(row["n"] - row["collapsed"], "seed")
        remarks.append(f"{points(row['mean_without_collapsed'])} points in the other {others}")
    return "; ".join(remarks)


def _troubles(row: Row) -> str:
    """Count the trials of a configuration that did not end well: 1 of 5 failed, 1 missing."""
    kinds = [kind for kind in ("collapsed", "diverged", "failed", "missing") if row[kind]]
    counts = [f"{row[kind]} {kind}" for kind in kinds]
    return ", ".join([f"{row[kinds[0]]} of {row['seeds_requested']} {kinds[0]}", *counts[1:]]) if kinds else ""
