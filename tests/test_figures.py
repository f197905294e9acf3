"""Reads the figures back as XML: their texts, that they are always the same, and odd inputs."""

import re
from collections.abc import Sequence
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from support.study_tables import StoredTables, confusion_of, metrics_of, study, summary_of, together
from support.svg_texts import SVG, texts

from jobs.escape import escape
from jobs.report import choice
from jobs.report.arms import read_arms
from jobs.report.contrasts import contrast_table
from jobs.report.curves import MEASURES, Curves, Floats, shared_axes, training_curves, training_sheet
from jobs.report.figures import FigureSection, ReportFigure, draw_figures
from jobs.report.inline_svg import inline_parts
from jobs.report.matrices import confusion_matrix, weight_sheet
from jobs.store.schemas import CONFUSION, METRICS, SUMMARY, TRIALS

RISING = (0.2, 0.6, 0.8, 0.9)
ADAPTIVE = {"adaptive_lr": True, "lr_decay": 0.97}


def both_schedules() -> tuple[pa.Table, pa.Table]:
    return together(study(0.90, 0.92, 0.94), study(0.91, None, 0.95, name="adaptive", **ADAPTIVE))


def sections(trials: pa.Table, requested: pa.Table, accuracies: Sequence[float] = RISING) -> dict[str, FigureSection]:
    rng = np.random.default_rng(0)
    weights = {"trial-0": rng.normal(0, 0.1, (64, 784)).astype(np.float32)}
    stored = StoredTables(metrics_of(trials, accuracies), confusion_of(trials), weights)
    contrasts = contrast_table(read_arms(trials, requested), 1000)
    drawn = draw_figures(summary_of(trials, requested), trials, stored, contrasts)
    return {section.heading: section for section in drawn}


def figures(trials: pa.Table, requested: pa.Table, accuracies: Sequence[float] = RISING) -> dict[str, ReportFigure]:
    drawn = sections(trials, requested, accuracies).values()
    return {figure.file_name: figure for section in drawn for figure in section.figures}


@cache
def drawn() -> dict[str, ReportFigure]:
    """Draw both schedules, once for all tests that look at them."""
    return figures(*both_schedules())


def test_every_kind_of_figure_has_its_file_name() -> None:
    assert list(drawn()) == [
        "curves-mlp-2000.svg",
        "learning-curve.svg",
        "confusion-mlp-2000-fixed.svg",
        "confusion-mlp-2000-adaptive.svg",
        "w1-mlp-2000-fixed.svg",
        "differences.svg",
    ]


def test_a_further_varying_setting_is_part_of_the_file_names() -> None:
    names = list(figures(*together(study(0.9), study(0.9, name="narrow", hidden_units=32))))
    assert names[1] == "curves-mlp-2000-hidden_units=32.svg"
    assert names[-3] == "confusion-mlp-2000-fixed-hidden_units=32.svg"


def test_file_names_hold_allowed_characters_only() -> None:
    names = figures(*study(0.9, model="../x y\x1b<")).keys()
    assert all(re.fullmatch(r"[A-Za-z0-9._=-]+", name) for name in names)


def test_training_curves_name_their_axes_and_say_n() -> None:
    found = texts(drawn()["curves-mlp-2000.svg"].svg)
    assert {"epoch", "validation accuracy (%)", "train accuracy (%)"} <= set(found)
    assert {"fixed (n = 3)", "adaptive (n = 2–3 of 3)"} <= set(found)


def curves(*accuracies: Sequence[float], schedule: str = "fixed", requested: int = 1) -> Curves:
    """Seeds with these accuracies in percent, as train and as validation accuracy, and with losses of one."""
    values: Floats = np.array(accuracies, dtype=np.float64)
    each = {name: values if name.endswith("accuracy") else np.ones_like(values) for name in MEASURES}
    return Curves(schedule, each, requested, 0)


def test_training_curves_show_training_and_validation() -> None:
    figure = figures(*study(0.9))["curves-mlp-2000.svg"]
    train, validation = 100 * np.array([RISING]), 100 * (np.array([RISING]) - 0.02)
    values = {"train_accuracy": train, "validation_accuracy": validation}
    expected = training_curves(figure.title, [Curves("fixed", values, 1, 0)])
    swapped = dict(zip(values, reversed(values.values()), strict=True))
    other = training_curves(figure.title, [Curves("fixed", swapped, 1, 0)])
    assert figure.svg.endswith(expected[-2000:])
    assert lines_of(figure.svg) == lines_of(expected) != lines_of(other)


