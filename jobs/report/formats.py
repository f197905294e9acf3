"""Figures for people: the cells of tables, and the sentences below them."""

import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from jobs.report.configurations import CONFIGURATION_COLUMNS, IDENTIFYING, varying_settings
from jobs.report.summary import ANYTIME, MIN_INTERVAL_N, Row

NO_VALUE = "–"
CUT_MARK, BINOMIAL_MARK = "*", "†"
# Columns of words; all others are numbers, and aligned to the right.
TEXT_HEADERS = ("model", "numerics", "note", "axis", "a", "b", "result")
N_HEADER, ACCURACY_HEADER, INTACT_HEADER = "n", "test accuracy [95 % interval]", "without collapsed"
NEW_IMAGES_HEADER = "[95 % interval, new images]"
MORE_SEEDS_HEADER, SEED_NOISE_HEADER = "more seeds", "seed noise"
_OTHER_HEADERS = ("std (pp)", "train", "validation", "gap (pp)")
_CONTRAST_HEADERS = ("n", "a - b (pp) [95 % interval]", "seeds agree", "p (Holm)", "result")
_WITHOUT_COLLAPSED = "without collapsed (pp)"
COUNT_HEADERS = ("diverged", "failed")  # which a note repeats


def format_count(count: int, noun: str, plural: str = "") -> str:
    """Format a number of things: 1 trial, 2,000 trials.

    Args:
        count: How many.
        noun: In the singular.
        plural: Where it is not the singular with an s.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_n(n: Sequence[int], requested: Sequence[int], collapsed: int = 0) -> str:
    """Format how many seeds are behind a figure: 3, 3 of 5, 2–3 of 5, or 3 of 3, 2 collapsed.

    Args:
        n: Seeds, of each point where the figure has several.
        requested: Seeds that the job asks for, of each point.
        collapsed: How many of the trials collapsed, at all points together.
    """
    text = format_range(n)
    if collapsed or tuple(n) != tuple(requested):
        text += f" of {format_range(requested)}"
    if not collapsed:
        return text
    return f"{text}, {collapsed}{f' of {sum(n)}' if len(n) > 1 else ''} collapsed"


def format_range(values: Sequence[int]) -> str:
    """Format the smallest and the largest value, such as 4–5, or one value where they are equal."""
    low, high = min(values), max(values)
    return f"{low}" if low == high else f"{low}–{high}"


def format_setting(value: Any) -> str:  # noqa: ANN401  (a cell of any column)
    """Format the value of a setting for a person."""
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return {"mlp": "MLP", "cnn": "CNN"}.get(value, str(value))


def summary_cells(summary: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Format a summary for a person, with accuracies in percent.

    Args:
        summary: A table with the schema SUMMARY.

    Returns:
        The header, and one list of cells per configuration. Settings that do not vary are left out, and so are the
        note, the mean without collapsed trials and the interval for new images where no configuration has one.
    """
    columns = summary.select(CONFIGURATION_COLUMNS).to_pydict()
    settings = [*IDENTIFYING, *varying_settings(columns)]
    rows = [
        {**{name.replace("_", " "): format_setting(row[name]) for name in settings}, **_result_cells(row)}
        for row in summary.to_pylist()
    ]
    has_collapsed, has_notes = any(summary["collapsed"].to_pylist()), any(summary["note"].to_pylist())
    header = [
        *(name.replace("_", " ") for name in settings),
        N_HEADER,
        ACCURACY_HEADER,
        *([INTACT_HEADER] if has_collapsed else []),
        *([NEW_IMAGES_HEADER] if any(each is not None for each in summary["new_images_low"].to_pylist()) else []),
        *([MORE_SEEDS_HEADER, SEED_NOISE_HEADER] if "target" in summary.column_names else []),
        *_OTHER_HEADERS,
        *COUNT_HEADERS,
        *(["note"] if has_notes else []),
    ]
    return header, [[row[name] for name in header] for row in rows]


def _result_cells(row: Row) -> dict[str, str]:
    return {
        N_HEADER: format_n([row["n"]], [row["seeds_requested"]], row["collapsed"]),
        ACCURACY_HEADER: format_percent(row["test_accuracy_mean"]) + _interval(row),
        INTACT_HEADER: format_percent(row["test_accuracy_mean_without_collapsed"]) if row["collapsed"] else "",
        "std (pp)": format_points(row["test_accuracy_std"]),
        "train": format_percent(row["train_accuracy_mean"]),
        "validation": format_percent(row["validation_accuracy_mean"]),
        "gap (pp)": format_points(row["train_validation_gap"]),
        NEW_IMAGES_HEADER: NO_VALUE
        if row["new_images_low"] is None
        else f"[{format_points(row['new_images_low'])}, {format_points(row['new_images_high'])}]",
        MORE_SEEDS_HEADER: _more_seeds(row),
        SEED_NOISE_HEADER: NO_VALUE if (share := seed_share(row)) is None else f"{100 * share:.0f} %",
        **{name: f"{row[name]}" for name in COUNT_HEADERS},
        "note": row["note"],
    }


