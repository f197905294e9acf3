"""Mistakes in a grid: each is reported with its position, the value and what is allowed, all of them at once."""

from pathlib import Path

import pytest
from support.grid_fault_catalogue import REPLACED, SECTIONS, TRAIN
from support.grid_faults import GRID, check, faults_of
from support.idx_files import write_idx_folder

from jobs.errors import InputError
from jobs.grid.grid import load_grid


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "fragment"),
    REPLACED,
)
def test_a_wrong_key_or_value_is_one_fault(old: str, new: str, line: int, column: int, fragment: str) -> None:
    assert old in GRID
    check(GRID.replace(old, new), line, column, fragment)


@pytest.mark.parametrize(
    ("setting", "column", "fragment"),
    TRAIN,
)
def test_a_wrong_training_setting_is_one_fault(setting: str, column: int, fragment: str) -> None:
    check(f"{GRID}train: {{{setting}}}", 8, column, fragment)


@pytest.mark.parametrize(
    ("section", "column", "fragment"),
    SECTIONS,
)
def test_a_wrong_section_is_one_fault(section: str, column: int, fragment: str) -> None:
    check(GRID + section, 8, column, fragment)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: a", "name: -5", "without '..'"),
        ("200]", "'0']", "the training images of mnist"),
        ("200]", "0.0]", "the training images of mnist"),
        ("[mlp, cnn]", "lstm", "must be a list"),
        ("[mlp, cnn]", "[cnn, rnn]", "allowed mlp or cnn"),
        ("200]", "60000.0]", "the training images of mnist"),
        ("[false, true]", "on", "must be a list; write [on]"),
        ("seed: [0, 1]", "seed: 0", "must be a list; write [0]"),
        ("seed: [0, 1]", "seed: -1", "must be a list"),
        ("seed: [0, 1]", "seed: [0, 1]\nexclude: 3", "must be a list"),
        ("seed: [0, 1]", "seed: [0, 1]\nretries: '2'", "whole numbers from 0 to 10; write it without quotes"),
        ("seed: [0, 1]", "seed: [0, 1]\nretries: '11'", "whole numbers from 0 to 10"),
        ("seed: [0, 1]", "seed: [0, 1]\nretries: 2.0", "whole numbers from 0 to 10; write 2"),
        ("seed: [0, 1]", "seed: [0, 1]\nfail_fast: 'true'", "true or false; write it without quotes"),
    ],
)
def test_a_hint_is_allowed_where_it_is_given(old: str, new: str, message: str) -> None:
    (fault,) = faults_of(GRID.replace(old, new))
    assert fault.message.endswith(message)


def test_a_setting_is_an_axis_or_in_train_not_both() -> None:
    text = GRID + "  epochs: [1, 2]\ntrain: {batch_size: 1, epochs: 3}"
    check(text, 9, 24, "train.epochs: epochs is an axis of grid already; keep one of the two")


def test_all_faults_are_reported_in_file_order() -> None:
    text = (
        "name: a b\ndataset: {path: /no/such/folder}\ngird: 1\ngrid:\n  model: [mlp, rnn]\n  subset_size: [0, 9]\n"
        "  adaptive_lr: [on]\n  seed: [1, 1]\ntrain: {epochs: 0, lr: 1, batch_size: 2, epochs: 3}\n"
        "exclude: [{seed: x}]\n"
    )
    wheres = [(fault.line, fault.where) for fault in faults_of(text)]
    assert wheres == [
        (1, "name"),
        (2, "dataset.path"),
        (3, "gird"),
        (5, "grid.model[1]"),
        (6, "grid.subset_size[0]"),
        (8, "grid.seed[1]"),
        (9, "train.epochs"),
        (9, "train.lr"),
        (9, "train.epochs"),
        (10, "exclude[0].seed"),
    ]


@pytest.mark.parametrize("text", ["[a, b]", "grid", "3", "~"])
def test_a_file_without_a_mapping_is_one_fault(text: str) -> None:
    check(text, 1, 1, "must be a mapping; allowed keys: name, dataset, grid, train")


def test_an_unreadable_dataset_folder_joins_the_other_faults(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    text = GRID.replace("mnist", "{path: empty}").replace("200]", "0]")
    folder, size = faults_of(text, tmp_path)
    assert (folder.line, folder.column, folder.where) == (2, 17, "dataset.path")
    assert str(tmp_path / "empty") in folder.message
    assert size.message == "subset_size 0: allowed 1 or more"
    check(GRID.replace("mnist", f"{{path: {'x' * 999}}}"), 2, 17, "dataset.path")


def test_a_dataset_folder_bounds_the_subset_size(tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "own", train_count=24)
    faults = faults_of(GRID.replace("mnist", "{path: own}").replace("100, 200", "20, 21"), tmp_path)
    assert [fault.message for fault in faults] == [
        f"subset_size 21: allowed 1 to 20, the training images of {tmp_path / 'own'}"
    ]


def test_faults_name_the_file_as_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("name: 1\n")
    with pytest.raises(InputError) as raised:
        load_grid(path)
    assert str(raised.value).splitlines()[0].startswith(f"{path}:1:1: missing key 'dataset'")


@pytest.mark.medium
def test_thousands_of_unknown_keys_are_thousands_of_faults() -> None:
    text = "".join(f"k{number}: 1\n" for number in range(2000))
    assert len(faults_of(text)) == 2003
