"""Reads the figures back as XML: their texts, that they are always the same, and odd inputs."""

import re
from collections.abc import Sequence
from functools import cache
from xml.etree import ElementTree

import numpy as np
import pyarrow as pa
import pytest
from support.study_tables import StoredTables, confusion_of, metrics_of, study, summary_of, together

from jobs.report import choice
from jobs.report.curves import Floats, Line, Panel, learning_curve, training_curves
from jobs.report.figures import FigureSection, ReportFigure, draw_figures
from jobs.report.matrices import MAX_UNITS, confusion_matrix, weight_sheet
from jobs.store.schemas import CONFUSION, METRICS, SUMMARY, TRIALS

SVG = "{http://www.w3.org/2000/svg}"
RISING = (0.2, 0.6, 0.8, 0.9)
ADAPTIVE = {"adaptive_lr": True, "lr_decay": 0.97}


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    return ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]


def both_schedules() -> tuple[pa.Table, pa.Table]:
    return together(study(0.90, 0.92, 0.94), study(0.91, None, 0.95, name="adaptive", **ADAPTIVE))


def sections(trials: pa.Table, requested: pa.Table, accuracies: Sequence[float] = RISING) -> dict[str, FigureSection]:
    rng = np.random.default_rng(0)
    weights = {"trial-0": rng.normal(0, 0.1, (64, 784)).astype(np.float32)}
    stored = StoredTables(metrics_of(trials, accuracies), confusion_of(trials), weights)
    drawn = draw_figures(summary_of(trials, requested), trials, stored)
    return {section.heading: section for section in drawn}


def draw(trials: pa.Table, requested: pa.Table, accuracies: Sequence[float] = RISING) -> dict[str, ReportFigure]:
    drawn = sections(trials, requested, accuracies).values()
    return {figure.file_name: figure for section in drawn for figure in section.figures}


@cache
def drawn() -> dict[str, ReportFigure]:
    """Draw both schedules, once for all tests that look at them."""
    return draw(*both_schedules())


def test_every_kind_of_figure_has_its_file_name() -> None:
    assert list(drawn()) == [
        "curves-mlp-2000.svg",
        "learning-curve.svg",
        "confusion-mlp-2000-fixed.svg",
        "confusion-mlp-2000-adaptive.svg",
        "w1-mlp-2000-fixed.svg",
    ]


def test_a_further_varying_setting_is_part_of_the_file_names() -> None:
    names = list(draw(*together(study(0.9), study(0.9, name="narrow", hidden_units=32))))
    assert names[1] == "curves-mlp-2000-hidden_units=32.svg"
    assert names[-2] == "confusion-mlp-2000-fixed-hidden_units=32.svg"


def test_file_names_hold_allowed_characters_only() -> None:
    names = draw(*study(0.9, model="../x y\x1b<")).keys()
    assert all(re.fullmatch(r"[A-Za-z0-9._=-]+", name) for name in names)


def test_training_curves_name_their_axes_and_say_n() -> None:
    found = texts(drawn()["curves-mlp-2000.svg"].svg)
    assert {"epoch", "accuracy (%)", "fixed learning rate", "adaptive learning rate"} <= set(found)
    assert {"train (n = 3)", "validation (n = 3)", "train (n = 2–3 of 3)"} <= set(found)


def test_training_curves_show_training_and_validation() -> None:
    figure = draw(*study(0.9))["curves-mlp-2000.svg"]
    train: Floats = 100 * np.array([RISING])
    validation: Floats = 100 * (np.array([RISING]) - 0.02)
    assert figure.svg == training_curves(figure.title, [Panel("fixed learning rate", train, validation, 1, 0)])
    assert figure.svg != training_curves(figure.title, [Panel("fixed learning rate", validation, train, 1, 0)])


def test_the_epoch_of_divergence_is_not_drawn() -> None:
    svg = draw(*study(None))["curves-mlp-2000.svg"].svg
    assert texts(svg).count("train (n = 1)") == 1
    assert "4" not in texts(svg)


def test_a_configuration_that_diverged_at_once_is_empty() -> None:
    found = texts(draw(*study(None), accuracies=(0.1, 0.1))["curves-mlp-2000.svg"].svg)
    assert "n = 0 of 1: those stored diverged in the first epoch" in found
    assert not any(text.startswith("train (") for text in found)


def test_curves_that_rise_early_get_a_close_up() -> None:
    early: Floats = 100 - 80 * np.exp(-np.arange(40.0))[None]
    slow: Floats = np.linspace(10.0, 100.0, 40)[None]
    panels = [Panel("fixed learning rate", curve, curve, 1, 0) for curve in (early, slow)]
    enlarged = "enlarged detail"
    assert [enlarged in texts(training_curves("t", [panel])) for panel in panels] == [True, False]