def lines_of(svg: str) -> list[str]:
    """Return the paths of the lines of means."""
    return re.findall(r'd="(M0,[^"A]*)"[^>]*stroke-width="2"', svg)


def test_a_thin_line_per_seed_stands_behind_the_mean() -> None:
    svg = training_curves("t", [curves((10, 20, 30), (30, 40, 80)), curves((5, 6, 7), schedule="adaptive")])
    assert svg.count('stroke-width="0.8"') == 2 * 2
    assert len(lines_of(svg)) == 2 * 2
    # The mean of two seeds, whose accuracy axis has a height of 230 pixels.
    heights = [float(y) for y in re.findall(r"[\d.]+,([\d.]+)", lines_of(svg)[0])]
    assert (heights[0] - heights[2]) / (heights[0] - heights[1]) == pytest.approx((55 - 20) / (30 - 20), rel=1e-3)


def test_the_epoch_of_divergence_is_not_drawn() -> None:
    svg = figures(*study(None))["curves-mlp-2000.svg"].svg
    assert texts(svg).count("fixed (n = 1)") == 1
    assert all(path.count(",") == 2 for path in lines_of(svg))


def test_a_configuration_that_diverged_at_once_is_empty() -> None:
    found = texts(figures(*study(None), accuracies=(0.1, 0.1))["curves-mlp-2000.svg"].svg)
    assert "fixed (n = 0 of 1: those stored diverged in the first epoch)" in found


@pytest.mark.parametrize("epochs", [1, 2, 12, 40])
def test_curves_that_rise_early_get_an_enlargement_of_the_late_epochs(epochs: int) -> None:
    long: Floats = 100 - 80 * np.exp(-np.arange(40.0))
    slow = np.linspace(10, 100, 40)
    enlarged = "enlarged detail: validation accuracy (%)"
    both = [curves(long[:epochs].tolist()), curves(long.tolist(), schedule="adaptive")]
    assert enlarged in texts(training_curves("t", both))
    assert enlarged not in texts(training_curves("t", [both[0], curves(slow.tolist(), schedule="adaptive")]))


def test_the_panels_of_the_page_share_their_axes_and_give_their_means() -> None:
    groups = [[curves((50, 60, 70), (52, 62, 72))], [curves((90, 95))]]
    axes = shared_axes(groups, "validation_accuracy")
    assert (axes[0].low, axes[0].high) == (1, 3)
    assert axes[1].low < 50
    assert axes[1].high > 95
    sheet = training_sheet(groups, "validation_accuracy", axes, 60)
    assert (sheet.first, sheet.last) == (1, 3)
    assert sheet.means == [{"fixed": [51.0, 61.0, 71.0]}, {"fixed": [90.0, 95.0]}]
    first, second = (part.count("<path") for part in inline_parts(sheet.svg, ["a", "b"]))
    assert (first, second) == (3, 1)  # two seeds and their mean; a single seed is its mean
    assert shared_axes(groups, "train_loss")[1].scale == "log"


def test_the_learning_curve_names_its_axes_the_sizes_and_n() -> None:
    found = texts(drawn()["learning-curve.svg"].svg)
    assert {"subset size (training images, log scale)", "test accuracy (%)", "2,000"} <= set(found)
    assert {"MLP, fixed (n = 3)", "MLP, adaptive (n = 2 of 3)"} <= set(found)


def test_a_confusion_matrix_shows_row_percent_summed_over_seeds() -> None:
    figure = drawn()["confusion-mlp-2000-fixed.svg"]
    found = texts(figure.svg)
    assert (found.count("97.00"), found.count("3.00"), found.count("0.00")) == (10, 10, 80)
    assert found.count("300") == 10
    assert {"predicted digit", "actual digit"} <= set(found)
    assert any("Percent of each row over n = 3: 3,000 predictions." in text for text in found)
    assert figure.caption.endswith("n = 3: 3,000 predictions, 2,910 of them correct.")


def test_rows_are_actual_and_columns_predicted_digits() -> None:
    counts = np.diag(np.full(10, 4))
    counts[2, 7] = 1
    svg = confusion_matrix(counts, "t", "f")
    (cell,) = re.findall(r'aria-label="([^"]*percent: 20[^"]*)"', svg)
    assert {"actual digit: 2", "predicted digit: 7"} <= set(cell.split("; "))


