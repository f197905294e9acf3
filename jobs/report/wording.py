"""Settings, their levels and differences in the words of a sentence."""

from collections.abc import Mapping, Sequence
from typing import Any

from jobs.escape import escape
from jobs.report.arms import Level
from jobs.report.configurations import IDENTIFYING
from jobs.report.formats import format_setting
from mnist_core.trial import setting_kind

MINUS = "\u2212"

Row = Mapping[str, Any]


def setting_name(name: str) -> str:
    """Name a setting: hidden units."""
    return "adaptive rate" if name == "adaptive_lr" else name.replace("_", " ")


def level_words(name: str, level: Level | None) -> str:
    """Name a level of a setting: MLP; 2,000 images; adaptive rate; hidden units 32."""
    if name == "adaptive_lr":
        return "adaptive rate" if level else "fixed rate"
    if name == "subset_size":
        return f"{level:,} image{'' if level == 1 else 's'}"
    words = escape(format_setting(level))
    return words if name == "model" else f"{setting_name(name)} {words}"


def parse_level(name: str, text: str) -> Level:
    """Return the level that a table of contrasts has as text."""
    kind = setting_kind(name)
    if kind is bool:
        return text == "true"
    return kind(text) if kind in (int, float) else text


def context_columns(columns: Sequence[str]) -> Sequence[str]:
    """Return the columns of a table of contrasts that hold the settings of both configurations."""
    return columns[columns.index("level_b") + 1 : columns.index("n")]


def contrast_label(row: Row, columns: Sequence[str]) -> str:
    """Name what the two configurations of a contrast have in common; columns are those of its table."""
    return ", ".join(level_words(name, row[name]) for name in context_columns(columns) if row[name] is not None)


def contrast_heading(row: Row) -> str:
    """Name what a contrast compares: Adaptive rate minus fixed rate."""
    a, b = (level_words(row["axis"], parse_level(row["axis"], row[name])) for name in ("level_a", "level_b"))
    return f"{a[0].upper()}{a[1:]} minus {b}"


def to_points(fraction: float | None) -> float | None:
    """Turn a fraction into percentage points."""
    return None if fraction is None else 100 * fraction


def points(fraction: float, digits: int = 1, *, signed: bool = True) -> str:
    """Format a difference in percentage points: +1.3, −4.0."""
    text = f"{100 * fraction:+z.{digits}f}" if signed else f"{100 * fraction:z.{digits}f}"
    return text.replace("-", MINUS)


def duration(seconds: float) -> str:
    """Format how long something took: 5.63 s, 19 min 10 s, 2 h 05 min."""
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s"


def configuration_name(row: Row, varying: Sequence[str]) -> str:
    """Name a configuration by the settings that vary; by those that identify one where none does."""
    shown = [name for name in (*IDENTIFYING, *varying) if name in varying] or list(IDENTIFYING)
    return ", ".join(level_words(name, row[name]) for name in dict.fromkeys(shown) if row[name] is not None)