@pytest.mark.parametrize("epochs", [1, 2, 12])
def test_panels_of_different_lengths_share_their_axes(epochs: int) -> None:
    long: Floats = 100 - 80 * np.exp(-np.arange(40.0))[None]
    short = long[:, :epochs]
    panels = [Panel("fixed learning rate", short, short, 1, 0), Panel("adaptive", long, long, 1, 0)]
    found = texts(training_curves("t", panels))
    assert found.count("enlarged detail") == 2
    assert found.count("train (n = 1)") == 2


def test_the_learning_curve_names_its_axes_the_sizes_and_n() -> None:
    found = texts(drawn()["learning-curve.svg"].svg)
    assert {"subset size (training images, log scale)", "test accuracy (%)", "2,000"} <= set(found)
    assert {"MLP, fixed (n = 3)", "MLP, adaptive (n = 2 of 3)"} <= set(found)


@pytest.mark.parametrize("sizes", [(1,), (1, 2), (2000, 50_000), (10, 20, 50, 100, 200, 500, 1000, 50_000)])
def test_the_learning_curve_has_a_tick_at_every_size(sizes: tuple[int, ...]) -> None:
    assert {f"{size:,}" for size in sizes} <= set(texts(learning_curve("t", [line_of(*sizes)])))


def line_of(*sizes: int, name: str = "MLP, fixed", group: int = 0, n: int = 1, **changed: Floats) -> Line:
    """A line from 50 to 90 percent without intervals, except for what is changed."""
    mean, nothing = np.linspace(50, 90, len(sizes)), np.full(len(sizes), np.nan)
    values = {"mean": mean, "low": nothing, "high": nothing, "min": mean, "max": mean, **changed}
    counts = (n,) * len(sizes)
    return Line(name, group, False, sizes, **values, n=counts, requested=counts, collapsed=0)


def test_long_names_leave_room_for_the_learning_curve() -> None:
    name = "MLP, fixed" + ", one more setting 0.001" * 7
    lines = [line_of(2000, name=name, group=group) for group in range(24)]
    assert "test accuracy (%)" in texts(learning_curve("t", lines))


def test_a_confusion_matrix_shows_row_percent_summed_over_seeds() -> None:
    figure = drawn()["confusion-mlp-2000-fixed.svg"]
    found = texts(figure.svg)
    assert (found.count("97.00"), found.count("3.00"), found.count("0.00")) == (10, 10, 80)
    assert found.count("300") == 10
    assert {"predicted digit", "actual digit", "Percent of each row over n = 3: 3,000 predictions."} <= set(found)
    assert figure.caption.endswith("n = 3: 3,000 predictions, 2,910 of them correct.")


def _position(svg: str, label: str) -> tuple[str | None, str | None]:
    """Return x and y of the first text that is this label."""
    found = (text for text in ElementTree.fromstring(svg).iter(f"{SVG}text") if "".join(text.itertext()) == label)
    text = next(found)
    return text.get("x"), text.get("y")


def test_rows_are_actual_and_columns_predicted_digits() -> None:
    counts = np.diag(np.full(10, 4))
    counts[2, 7] = 1
    svg = confusion_matrix(counts, "t", "f")
    _, row_of_2 = _position(svg, "80.00")
    column_of_7, _ = _position(svg, "7")
    assert _position(svg, "20.00") == (column_of_7, row_of_2)


def test_a_digit_without_images_has_an_empty_row() -> None:
    counts = np.diag([0] + [5] * 9)
    found = texts(confusion_matrix(counts, "t", "f"))
    assert (found.count("100.00"), found.count("0.00")) == (9, 81)


@pytest.mark.parametrize("hidden", [1, 8, 11, 64, MAX_UNITS + 1])
def test_a_weight_sheet_of_any_width_is_drawn(hidden: int) -> None:
    weight = np.random.default_rng(0).normal(0, 0.1, (hidden, 784)).astype(np.float32)
    assert "weight" in texts(weight_sheet(weight, "W1"))


def test_weights_of_zero_are_drawn() -> None:
    assert "weight" in texts(weight_sheet(np.zeros((8, 784), np.float32), "W1"))


@pytest.mark.parametrize("title", ["<script>alert(1)</script> & co", "$x^2$ \\frac", "\x1b[31mred", "‮x", "y" * 300])
def test_a_hostile_title_is_inert(title: str) -> None:
    svg = weight_sheet(np.zeros((8, 784), np.float32), title)
    root = ElementTree.fromstring(svg)
    assert not list(root.iter(f"{SVG}script"))
    assert "\x1b" not in svg
    assert "‮" not in svg


def test_dollar_signs_are_no_formula() -> None:
    assert "$x^2$" in texts(weight_sheet(np.zeros((8, 784), np.float32), "$x^2$"))


