"""Mistakes in a grid: each is reported with its position, the value and what is allowed, all of them at once."""

from pathlib import Path

import pytest
from support.grid_faults import GRID, check, faults_of
from support.idx_files import write_idx_folder

from jobs.errors import InputError
from jobs.grid.grid import load_grid

AXIS_KEYS = ("model", "subset_size", "adaptive_lr", "seed")


@pytest.mark.parametrize(
    ("old", "new", "line", "column", "fragment"),
    [
        ("name: a", "name: ../../etc", 1, 7, "name '../../etc': allowed 1 to 64 letters, digits"),
        ("name: a", "name: a..b", 1, 7, "name 'a..b': allowed"),
        ("name: a", "name: .a", 1, 7, "name '.a': allowed"),
        ("name: a", f"name: {'a' * 65}", 1, 7, f"name '{'a' * 56}...: allowed"),
        ("name: a", "name: 'a\n\n  b'", 1, 7, r"name 'a\nb': allowed"),
        ("name: a", "name: 2024", 1, 7, "name 2024: allowed 1 to 64 letters"),
        ("name: a", "name: 2024", 1, 7, "; write it in quotes"),
        ("name: a", "name:", 1, 6, "name null: allowed"),
        ("name: a", "nam: a", 1, 1, "unknown key 'nam'; did you mean 'name'? allowed: name, dataset, grid"),
        ("dataset: mnist", "dataset: minst", 2, 10, "allowed mnist, digits or {path: FOLDER}; did you mean 'mnist'?"),
        ("dataset: mnist", "dataset: 5", 2, 10, "dataset 5: allowed mnist, digits or {path: FOLDER}"),
        ("dataset: mnist", "dataset: [mnist]", 2, 10, "dataset ['mnist']: allowed mnist"),
        ("dataset: mnist", "dataset: {path: ''}", 2, 17, "dataset.path: path '': allowed the path of a folder"),
        ("dataset: mnist", 'dataset: {path: "a\\nb"}', 2, 17, r"path 'a\nb': allowed the path of a folder"),
        ("dataset: mnist", "dataset: {path: 3}", 2, 17, "path 3: allowed the path of a folder"),
        ("dataset: mnist", "dataset: {}", 2, 10, "dataset: missing key 'path'; needed: path"),
        ("[mlp, cnn]", "[mlp, rnn]", 4, 16, "grid.model[1]: model 'rnn': allowed mlp or cnn"),
        ("[mlp, cnn]", "[mlp, CNN]", 4, 16, "model 'CNN': allowed mlp or cnn"),
        ("[mlp, cnn]", "[mlp, cnnn]", 4, 16, "allowed mlp or cnn; did you mean 'cnn'?"),
        ("[mlp, cnn]", "mlp", 4, 10, "grid.model: model 'mlp': must be a list; write [mlp]"),
        ("[mlp, cnn]", "[]", 4, 10, "grid.model: model []: is empty; needs at least one entry"),
        ("[mlp, cnn]", "{mlp: 1}", 4, 10, "model {'mlp': 1}: must be a list"),
        ("200]", "0]", 5, 22, "grid.subset_size[1]: subset_size 0: allowed 1 to 50000, the training images of mnist"),
        ("200]", "-1]", 5, 22, "subset_size -1: allowed 1 to 50000"),
        ("200]", "50001]", 5, 22, "subset_size 50001: allowed 1 to 50000, the training images of mnist"),
        ("200]", "200.0]", 5, 22, "subset_size 200.0: allowed 1 to 50000, the training images of mnist; write 200"),
        ("200]", "2e2]", 5, 22, "; write 200"),
        ("200]", "'200']", 5, 22, "the training images of mnist; write it without quotes"),
        ("200]", "2_00]", 5, 22, "subset_size '2_00': allowed 1 to 50000"),
        ("200]", "3:20]", 5, 22, "subset_size '3:20': allowed 1 to 50000"),
        ("200]", "true]", 5, 22, "subset_size true: allowed 1 to 50000"),
        ("200]", "null]", 5, 22, "subset_size null: allowed 1 to 50000"),
        ("200]", "100]", 5, 22, "subset_size 100 repeats the value at line 5, column 17; remove one"),
        ("[100, 200]", "", 5, 15, "subset_size null: must be a list"),
        ("false, true", "false, 1", 6, 24, "adaptive_lr 1: allowed true or false"),
        ("false, true", "false, 'true'", 6, 24, "adaptive_lr 'true': allowed true or false; write it without quotes"),
        ("false, true", "false, False", 6, 24, "adaptive_lr false repeats the value at line 6, column 17"),
        ("false, true", "yes, true", 6, 22, "adaptive_lr true repeats the value at line 6, column 17"),
        ("false, true", 'on, "On"', 6, 21, "adaptive_lr 'On' repeats the value at line 6, column 17"),
        ("seed: [0, 1]", "seed: [0, 0]", 7, 13, "grid.seed[1]: seed 0 repeats the value at line 7, column 10"),
        ("seed: [0, 1]", "seed: [0, -1]", 7, 13, "seed -1: allowed whole numbers from 0 to 9223372036854775807"),
        ("seed: [0, 1]", f"seed: [{2**63}]", 7, 10, f"seed {2**63}: allowed"),
        ("seed: [0, 1]", "seed: 5", 7, 9, "seed 5: must be a list; write [5], or seeds: 5 for that many"),
        ("seed: [0, 1]", "seeds: [0, 1]", 7, 10, "seeds [0, 1]: allowed whole numbers from 1 to 1000000"),
        ("seed: [0, 1]", "seeds: 0", 7, 10, "seeds 0: allowed whole numbers from 1"),
        ("seed: [0, 1]", "seeds: 1000001", 7, 10, "seeds 1000001: allowed"),
        ("  seed: [0, 1]", "  seed: [0]\n  seeds: 2", 8, 3, "seeds: cannot be combined with seed; keep one of the two"),
        ("  seed: [0, 1]", "  sede: [0]", 7, 3, "grid.sede: unknown key 'sede'; did you mean 'seed'?"),
        ("  model:", "  modle:", 4, 3, "grid.modle: unknown key 'modle'; did you mean 'model'?"),
        ("  seed: [0, 1]\n", "", 4, 3, "grid: missing key 'seed'; write seed: [0, 1, 2] or seeds: 3"),
        ("  adaptive_lr: [false, true]\n", "", 4, 3, "missing key 'adaptive_lr'; needed: model, subset_size"),
        ("  seed: [0, 1]", "  seed: [0]\n  seed: [1]", 8, 3, "duplicate key 'seed', first used at line 7, column 3"),
        ("  seed: [0, 1]", "  seed: [0]\n  sede: [1]", 8, 3, "grid.sede: unknown key 'sede'; did you mean 'seed'?"),
        ("seed: [0, 1]", "seeds: 1000000", 4, 3, "2 x 2 x 2 x 1000000 = 8000000 trials; allowed up to 1000000"),
    ],
)
def test_a_wrong_key_or_value_is_one_fault(old: str, new: str, line: int, column: int, fragment: str) -> None:
    assert old in GRID
    check(GRID.replace(old, new), line, column, fragment)