def test_a_digit_without_images_has_an_empty_row() -> None:
    counts = np.diag([0] + [5] * 9)
    found = texts(confusion_matrix(counts, "t", "f"))
    assert (found.count("100.00"), found.count("0.00")) == (9, 81)


@pytest.mark.parametrize("title", ["<script>alert(1)</script> & co", "$x^2$ \\frac", "\x1b[31mred", "‮x", "y" * 300])
def test_a_hostile_title_is_inert(title: str) -> None:
    svg = weight_sheet(np.zeros((8, 784), np.float32), title)
    root = ElementTree.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert escape(title)[:60] in "".join(texts(svg))
    assert "\x1b" not in svg
    assert "‮" not in svg


def test_the_order_of_rows_does_not_change_a_figure() -> None:
    trials, requested = both_schedules()
    backwards = trials.take(list(reversed(range(len(trials)))))
    assert figures(backwards, requested) == drawn()


def test_no_figure_refers_to_anything_elsewhere() -> None:
    for figure in drawn().values():
        assert "<!DOCTYPE" not in figure.svg
        assert not re.search(r'(?:href|src)="(?!#|data:)', figure.svg)


def test_one_seed_and_one_epoch_are_enough() -> None:
    found = texts(figures(*study(0.9), accuracies=(0.5,))["curves-mlp-2000.svg"].svg)
    assert "fixed (n = 1)" in found


def test_without_data_nothing_is_drawn() -> None:
    stored = StoredTables(METRICS.empty_table(), CONFUSION.empty_table(), {})
    assert draw_figures(SUMMARY.empty_table(), TRIALS.empty_table(), stored) == []


@pytest.mark.medium
def test_of_many_configurations_the_most_and_the_least_accurate_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "MAX_DRAWN", 4)
    accuracies = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.6, 5: None, 6: 0.8, 7: 0.4}
    studies = [study(accuracy, name=f"{units}", hidden_units=units) for units, accuracy in accuracies.items()]
    found = sections(*together(*studies))
    drawn = [figure.file_name for figure in found["Training curves"].figures]
    assert drawn == [f"curves-mlp-2000-hidden_units={units}.svg" for units in (2, 5, 6, 7)]
    (omission,) = found["Training curves"].omissions
    assert omission.names == [f"MLP, 2,000 images, hidden units {units}" for units in (1, 3, 4)]
    assert (
        omission.reason
        == "there are 7: only the 2 with the greatest and the 2 with the least mean test accuracy are shown"
    )


def test_what_has_nothing_to_draw_is_named() -> None:
    trials, requested = together(
        study(0.9), study(None, name="b", hidden_units=32), study(0.9, name="c", subset_size=9)
    )
    found = sections(trials.slice(0, 2), requested)
    omitted = {heading: [(each.reason, each.names) for each in found[heading].omissions] for heading in found}
    diverged, missing = (
        "MLP, 2,000 images, fixed learning rate, hidden units 32",
        "MLP, 9 images, fixed learning rate, hidden units 64",
    )
    assert omitted["Training curves"] == [("no trial is stored", [missing])]
    assert omitted["Learning curve"] == [("no trial finished", [diverged, missing])]
    assert omitted["Confusion matrices"] == [("no trial finished", [diverged, missing])]
    assert omitted["W1"] == [("no trial finished", [diverged, missing])]


def test_the_forest_plot_has_a_row_for_each_difference() -> None:
    found = texts(drawn()["differences.svg"].svg)
    assert {"Adaptive rate minus fixed rate", "open"} <= set(found)
    assert "differences.svg" not in figures(*study(0.9, 0.92))


def test_collapsed_trials_are_in_the_legends() -> None:
    found = figures(*study(0.1, 0.9, 0.1))
    assert "fixed (n = 3 of 3, 2 collapsed)" in texts(found["curves-mlp-2000.svg"].svg)
    assert "MLP, fixed (n = 3 of 3, 2 collapsed)" in texts(found["learning-curve.svg"].svg)
    assert "n = 3 of 3, 2 collapsed: 3,000 predictions" in found["confusion-mlp-2000-fixed.svg"].caption
    assert found["w1-mlp-2000-fixed.svg"].caption.endswith(" This trial collapsed.")
    assert "collapsed" not in drawn()["w1-mlp-2000-fixed.svg"].caption
