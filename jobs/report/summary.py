"""The summary: one row per configuration, over its seeds; and that table as CSV, Markdown and JSON."""

import csv
import io
import json
import math
from collections.abc import Collection, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, NamedTuple

import pyarrow as pa

from jobs.store import SETTINGS

CONFIGURATION = [field for field in SETTINGS if field.name != "seed"]

# One row per configuration. Accuracies are fractions; null where too few trials finished.
SUMMARY = pa.schema(
    [
        *CONFIGURATION,
        pa.field("seeds_requested", pa.int64(), nullable=False),
        pa.field("n", pa.int64(), nullable=False),  # finished trials with a test accuracy
        pa.field("test_accuracy_mean", pa.float64()),
        pa.field("test_accuracy_std", pa.float64()),  # of the sample: n - 1 degrees of freedom
        pa.field("test_accuracy_low", pa.float64()),  # 95 % t-interval of the mean, not clipped to [0, 1]
        pa.field("test_accuracy_high", pa.float64()),
        pa.field("train_accuracy_mean", pa.float64()),
        pa.field("validation_accuracy_mean", pa.float64()),
        pa.field("train_validation_gap", pa.float64()),
        pa.field("diverged", pa.int64(), nullable=False),
        pa.field("failed", pa.int64(), nullable=False),
        pa.field("missing", pa.int64(), nullable=False),  # neither stored nor failed
        pa.field("note", pa.string(), nullable=False),  # empty where n is the n asked for
    ]
)

CONFIDENCE = 0.95
ABSENT = "–"  # what a person reads where there is no value
_ALWAYS_SHOWN = ("model", "subset_size", "adaptive_lr")
TEXT_HEADERS = ("model", "note")  # of the columns that a person reads as words
MEASURED = ("trial_id", "status", "test_accuracy", "train_accuracy", "validation_accuracy")  # all it needs of trials

Row = dict[str, Any]
Key = tuple[Any, ...]


def configuration_key(row: Mapping[str, Any]) -> Key:
    """Give the settings that make up a row's configuration, in the order of CONFIGURATION."""
    return tuple(row[field.name] for field in CONFIGURATION)


def summarize(trials: pa.Table, requested: pa.Table, failed_ids: Collection[str] = ()) -> pa.Table:
    """Aggregate stored trials over seeds, one row per configuration asked for.

    `trials` has the columns MEASURED of TRIALS, and others do no harm; `requested` has trial_id and SETTINGS, one
    row per trial asked for, and decides the order of the result's rows. The result has the schema SUMMARY; the order
    of `trials` does not change one bit of it.
    """
    # Column by column: a dict for each of 100,000 rows would take longer than all that follows.
    stored = {one.trial_id: one for one in map(_Trial, *(trials[name].to_pylist() for name in MEASURED))}
    asked: dict[Key, list[str]] = {}
    keys = zip(*(requested[field.name].to_pylist() for field in CONFIGURATION), strict=True)
    for key, trial_id in zip(keys, requested["trial_id"].to_pylist(), strict=True):
        asked.setdefault(key, []).append(trial_id)
    failed = frozenset(failed_ids)
    rows = [_summary_row(key, ids, stored, failed) for key, ids in asked.items()]
    return pa.Table.from_pylist(rows, schema=SUMMARY)


class _Trial(NamedTuple):
    """Hold what a summary takes from a stored trial: MEASURED."""

    trial_id: str
    status: str
    test_accuracy: float | None
    train_accuracy: float
    validation_accuracy: float


def _summary_row(key: Key, ids: list[str], stored: Mapping[str, _Trial], failed: frozenset[str]) -> Row:
    found = [stored[trial_id] for trial_id in ids if trial_id in stored]
    finished = [trial for trial in found if trial.status == "finished" and all(map(_is_number, trial[2:]))]
    absent = [trial_id for trial_id in ids if trial_id not in stored]
    counts = {
        "diverged": sum(trial.status == "diverged" for trial in found),
        "failed": sum(trial_id in failed for trial_id in absent),
        "missing": sum(trial_id not in failed for trial_id in absent),
    }
    return {
        **dict(zip((field.name for field in CONFIGURATION), key, strict=True)),
        "seeds_requested": len(ids),
        "n": len(finished),
        **_accuracies(finished),
        **counts,
        "note": _note(len(finished), len(ids), counts),
    }