def _more_seeds(row: Row) -> str:
    """Format the number of seeds to add, and in parentheses its range."""
    if row.get("more_seeds") is None or row["collapsed"]:
        return NO_VALUE  # what seeds it takes to make up for collapsed networks is nothing to plan with
    likely, low, high = (_rough(row[name]) for name in ("more_seeds", "more_seeds_low", "more_seeds_high"))
    return likely if low == high else f"{likely} ({low}–{high})"


def _rough(count: int) -> str:
    """Format a forecast, from 100 on with two digits that count: nobody knows more of them."""
    scale = 10 ** max(len(f"{count}") - 2, 0)
    return f"{math.ceil(count / scale) * scale:,}"


def seed_share(row: Row) -> float | None:
    """Return the share of the variance behind the interval for new images that more seeds can remove."""
    if row["seeds_std_error"] is None:
        return None
    seeds, images = row["seeds_std_error"] ** 2, row["images_std_error"] ** 2
    return seeds / (seeds + images) if seeds + images > 0 else None


def _interval(row: Row) -> str:
    """Format the interval with its marks, or both values where there are two."""
    if row["n"] == 2:
        return f" ({format_points(row['test_accuracy_min'])}, {format_points(row['test_accuracy_max'])})"
    if row["interval"] is None:
        return ""
    low, high = (
        format_points(row[f"{end}_cut"]) + (CUT_MARK if row[f"{end}_cut"] != row[end] else "")
        for end in ("test_accuracy_low", "test_accuracy_high")
    )
    return f" [{low}, {high}]{BINOMIAL_MARK if row['interval'] == 'binomial' else ''}"


def summary_notes(summary: pa.Table) -> list[str]:
    """Say what the figures of a summary cover and what its marks mean, one sentence or two each.

    Args:
        summary: A table with the schema SUMMARY, with or without the columns of jobs.report.precision.NEEDED.
    """
    rows = summary.to_pylist()
    if not rows:
        return []
    kinds, most = {row["interval"] for row in rows}, max(row["n"] for row in rows)
    ends = ("test_accuracy_low", "test_accuracy_high")
    test_set = f"this test set of {format_count(rows[0]['test_images'], 'image')}"
    notes = {
        f"Interval: 95 %, for the mean over seeds, on {test_set}; it does not cover other test images.": kinds
        != {None},
        _new_images_note(rows): any(row["new_images_low"] is not None for row in rows),
        "The results decided how many seeds were trained: intervals and p values hold however often one looks; std "
        "tends to be a little too small.": ANYTIME in kinds,
        "No interval: three finished seeds are the fewest that give one.": kinds == {None} and most < MIN_INTERVAL_N,
        "No interval yet: one that holds however often one looks takes four finished seeds.": (
            kinds == {None} and most >= MIN_INTERVAL_N
        ),
        "(a, b): both values, where n is 2.": any(row["n"] == 2 for row in rows),
        f"{CUT_MARK} cut to what an accuracy can be.": any(
            row[f"{end}_cut"] != row[end] for row in rows for end in ends
        ),
        f"{BINOMIAL_MARK} All seeds agree: the interval comes from the binomial standard deviation of one test set.": (
            "binomial" in kinds
        ),
        "Collapsed: at least 95 % of a trial's test predictions are one digit. Means and intervals include these "
        "trials; the column without collapsed leaves them out.": any(row["collapsed"] for row in rows),
    }
    return [*(note for note, applies in notes.items() if applies), *_target_notes(rows)]


def _new_images_note(rows: Sequence[Row]) -> str:
    """Say what the interval for new images covers, and what part of its width more seeds can remove."""
    note = "Interval, new images: 95 %, for the mean over seeds and over new test images like these."
    shares = [round(100 * share) for row in rows if not row["collapsed"] and (share := seed_share(row)) is not None]
    if not shares:
        return note
    return (
        f"{note} More seeds can remove {format_range(shares)} % of the variance behind it; the test set fixes the rest."
    )


