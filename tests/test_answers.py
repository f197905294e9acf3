"""The page's answers: the rule behind each sentence, from studies whose differences are known."""

from collections.abc import Mapping
from typing import Any

import pytest
from support.study_arms import arms_of
from support.study_tables import study, summary_of, together

from jobs.report.answers import answers, headline
from jobs.report.arms import read_arms
from jobs.report.contrasts import contrast_table
from jobs.report.effects import EFFECTS
from jobs.report.first_lines import collapse_line
from jobs.report.heat_table import heat_table
from jobs.report.wording import context_columns, duration

IMAGES = 5000
NOISE = [0.001, -0.002, 0.003, 0.0, -0.001, -0.001]  # a mean of zero over six seeds


def said(
    axis: str,
    gains: Mapping[int, float],
    *,
    seeds: int = 6,
    noise: float = 1.0,
    margin: float | None = None,
) -> str:
    """Answer for a study in which the adaptive rate gains so much at each subset size, and the sizes 0.1 each."""

    def accuracy(trial: Mapping[str, Any], seed: int) -> float:
        gain = gains[trial["subset_size"]] + noise * NOISE[seed] if trial["adaptive_lr"] else 0.0
        return 0.6 + 0.1 * list(gains).index(trial["subset_size"]) + gain

    arms = arms_of({"subset_size": list(gains), "adaptive_lr": [False, True]}, seeds, accuracy)
    table = contrast_table(arms, IMAGES, margin=margin)
    rows = [row for row in table.to_pylist() if row["axis"] == axis]
    return headline(axis, rows, context_columns(table.column_names))


@pytest.mark.parametrize(
    ("gains", "options", "expected"),
    [
        ({500: 0.02, 2000: 0.04}, {}, "Yes: in both comparisons it raises accuracy by 2.0 to 4.0 points."),
        ({500: -0.02, 2000: -0.02}, {}, "No: in both comparisons it costs 2.0 points."),
        (
            {500: 0.02, 2000: -0.04},
            {},
            "It depends: with 500 images it raises accuracy by 2.0 points; with 2,000 images it costs 4.0 points.",
        ),
        (
            {500: 0.02, 2000: 0.0},
            {},
            "In part: with 500 images it raises accuracy by 2.0 points; with 2,000 images 6 seeds leave it open.",
        ),
        ({500: 0.0, 2000: 0.0}, {}, "Not decided: in both comparisons 6 seeds leave it open."),
        (
            {500: 0.0, 2000: 0.0},
            {"margin": 0.01},
            "It hardly matters: in both comparisons the difference lies within the margin that does not matter.",
        ),
        ({500: 0.02, 2000: 0.02}, {"seeds": 3}, "Open: a test needs 4 seeds, and there are 3. Measured: +2.1 points."),
        ({500: 0.02, 2000: 0.02}, {"seeds": 1}, "Open: a test needs 4 seeds, and there is 1. Measured: +2.1 points."),
        ({500: 0.02, 2000: 0.02}, {"seeds": 0}, "Open: no seed has finished on both sides of any comparison."),
        ({500: 0.001}, {}, "Not decided: 6 seeds leave it open."),
    ],
)
def test_the_answer_follows_from_the_differences(
    gains: dict[int, float], options: dict[str, Any], expected: str
) -> None:
    assert said("adaptive_lr", gains, **options) == expected


def test_what_only_the_uncorrected_p_shows_is_suggested() -> None:
    assert said("adaptive_lr", {500: 0.0021, 2000: 0.0, 8000: 0.0}) == (
        "Not decided: with 500 images a difference is suggested, not clear; "
        "with 2,000 images and 8,000 images 6 seeds leave it open."
    )


def test_more_images_are_answered_by_size() -> None:
    assert said("subset_size", {500: 0.0, 2000: 0.0}, noise=0.1) == "+10.0 points. Each comparison is clear."
    assert said("subset_size", {500: 0.3, 2000: 0.0}, noise=0.1) == (
        "It depends: with the fixed rate more images raise accuracy by 10.0 points; "
        "with the adaptive rate more images cost 20.0 points."
    )


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.0123, "0.0123 s"), (99.94, "99.9 s"), (1150, "19 min 10 s"), (7500, "2 h 05 min")]
)
def test_a_duration_is_as_precise_as_a_reader_needs(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_a_remark_counts_what_is_odd_once_for_each_side_or_for_both() -> None:
    odd = [
        study(0.1, 0.9, None, name=name, **of)
        for name, of in (("a", {}), ("b", {"adaptive_lr": True, "lr_decay": 0.97}))
    ]
    trials, requested = together(*odd)
    contrasts = contrast_table(read_arms(trials, requested), IMAGES)
    (answer,) = answers(summary_of(trials, requested), contrasts, EFFECTS.empty_table())
    assert answer.findings[0].remark == "both: 1 of 3 collapsed, 1 diverged; +0.0 points in the other 1 seed"
    trials, requested = together(odd[0], study(0.9, 0.9, 0.9, name="b", adaptive_lr=True, lr_decay=0.97))
    contrasts = contrast_table(read_arms(trials, requested), IMAGES)
    (answer,) = answers(summary_of(trials, requested), contrasts, EFFECTS.empty_table())
    assert answer.findings[0].remark == "fixed rate: 1 of 3 collapsed, 1 diverged; +0.0 points in the other 1 seed"


def test_the_first_lines_say_where_networks_collapsed() -> None:
    trials, requested = together(study(0.1, 0.9, 0.1), study(0.9, 0.9, name="b", adaptive_lr=True, lr_decay=0.97))
    varying = ["model", "subset_size", "adaptive_lr"]
    assert collapse_line(summary_of(trials, requested), varying) == (
        "2 of 5 networks collapsed (they answer one digit for nearly every image): "
        "2 of 3 with MLP, 2,000 images, fixed rate."
    )
    assert not collapse_line(summary_of(*study(0.9, 0.9)), varying)


def test_an_overview_of_drawn_configurations_has_one_row_for_each_that_exists() -> None:
    drawn = [
        study(
            0.9, hidden_units=10 + k, batch_size=20 + k, learning_rate=0.001 * (k + 1), momentum=k / 100, epochs=k + 3
        )
        for k in range(40)
    ]
    varying = ["hidden_units", "batch_size", "learning_rate", "momentum", "epochs"]  # a product of 100 million
    heat = heat_table(summary_of(*together(*drawn)), varying)
    assert len(heat.rows) == 40
    assert [sum(cell is not None for cell in cells) for _, cells in heat.rows] == [1] * 40
    assert {label.split(",")[0] for label, _ in heat.rows} == {f"hidden units {10 + k}" for k in range(40)}
