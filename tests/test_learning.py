"""The learning curve: its sizes, its legend, intervals that are cut, and seeds that collapsed."""

import re
from dataclasses import replace

import numpy as np
import pytest
from support.svg_texts import texts

from jobs.report.curves import Floats
from jobs.report.learning import Line, learning_chart, learning_curve, learning_footnote


@pytest.mark.parametrize("sizes", [(1,), (1, 2), (2000, 50_000), (10, 20, 50, 100, 200, 500, 1000, 50_000)])
def test_the_learning_curve_has_a_tick_at_every_size(sizes: tuple[int, ...]) -> None:
    assert {f"{size:,}" for size in sizes} <= set(texts(learning_curve("t", [line_of(*sizes)])))


def line_of(*sizes: int, name: str = "MLP, fixed", panel: str = "MLP", n: int = 1, **changed: Floats) -> Line:
    """A line from 50 to 90 percent without intervals, except for what is changed."""
    mean, nothing = np.linspace(50, 90, len(sizes)), np.full(len(sizes), np.nan)
    values = {"mean": mean, "low": nothing, "high": nothing, **changed}
    counts, seeds = (n,) * len(sizes), tuple((float(each),) * n for each in mean)
    return Line(
        name,
        panel,
        False,
        sizes,
        **values,
        seeds=seeds,
        n=counts,
        requested=counts,
        collapsed=0,
        collapsed_seeds=((),) * len(sizes),
    )


@pytest.mark.medium
def test_long_names_leave_room_for_the_learning_curve() -> None:
    name = "MLP, fixed" + ", one more setting 0.001" * 7
    lines = [line_of(2000, name=name, panel=f"{number}") for number in range(24)]
    assert "test accuracy (%)" in texts(learning_curve("t", lines))


@pytest.mark.parametrize(("count", "sizes"), [(1, (300,)), (8, (300, 900)), (24, (10, 20, 50_000))])
def test_every_point_of_a_legend_is_in_the_picture(count: int, sizes: tuple[int, ...]) -> None:
    lines = [line_of(*sizes, name=f"line {number}", n=3) for number in range(count)]
    points = points_of(learning_curve("t", lines))
    assert len(points) == count * len(sizes)
    assert all(0 <= x <= 300 and 0 <= y <= 260 for x, y in points)


def points_of(svg: str) -> list[tuple[float, float]]:
    """Return where the means are, in pixels from the upper left corner of their panel."""
    places = re.findall(r'aria-label="[^"]* n = \d+"[^>]*transform="translate\(([-\d.]+),([-\d.]+)\)', svg)
    return [(float(x), float(y)) for x, y in places]


def test_an_interval_ends_at_100_percent_with_an_arrowhead_and_seeds_are_dots() -> None:
    cut = line_of(300, 900, n=3, mean=np.array([90.0, 99.0]), low=np.array([85.0, 96.0]), high=np.array([95.0, 102.0]))
    found = texts(learning_curve("t", [cut]))
    assert "Arrowheads: bars cut at 0 or 100 %." in " ".join(found)
    assert found.count("▲") == 1
    pair = texts(learning_curve("t", [line_of(300, 900, n=2)]))
    assert "Small dots: seeds." in " ".join(pair)
    assert "Bars" not in " ".join(pair)


def test_a_seed_that_collapsed_does_not_hide_what_the_others_differ_by() -> None:
    low, high = np.array([89.0, 30.0]), np.array([91.0, 120.0])
    whole = line_of(300, 900, n=3, mean=np.array([90.0, 75.0]), low=low, high=high)
    line = replace(whole, seeds=((89.5, 90.0, 90.5), (10.0, 97.0, 98.0)), collapsed=1, collapsed_seeds=((), (10.0,)))
    spec, rows = learning_chart("t", [line])
    (panel,) = spec["concat"]
    bottom, top = panel["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert (bottom, top) == pytest.approx((75 - 0.04 * 23, 98 + 0.04 * 23))
    assert [(row["low"], row["high"]) for row in rows["p0-means"]] == [(89.0, 91.0), (bottom, top)]
    assert "75.00 % [30.00, 100.00]" in rows["p0-means"][1]["text"]
    assert [(row["v"], row["head"]) for row in rows["p0-cut"]] == [(bottom, "▼"), (top, "▲")]
    assert [row["v"] for row in rows["p0-seeds"]][3] == pytest.approx(bottom, abs=1e-4)
    assert "cut at the edge of the scale. Small dots: seeds. Seeds that collapsed" in learning_footnote([line])
    assert "Seeds that collapsed" not in learning_footnote([whole])