def test_the_order_of_rows_does_not_change_a_figure() -> None:
    trials, requested = both_schedules()
    backwards = trials.take(list(reversed(range(len(trials)))))
    assert draw(backwards, requested) == drawn()


def test_no_figure_refers_to_anything_elsewhere() -> None:
    for figure in drawn().values():
        assert "<!DOCTYPE" not in figure.svg
        assert not re.search(r'(?:href|src)="(?!#|data:)', figure.svg)


def test_one_seed_and_one_epoch_are_enough() -> None:
    found = texts(draw(*study(0.9), accuracies=(0.5,))["curves-mlp-2000.svg"].svg)
    assert "train (n = 1)" in found


def test_without_data_nothing_is_drawn() -> None:
    stored = StoredTables(METRICS.empty_table(), CONFUSION.empty_table(), {})
    assert draw_figures(SUMMARY.empty_table(), TRIALS.empty_table(), stored) == []


def test_of_many_configurations_the_most_and_the_least_accurate_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "MAX_DRAWN", 4)
    accuracies = {1: 0.5, 2: 0.9, 3: 0.7, 4: 0.6, 5: None, 6: 0.8, 7: 0.4}
    studies = [study(accuracy, name=f"{units}", hidden_units=units) for units, accuracy in accuracies.items()]
    found = sections(*together(*studies))
    drawn = [figure.file_name for figure in found["Training curves"].figures]
    assert drawn == [f"curves-mlp-2000-hidden_units={units}.svg" for units in (2, 5, 6, 7)]
    (omission,) = found["Training curves"].omissions
    assert omission.names == [f"MLP, 2,000 images, hidden units {units}" for units in (1, 3, 4)]
    assert omission.reason == "of 7 only the 2 with the greatest and the 2 with the least mean test accuracy are"


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


@pytest.mark.parametrize(("count", "sizes"), [(1, (300,)), (16, (300,)), (8, (300, 900)), (24, (10, 20, 50_000))])
def test_every_point_of_a_legend_is_in_the_picture(count: int, sizes: tuple[int, ...]) -> None:
    lines = [line_of(*sizes, name=f"line {group}", group=group, n=3) for group in range(count)]
    svg = learning_curve("t", lines)
    left, right, top, bottom = _axes(svg)
    points = [(float(use.get("x", "nan")), float(use.get("y", "nan"))) for use in _markers(svg)]
    assert len(points) == count * len(sizes)
    assert all(left <= x <= right and top <= y <= bottom for x, y in points)


def _axes(svg: str) -> tuple[float, float, float, float]:
    """Return left, right, top and bottom of the first axes: the extent of the patch behind them."""
    axes = next(group for group in ElementTree.fromstring(svg).iter(f"{SVG}g") if group.get("id") == "axes_1")
    path = next(axes.iter(f"{SVG}path")).get("d", "")
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
    return min(numbers[::2]), max(numbers[::2]), min(numbers[1::2]), max(numbers[1::2])


def _markers(svg: str) -> list[ElementTree.Element]:
    """Return the markers of the lines' points: drawn within the axes, and neither caps nor ticks."""
    root = ElementTree.fromstring(svg)
    groups = [group for group in root.iter(f"{SVG}g") if (group.get("clip-path") or "").startswith("url(#")]
    return [use for group in groups for use in group.findall(f"{SVG}use")]


def test_an_interval_ends_at_100_percent_with_an_arrowhead_and_two_values_are_dots() -> None:
    cut = line_of(300, 900, n=3, mean=np.array([90.0, 99.0]), low=np.array([85.0, 96.0]), high=np.array([95.0, 102.0]))
    assert "Arrowheads: bars cut at 0 or 100 %." in " ".join(texts(learning_curve("t", [cut])))
    pair = line_of(300, 900, n=2)
    found = " ".join(texts(learning_curve("t", [pair])))
    assert "Dots: both values, where n is 2." in found
    assert "Bars" not in found
    assert len(_markers(learning_curve("t", [pair]))) == 3 * 2


def test_collapsed_trials_are_in_the_legends() -> None:
    figures = draw(*study(0.1, 0.9, 0.1))
    assert "train (n = 3 of 3, 2 collapsed)" in texts(figures["curves-mlp-2000.svg"].svg)
    assert "MLP, fixed (n = 3 of 3, 2 collapsed)" in texts(figures["learning-curve.svg"].svg)
    assert "n = 3 of 3, 2 collapsed: 3,000 predictions" in figures["confusion-mlp-2000-fixed.svg"].caption
    assert figures["w1-mlp-2000-fixed.svg"].caption.endswith(" This trial collapsed.")
    assert "collapsed" not in drawn()["w1-mlp-2000-fixed.svg"].caption