@pytest.mark.parametrize(
    ("setting", "column", "fragment"),
    [
        ("epochs: 0", 17, "train.epochs: epochs 0: allowed whole numbers from 1 to 1000000"),
        ("epochs: 1000001", 17, "epochs 1000001: allowed whole numbers"),
        ("epochs: 1.5", 17, "epochs 1.5: allowed whole numbers from 1 to 1000000"),
        ("batch_size: 0", 21, "batch_size 0: allowed whole numbers from 1 to 1000000"),
        ("learning_rate: 0", 24, "learning_rate 0: allowed finite numbers above 0"),
        ("learning_rate: -0.1", 24, "learning_rate -0.1: allowed finite numbers above 0"),
        ("learning_rate: .nan", 24, "learning_rate nan: allowed finite numbers above 0"),
        ("learning_rate: .inf", 24, "learning_rate inf: allowed finite numbers above 0"),
        ("learning_rate: 1e400", 24, "learning_rate inf: allowed finite"),
        (
            "learning_rate: '1e-3'",
            24,
            "learning_rate '1e-3': allowed finite numbers above 0 and at most 1e+38; write it without quotes",
        ),
        ("learning_rate: true", 24, "learning_rate true: allowed finite"),
        ("learning_rate: [0.1]", 24, "learning_rate [0.1]: allowed finite"),
        ("lr_decay: 0", 19, "lr_decay 0: allowed finite numbers above 0 and at most 1"),
        ("lr_decay: 1.01", 19, "lr_decay 1.01: allowed"),
        ("momentum: 1", 19, "momentum 1: allowed finite numbers of at least 0 and below 1"),
        ("momentum: .nan", 19, "momentum nan: allowed"),
        ("hidden_units: 0", 23, "hidden_units 0: allowed whole numbers from 1 to 65536"),
        ("hidden_units: 65537", 23, "hidden_units 65537: allowed"),
        ("weight_init_std: 0", 26, "weight_init_std 0: allowed finite numbers above 0"),
        ("learning_rat: 1", 9, "unknown key 'learning_rat'; did you mean 'learning_rate'? allowed: epochs, batch_size"),
        ("'a\\nb': 1", 9, "unknown key"),
    ],
)
def test_a_wrong_training_setting_is_one_fault(setting: str, column: int, fragment: str) -> None:
    check(f"{GRID}train: {{{setting}}}", 8, column, fragment)