def _target_notes(rows: Sequence[Row]) -> list[str]:
    """Say how many more seeds the chosen width of the interval for seeds takes."""
    if rows[0].get("target") is None:
        return []
    width = f"±{format_points(rows[0]['target'])} pp"
    known = [row for row in rows if row["more_seeds"] is not None]
    left = [row for row in known if row["more_seeds"]]
    reached, unknown = len(known) - len(left), len(rows) - len(known)
    parts = [f"reached by {reached} of {format_count(len(rows), 'configuration')}"]
    if steady := [row for row in left if not row["collapsed"]]:
        likely = [row["more_seeds"] for row in steady]
        highest = max(row["more_seeds_high"] for row in steady)
        ends = dict.fromkeys((_rough(min(likely)), _rough(max(likely))))
        each = " to ".join(ends)
        needs = f"{len(steady)} {'needs' if len(steady) == 1 else 'need'}"
        parts.append(f"{needs} {each} more seeds if the spread stays as it is, and at most {_rough(highest)} otherwise")
    if collapsed := len(left) - len(steady):
        parts.append(f"{collapsed} cannot get it by seeds while networks collapse")
    if unknown:
        parts.append(f"{unknown} cannot be judged before two seeds have finished")
    roughly = (
        ", roughly, as the results decided how many there are" if ANYTIME in {row["interval"] for row in rows} else ""
    )
    return [
        f"Interval of {width}: {'; '.join(parts)}.",
        f"More seeds: those to add for that width, and in parentheses the range that the spread so far allows (95 %"
        f"{roughly}). Seed noise: the share of the variance behind the interval for new images that more seeds can "
        "remove.",
    ]


def format_interval(row: Row) -> str:
    """Format `low` and `high` of a row in percentage points, with a space before; nothing where there is none."""
    return "" if row["low"] is None else f" [{format_points(row['low'])}, {format_points(row['high'])}]"


def format_points(fraction: float | None) -> str:
    """Format a fraction in percentage points with two decimals."""
    return NO_VALUE if fraction is None else f"{100 * fraction:z.2f}"


def format_percent(fraction: float | None) -> str:
    """Format a fraction in percent with two decimals and the sign."""
    return NO_VALUE if fraction is None else f"{format_points(fraction)} %"


def contrast_cells(contrasts: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Format contrasts for a person, with differences in percentage points.

    Args:
        contrasts: A table as `contrast_table` makes it.

    Returns:
        The header, and one list of cells per contrast.
    """
    names = contrasts.column_names
    context = names[names.index("level_b") + 1 : names.index("n")]
    rows = contrasts.to_pylist()
    has_collapsed = any(row["collapsed"] for row in rows)
    headers = [*_CONTRAST_HEADERS, *([_WITHOUT_COLLAPSED] if has_collapsed else [])]
    header = ["axis", "a", "b", *(name.replace("_", " ") for name in context), *headers]
    return header, [_contrast_cells(row, context, has_collapsed) for row in rows]


def _contrast_cells(row: Row, context: Sequence[str], has_collapsed: bool) -> list[str]:
    without = f"{format_points(row['mean_without_collapsed'])}, {row['n'] - row['collapsed']} of {row['n']}"
    return [
        row["axis"].replace("_", " "),
        row["level_a"],
        row["level_b"],
        *(format_setting(row[name]) for name in context),
        f"{row['n']}",
        format_points(row["mean"]) + format_interval(row),
        NO_VALUE if row["seeds_agree"] is None else f"{row['seeds_agree']} of {row['n']}",
        NO_VALUE if row["p_holm"] is None else f"{row['p_holm']:.2g}",
        row["word"],
        *([without if row["collapsed"] else ""] if has_collapsed else []),
    ]


def effect_lines(effects: pa.Table) -> list[str]:
    """Say in one line per axis how much it changes the test accuracy, averaged over the others.

    Args:
        effects: A table with the schema EFFECTS; interactions are left out.
    """
    rows = [row for row in effects.to_pylist() if " x " not in row["effect"] and row["mean"] is not None]
    return [_effect_line(row) for row in rows]


def _effect_line(row: Row) -> str:
    levels = f"{row['effect'].replace('_', ' ')} {row['level_a']} against {row['level_b']}"
    p = "" if row["p_holm"] is None else f", p = {row['p_holm']:.2g} (Holm)"
    return f"{levels}: {format_points(row['mean'])} pp{format_interval(row)}, {format_count(row['n'], 'seed')}{p}"
