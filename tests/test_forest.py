"""The forest plot: its scale, the ends of intervals beyond it, and its legend."""

from typing import Any

import pytest
from support.svg_texts import texts

from jobs.report.drawing import draw
from jobs.report.forest import forest_chart, forest_range

CLEAR: list[dict[str, Any]] = [
    {"label": str(n), "mean": -n, "low": -n - 0.5, "high": -n + 0.5, "word": "clear"} for n in (1, 2, 3)
]
WIDE: dict[str, Any] = {"label": "wide", "mean": 29.0, "low": -18.0, "high": 76.0, "word": "open"}
LOW, HIGH = -3.64, 0.042  # 4 % beyond the narrow ones, 1.2 % beyond zero


def test_an_interval_much_wider_than_the_others_is_cut() -> None:
    low, high = (pytest.approx(end) for end in (LOW, HIGH))
    _, rows = forest_chart("t", {"heading": [*CLEAR, WIDE]})
    assert forest_range([*CLEAR, WIDE]) == pytest.approx((LOW, HIGH))
    assert rows["f0"] == [*CLEAR, WIDE | {"mean": None, "low": low, "high": high}]
    assert [(row["label"], row["v"], row["head"]) for row in rows["f0-cut"]] == [
        ("wide", low, "◀"),
        ("wide", high, "▶"),
    ]


def test_arrowheads_are_explained_where_there_are_any() -> None:
    cut, whole = (texts(draw(*forest_chart("t", {"heading": rows}))) for rows in ([*CLEAR, WIDE], CLEAR))
    assert {"◀", "▶"} <= set(cut)
    assert "Arrowheads" in "".join(cut)
    assert not {"◀", "▶"} & set(whole)
    assert "Arrowheads" not in "".join(whole)


def test_the_legend_has_the_words_that_occur() -> None:
    words = {"clear", "suggested", "negligible", "open"}
    assert words & set(texts(draw(*forest_chart("t", {"one": CLEAR, "two": [WIDE]})))) == {"clear", "open"}