def _is_number(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _accuracies(finished: Sequence[_Trial]) -> dict[str, float]:
    # fmean and stdev round an exact sum once, so the order of the trials cannot show.
    if not finished:
        return {}
    test = [trial.test_accuracy for trial in finished if trial.test_accuracy is not None]
    train = fmean(trial.train_accuracy for trial in finished)
    validation = fmean(trial.validation_accuracy for trial in finished)
    return {
        "test_accuracy_mean": fmean(test),
        **_spread(test),
        "train_accuracy_mean": train,
        "validation_accuracy_mean": validation,
        "train_validation_gap": train - validation,
    }


def _spread(test: Sequence[float]) -> dict[str, float]:
    n = len(test)
    if n < 2:
        return {}
    from scipy.special import stdtrit  # a quarter of a second: `plan` can do without

    mean, std = fmean(test), stdev(test)
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * std / math.sqrt(n)
    return {"test_accuracy_std": std, "test_accuracy_low": mean - half, "test_accuracy_high": mean + half}


def _note(n: int, seeds_requested: int, counts: Mapping[str, int]) -> str:
    if n == seeds_requested:
        return ""
    unmeasured = seeds_requested - n - sum(counts.values())
    reasons = {**counts, "without a test accuracy": unmeasured}
    return f"n is {n} of {seeds_requested}: " + ", ".join(f"{k} {why}" for why, k in reasons.items() if k)


def varying_settings(summary: pa.Table) -> list[str]:
    """Name the settings that tell the configurations apart; model, subset_size and adaptive_lr always do.

    Null stands where the model or the schedule does not use a setting, so it does not count as a value.
    """
    names = [field.name for field in CONFIGURATION]
    return [name for name in names if name in _ALWAYS_SHOWN or len(set(summary[name].drop_null().to_pylist())) > 1]


def setting_text(value: Any) -> str:  # noqa: ANN401  (a cell of any column)
    """Write a setting's value for a person."""
    if value is None:
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return {"mlp": "MLP", "cnn": "CNN"}.get(value, str(value))


def summary_cells(summary: pa.Table) -> tuple[list[str], list[list[str]]]:
    """Lay the summary out for a person: the header, and one list of texts per configuration."""
    settings = varying_settings(summary)
    header = [setting.replace("_", " ") for setting in settings]
    header += [
        "n",
        "test accuracy [95 % interval]",
        "std (pp)",
        "train",
        "validation",
        "gap (pp)",
        "diverged",
        "failed",
    ]
    rows = [[setting_text(row[name]) for name in settings] + _result_cells(row) for row in summary.to_pylist()]
    notes: list[str] = summary["note"].to_pylist()
    if any(notes):
        header.append("note")
        rows = [[*row, note] for row, note in zip(rows, notes, strict=True)]
    return header, rows


def _result_cells(row: Row) -> list[str]:
    n, asked = row["n"], row["seeds_requested"]
    interval = f" [{_points(row['test_accuracy_low'])}, {_points(row['test_accuracy_high'])}]" if n > 1 else ""
    return [
        f"{n}" if n == asked else f"{n} of {asked}",
        _percent(row["test_accuracy_mean"]) + interval,
        _points(row["test_accuracy_std"]),
        _percent(row["train_accuracy_mean"]),
        _percent(row["validation_accuracy_mean"]),
        _points(row["train_validation_gap"]),
        f"{row['diverged']}",
        f"{row['failed']}",
    ]


def _points(fraction: float | None) -> str:
    return ABSENT if fraction is None else f"{100 * fraction:z.2f}"


def _percent(fraction: float | None) -> str:
    return ABSENT if fraction is None else f"{_points(fraction)} %"


def summary_markdown(summary: pa.Table) -> str:
    """Write the summary as a Markdown table, accuracies in percent."""
    header, rows = summary_cells(summary)
    rule = ["---" if name in TEXT_HEADERS else "---:" for name in header]
    lines = [_markdown_line(header), "| " + " | ".join(rule) + " |", *map(_markdown_line, rows)]
    return "\n".join(lines) + "\n"


def _markdown_line(cells: Sequence[str]) -> str:
    escaped = (" ".join(cell.replace("\\", "\\\\").replace("|", "\\|").split()) for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def summary_csv(summary: pa.Table) -> str:
    """Write every column of the summary as CSV, accuracies as unrounded fractions, null as nothing."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(summary.column_names)
    writer.writerows([_csv_cell(value) for value in row.values()] for row in summary.to_pylist())
    return text.getvalue()


def _csv_cell(value: Any) -> Any:  # noqa: ANN401  (a cell of any column)
    if isinstance(value, bool):
        return "true" if value else "false"
    # A spreadsheet would run text that begins like a formula.
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value


def summary_json(summary: pa.Table) -> str:
    """Write the summary as a JSON list of objects, accuracies as fractions."""
    return json.dumps(summary.to_pylist(), indent=2, allow_nan=False) + "\n"
