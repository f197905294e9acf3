"""Duplicate trials in a grid: each kind is found, and the exclusion that the message suggests removes it."""

from pathlib import Path

import pytest
from support.grid_faults import GRID, check, faults_of

from jobs.grid.grid import parse_grid


def test_a_suggested_exclusion_is_shortened() -> None:
    values = [round(0.9 - step / 100, 2) for step in range(10)]
    (fault,) = faults_of(f"{GRID}  lr_decay: {values}\n")
    advice = "add 9 entries to exclude, such as {adaptive_lr: false, lr_decay: 0.89}, one for each of its values"
    assert fault.message.endswith(f": {advice} but the first")


@pytest.mark.parametrize(
    ("axis", "fragment"),
    [
        (
            "hidden_units: [32, 64]",
            "grid.hidden_units: 8 duplicate trials: hidden_units is used only where {model: mlp}; "
            "elsewhere keep one value of it: add {model: cnn, hidden_units: 64} to exclude",
        ),
        (
            "lr_decay: [0.9, 0.8, 0.7]",
            "16 duplicate trials: lr_decay is used only where {adaptive_lr: true}; elsewhere keep one value "
            "of it: add {adaptive_lr: false, lr_decay: 0.8}, {adaptive_lr: false, lr_decay: 0.7} to exclude",
        ),
        (
            "epochs: [1, 2]\noverrides: [{when: {model: cnn}, set: {epochs: 3}}]",
            "grid.epochs: 8 duplicate trials: an override makes them equal; exclude all but one of them",
        ),
    ],
)
def test_trials_that_differ_in_unused_settings_are_duplicates(axis: str, fragment: str) -> None:
    check(f"{GRID}  {axis}\n", 8, 5 + axis.index(":"), fragment)


@pytest.mark.parametrize("axis", ["hidden_units: [32, 64]", "hidden_units: [8, 16, 32, 64]", "lr_decay: [1, 0.9, 0.8]"])
def test_the_suggested_exclusion_removes_all_duplicates(axis: str) -> None:
    (fault,) = faults_of(f"{GRID}  {axis}\n")
    entries = fault.message.partition(": add ")[2].removesuffix(" to exclude")
    assert parse_grid(f"{GRID}  {axis}\nexclude: [{entries}]", file="f", folder=Path(".")).trials()


def test_a_repeated_include_names_the_first() -> None:
    entry = "- {model: cnn, subset_size: 9, adaptive_lr: false, seed: 0"
    check(f"{GRID}include:\n{entry}}}\n{entry}, lr_decay: 0.5}}\n", 10, 3, "include[0] has it already; remove one")


def test_numbers_that_are_equal_as_floats_are_duplicates() -> None:
    axes = "seed: [0]\n  weight_init_std: [9007199254740992, 9007199254740993]"
    (fault,) = faults_of(GRID.replace("[mlp, cnn]", "[mlp]").replace("seed: [0, 1]", axes))
    assert "two values of an axis are the same number as a float; remove one of them" in str(fault)
