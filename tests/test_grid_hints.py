"""The hints of the grid's messages: each is followed as it is given, and the grid that comes out is read."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from support.grid_data import DATA
from support.grid_fault_catalogue import FOLLOWED, INTENDED, READ, REPLACED, SECTIONS, TRAIN
from support.grid_faults import GRID, faults_of

from jobs.errors import InputError, InputFault
from jobs.grid import corrected
from jobs.grid.grid import Grid, parse_grid

CATALOGUE = [
    *(GRID.replace(old, new) for old, new, *_ in REPLACED),
    *(f"{GRID}train: {{{setting}}}\n" for setting, *_ in TRAIN),
    *(f"{GRID}{section}\n" for section, *_ in SECTIONS),
    *(GRID.replace(old, new) for old, new, _ in INTENDED),
]
NO_ADVICE = re.compile(r"(allowed|needed|needs at least|first used|; )")


def read(text: str) -> Grid | list[InputFault]:
    try:
        return parse_grid(text, file="grid.yaml", folder=Path("/nonexistent"))
    except InputError as error:
        return error.faults


def advice(fault: InputFault) -> list[str]:
    """Return the clauses of a message that propose something."""
    clauses = re.split(r"; |\? |: add ", fault.message)
    return [each for each in clauses[1:] if not NO_ADVICE.match(each)]


@pytest.mark.parametrize("text", CATALOGUE, ids=range(len(CATALOGUE)))
def test_every_hint_leads_to_a_grid(text: str) -> None:
    """Each correction removes its fault, and each advice of a message has its correction."""
    faults = faults_of(text)
    for fault in faults:
        for correction in fault.corrections:
            assert correction, fault
            found = read(corrected(text, correction))
            # Where a grid has two mistakes, the other one may be left.
            left = [] if isinstance(found, Grid) else [each.where for each in found]
            assert set(left) <= {each.where for each in faults if each is not fault}, (str(fault), found)
        proposed = advice(fault)
        assert bool(proposed) == bool(fault.corrections) or any(each in fault.message for _, each, _ in FOLLOWED), fault
        if "; write " in fault.message and "without quotes" not in fault.message:
            for edits in fault.corrections:
                lines = [line.strip(" -") for edit in edits for line in edit.text.splitlines()]
                assert all(line in fault.message for line in lines), fault


@pytest.mark.parametrize(("old", "new", "written"), INTENDED)
def test_the_probable_meaning_is_offered(old: str, new: str, written: list[str]) -> None:
    text = GRID.replace(old, new)
    found = [corrected(text, each) for fault in faults_of(text) for each in fault.corrections]
    assert sorted(found) == sorted(GRID.replace(old, each) for each in written)


def test_the_probable_meaning_is_offered_whatever_ends_the_lines() -> None:
    for old, new, written in INTENDED:
        text = GRID.replace(old, new).replace("\n", "\r\n")
        found = [corrected(text, each) for fault in faults_of(text) for each in fault.corrections]
        assert sorted(each.replace("\r\n", "\n") for each in found) == sorted(GRID.replace(old, w) for w in written)


@pytest.mark.parametrize(("old", "new"), READ)
def test_every_form_that_yaml_allows_is_read(old: str, new: str) -> None:
    assert old in GRID
    found = read(GRID.replace(old, new))
    assert isinstance(found, Grid), found


@pytest.mark.parametrize(("section", "fragment", "followed"), FOLLOWED)
def test_advice_without_an_edit_can_be_taken(section: str, fragment: str, followed: str) -> None:
    assert fragment in str(faults_of(f"{GRID}{section}\n")[0])
    assert isinstance(read(f"{GRID}{followed}\n"), Grid)


def test_a_tab_that_indents_is_replaced() -> None:
    text = GRID.replace("  ", "\t")
    (fault,) = faults_of(text)
    assert (fault.line, fault.column, fault.message) == (4, 1, "a tab; indent with spaces")
    assert corrected(text, fault.corrections[0]) == GRID


@pytest.mark.parametrize(
    "axis", ["hidden_units: [32, 64]", "lr_decay: [1, 0.9]", f"lr_decay: {[n / 99 for n in range(1, 40)]}"]
)
@pytest.mark.parametrize(
    "rest", ["", "exclude: [{seed: 1}]\n", "exclude:\n  - seed: 1\n", "exclude:\n- {seed: 1}\n", "exclude:\n"]
)
def test_duplicates_are_excluded(axis: str, rest: str) -> None:
    text = f"{GRID}  {axis}\n{rest}"
    (fault,) = faults_of(text)
    (correction,) = fault.corrections
    assert isinstance(read(corrected(text, correction)), Grid)


def test_two_kinds_of_duplicates_are_excluded_one_after_the_other() -> None:
    text = f"{GRID}  hidden_units: [32, 64]\n  lr_decay: [1, 0.9]\n"
    for _ in range(3):
        found = read(text)
        if isinstance(found, Grid):
            return
        text = corrected(text, found[0].corrections[0])
    pytest.fail(text)


@pytest.mark.parametrize("examples", [40, pytest.param(3000, marks=pytest.mark.chaos)])
def test_no_correction_breaks_a_file(examples: int) -> None:
    """Whatever the mistakes are, a file that has been corrected is still YAML, and the fault is gone or another."""

    @settings(max_examples=examples, deadline=None)
    @given(DATA)
    def check(data: Any) -> None:  # noqa: ANN401 - any data at all
        base = yaml.safe_load(GRID)
        text = yaml.safe_dump(base | data if isinstance(data, dict) else data, sort_keys=False)
        for fault, edited in all_corrected(text):
            found = read(edited)
            assert edited != text
            assert isinstance(found, Grid) or all("not valid YAML" not in each.message for each in found), (
                fault,
                edited,
            )

    check()


def all_corrected(text: str) -> Iterator[tuple[InputFault, str]]:
    found = read(text)
    for fault in [] if isinstance(found, Grid) else found:
        for correction in fault.corrections:
            if correction:
                yield fault, corrected(text, correction)


@pytest.mark.parametrize(
    ("moved", "where"),
    [
        ("train: {epochs: [5, 9], momentum: 0}", ("  epochs: [5, 9]\n", "train: {momentum: 0}\n")),
        ("epochs: 5", ("train: {epochs: 5}\n", "seed: [0, 1]\n")),
        ("train:\n  epochs: 5\nretries: 1\nmomentum: 0.5", ("train:\n  momentum: 0.5\n  epochs: 5\n",)),
        ("hidden_units: [8]\nexclude: [{model: cnn}]", ("grid:\n  hidden_units: [8]\n",)),
        ("train: {device: cpu}", ("resources: {device: cpu}\n", "train: {}\n")),
    ],
)
def test_a_setting_in_the_wrong_section_is_moved(moved: str, where: tuple[str, ...]) -> None:
    text = f"{GRID}{moved}\n"
    ((correction,),) = [fault.corrections for fault in faults_of(text)]
    edited = corrected(text, correction)
    assert all(each in edited for each in where), edited
    assert isinstance(read(edited), Grid)


def test_a_required_setting_in_the_wrong_section_names_it() -> None:
    text = GRID.replace("  seed: [0, 1]\n", "") + "seed: 4\n"
    missing, unknown = faults_of(text)
    assert "it belongs in grid, as seed: [4]; allowed" in unknown.message
    assert isinstance(read(corrected(text, unknown.corrections[0])), Grid)
    assert "missing key 'seed'" in missing.message