@pytest.mark.parametrize(
    ("section", "column", "fragment"),
    [
        ("train:", 7, "train null: must be a mapping; allowed keys: epochs, batch_size"),
        ("train: {seed: 1}", 9, "train.seed: unknown key 'seed'; it belongs in grid; allowed: epochs, batch_size"),
        ("train: {cpus_per_trial: 2}", 9, "unknown key 'cpus_per_trial'; it belongs in resources; allowed: epochs"),
        ("train: [epochs]", 8, "train ['epochs']: must be a mapping"),
        ("epochs: 5", 1, "unknown key 'epochs'; it belongs in grid or train; allowed: name"),
        ("resources: {cpus_per_trial: 0}", 29, "cpus_per_trial 0: allowed whole numbers from 1 to 1024"),
        ("resources: {device: gpu}", 21, "device 'gpu': allowed auto, cpu or cuda"),
        ("resources: {gpus_per_task: 0}", 28, "gpus_per_task 0: allowed finite numbers above 0 and at most 1"),
        ("resources: {gpus_per_task: 2}", 28, "gpus_per_task 2: allowed finite numbers above 0 and at most 1"),
        ("resources: {cpus: 1}", 13, "unknown key 'cpus'"),
        ("exclude: {model: cnn}", 10, "exclude {'model': 'cnn'}: must be a list"),
        ("exclude: [3]", 11, "exclude[0]: exclude 3: must be a mapping"),
        ("exclude: [{}]", 11, "exclude {}: is empty; needs at least one entry"),
        ("exclude: [{seeds: 1}]", 12, "exclude[0].seeds: unknown key 'seeds'; did you mean 'seed'?"),
        ("exclude: [{model: cnn, seed: 7}]", 11, "{model: cnn, seed: 7} matches no trial; remove it or correct it"),
        ("exclude: [{model: cnn}, {model: mlp}]", 10, "exclude: every trial is excluded; exclude fewer of them"),
        ("include: [{model: cnn, subset_size: 9, adaptive_lr: on}]", 11, "include[0]: missing key 'seed'; needed:"),
        ("include: [{model: cnn, subset_size: 50001, adaptive_lr: on, seed: 0}]", 37, "subset_size 50001: allowed"),
        ("include: [{model: cnn, subset_size: 100, adaptive_lr: on, seed: 0}]", 11, "1 duplicate trial: the grid"),
        ("overrides: [{set: {epochs: 1}}]", 13, "overrides[0]: missing key 'when'; needed: when, set"),
        ("overrides: [{when: {model: cnn}}]", 13, "overrides[0]: missing key 'set'"),
        ("overrides: [{when: {model: cnn}, set: {}}]", 39, "set {}: is empty"),
        ("overrides: [{when: {seed: 7}, set: {epochs: 1}}]", 20, "when: {seed: 7} matches no trial"),
        *[
            (
                f"overrides: [{{when: {{model: cnn}}, set: {{{key}: 1}}}}]",
                40,
                f"{key} cannot be set, because it identifies the trial",
            )
            for key in AXIS_KEYS
        ],
        (
            "overrides: [{when: {model: cnn}, set: {hidden_units: 8}}]",
            54,
            "hidden_units 8: used only where {model: mlp}, and no matched trial has that; remove it",
        ),
        (
            "overrides: [{when: {adaptive_lr: false}, set: {lr_decay: 0.5}}]",
            58,
            "lr_decay 0.5: used only where {adaptive_lr: true}, and no",
        ),
    ],
)
def test_a_wrong_section_is_one_fault(section: str, column: int, fragment: str) -> None:
    check(GRID + section, 8, column, fragment)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("name: a", "name: -5", "without '..'"),
        ("200]", "'0']", "the training images of mnist"),
        ("200]", "0.0]", "the training images of mnist"),
        ("[mlp, cnn]", "rnn", "must be a list"),
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


def test_thousands_of_unknown_keys_are_thousands_of_faults() -> None:
    text = "".join(f"k{number}: 1\n" for number in range(2000))
    assert len(faults_of(text)) == 2003
