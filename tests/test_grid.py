"""What a grid means: its trials, its defaults and its JSON Schema."""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from support.idx_files import write_idx_folder

from jobs.grid.grid import STARTER_GRID, Grid, grid_schema, load_grid, parse_grid
from jobs.grid.yaml_document import parse_yaml
from mnist_core.data.datasets import DatasetInfo, inspect_dataset
from mnist_core.trial import Model, Trial

GRIDS = Path(__file__).parent.parent / "data" / "grids"
# The beginnings of the starter grid's commented settings.
EXTRAS = (
    "# exclude",
    "# include",
    "# overrides",
    "# resources",
    "#   - ",
    "#     ",
    "#   cpus",
    "#   device",
    "#   gpus",
    "#   hung",
    "# retries",
    "# fail_fast",
)
HEAD = "name: a\ndataset: mnist\n"
TWO_MODELS = HEAD + "grid: {model: [mlp, cnn], subset_size: [100], adaptive_lr: [true], seeds: 2}\n"


def parse(text: str) -> Grid:
    return parse_grid(text, file="grid.yaml", folder=Path("."))


def trial(
    model: Model = "mlp",
    subset_size: int = 100,
    adaptive_lr: bool = True,
    seed: int = 0,
    **train: Any,  # noqa: ANN401 - each setting has its own type
) -> Trial:
    return Trial(model=model, subset_size=subset_size, adaptive_lr=adaptive_lr, seed=seed, **train)


def test_the_study_has_its_forty_trials() -> None:
    trials = load_grid(GRIDS / "report.yaml").trials()
    assert trials == [
        trial(model, subset_size, adaptive_lr, seed)
        for model in get_args(Model)
        for subset_size in (2000, 50000)
        for adaptive_lr in (False, True)
        for seed in range(5)
    ]
    settings = {(t.epochs, t.batch_size, t.learning_rate, t.momentum) for t in trials}
    assert settings == {(100, 256, 0.001, 0.0)}


def test_the_quickstart_has_24_trials_on_digits() -> None:
    grid = load_grid(GRIDS / "quickstart.yaml")
    assert (grid.dataset_source(), grid.dataset_info.train_size, len(grid.trials())) == ("digits", 1297, 24)


def test_the_starter_grid_loads_with_and_without_its_extras() -> None:
    assert len(parse(STARTER_GRID).trials()) == 24
    lines = [line.removeprefix("# ") if line.startswith(EXTRAS) else line for line in STARTER_GRID.splitlines()]
    grid = parse("\n".join(lines))
    # Two trials are excluded, one is included.
    assert len(grid.trials()) == 23
    assert {t.learning_rate for t in grid.trials() if t.model == "cnn"} == {0.001}


def test_seeds_vary_fastest_and_any_setting_may_be_an_axis() -> None:
    grid = parse(
        HEAD + "grid: {seed: [7, 3], learning_rate: [1, 1e-3], model: [mlp], adaptive_lr: [off], subset_size: [5]}\n"
    )
    assert [(t.learning_rate, t.seed) for t in grid.trials()] == [(1.0, 7), (1.0, 3), (0.001, 7), (0.001, 3)]
    # The trial_id hashes JSON, where 1 and 1.0 differ.
    assert all(type(t.learning_rate) is float for t in grid.trials())


def test_seeds_counts_the_seeds_from_zero() -> None:
    assert parse(TWO_MODELS).trials() == parse(TWO_MODELS.replace("seeds: 2", "seed: [0, 1]")).trials()


def test_train_reaches_every_trial_that_uses_it() -> None:
    grid = parse(TWO_MODELS + "train: {epochs: 3, hidden_units: 8, momentum: -0.0, weight_init_std: 1}\n")
    assert grid.trials() == [
        *[trial("mlp", seed=seed, epochs=3, hidden_units=8, weight_init_std=1.0) for seed in (0, 1)],
        *[trial("cnn", seed=seed, epochs=3) for seed in (0, 1)],
    ]
    assert {str(t.momentum) for t in grid.trials()} == {"0.0"}


def test_exclude_drops_trials_that_match_all_keys() -> None:
    grid = parse(TWO_MODELS + "exclude: [{model: cnn, seed: 1}, {model: mlp, seed: 0, adaptive_lr: yes}]\n")
    assert grid.trials() == [trial("mlp", seed=1), trial("cnn", seed=0)]


def test_exclude_matches_settings_that_are_not_used() -> None:
    text = TWO_MODELS.replace("seeds: 2", "seeds: 1, hidden_units: [32, 64]")
    grid = parse(text + "exclude: [{model: cnn, hidden_units: 64}]\n")
    assert grid.trials() == [trial("mlp", hidden_units=32), trial("mlp", hidden_units=64), trial("cnn")]


def test_include_adds_trials_with_the_settings_of_train() -> None:
    grid = parse(
        TWO_MODELS
        + "train: {epochs: 7}\nexclude: [{model: cnn}]\n"
        + "include: [{model: cnn, subset_size: 9, adaptive_lr: false, seed: 1, learning_rate: 0.01}]\n"
    )
    assert grid.trials() == [
        *[trial("mlp", seed=seed, epochs=7) for seed in (0, 1)],
        trial("cnn", 9, False, 1, epochs=7, learning_rate=0.01),
    ]


def test_overrides_apply_in_order_and_to_included_trials() -> None:
    grid = parse(
        TWO_MODELS.replace("seeds: 2", "seeds: 1")
        + "include: [{model: cnn, subset_size: 9, adaptive_lr: true, seed: 0}]\n"
        + "overrides:\n- {when: {model: cnn}, set: {learning_rate: 0.01, epochs: 5}}\n"
        + "- {when: {learning_rate: 0.01, subset_size: 9}, set: {epochs: 6, momentum: 0.5}}\n"
    )
    assert grid.trials() == [
        trial("mlp"),
        trial("cnn", learning_rate=0.01, epochs=5),
        trial("cnn", 9, learning_rate=0.01, epochs=6, momentum=0.5),
    ]


def test_a_dataset_folder_is_relative_to_the_grid_file(tmp_path: Path) -> None:
    write_idx_folder(tmp_path / "images")
    info = inspect_dataset(tmp_path / "images")
    path = tmp_path / "grid.yaml"
    path.write_text(
        "name: own\ndataset: {path: images}\n"
        f"grid: {{model: [mlp], subset_size: [{info.train_size}], adaptive_lr: [on], seeds: 1}}\n"
    )
    grid = load_grid(path)
    assert grid.dataset_source() == tmp_path / "images"
    assert grid.dataset_info == info
    assert grid.text == path.read_text()


def test_a_given_dataset_info_replaces_the_lookup() -> None:
    info = DatasetInfo(name="gone", train_size=100, validation_size=1, test_size=1, fingerprint="f")
    text = TWO_MODELS.replace("mnist", "{path: /no/such/folder}")
    grid = parse_grid(text, file="job.json", folder=Path("."), dataset_info=info)
    assert grid.dataset_info is info
    assert len(grid.trials()) == 4


def test_a_grid_is_frozen_and_has_defaults() -> None:
    grid = parse(TWO_MODELS)
    assert (grid.resources.cpus_per_trial, grid.train, grid.exclude) == (1, {}, [])
    with pytest.raises(ValueError, match="frozen"):
        grid.name = "b"
    assert (grid.resources.device, grid.resources.gpus_per_task) == ("auto", 1.0)
    assert parse(TWO_MODELS + "resources: {cpus_per_trial: 2}\n").resources.cpus_per_trial == 2
    shared = parse(TWO_MODELS + "resources: {device: cuda, gpus_per_task: 0.25}\n").resources
    assert (shared.device, shared.gpus_per_task) == ("cuda", 0.25)


@pytest.mark.medium
def test_a_grid_may_have_100_000_trials() -> None:
    trials = parse(TWO_MODELS.replace("seeds: 2", "seeds: 50000")).trials()
    assert len(set(trials)) == 100_000


def test_the_schema_accepts_the_shipped_grids() -> None:
    schema = json.loads(json.dumps(grid_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    for text in [(GRIDS / "report.yaml").read_text(), (GRIDS / "quickstart.yaml").read_text(), STARTER_GRID]:
        jsonschema.validate(parse_yaml(text, "f").data, schema)


@pytest.mark.parametrize(
    "text",
    [
        TWO_MODELS.replace("[mlp, cnn]", "[mlp, rnn]"),
        TWO_MODELS.replace("[mlp, cnn]", "mlp"),
        TWO_MODELS.replace("[100]", "[]"),
        TWO_MODELS.replace("[100]", "[0]"),
        TWO_MODELS.replace("seeds: 2", "seed: [1, 1]"),
        TWO_MODELS.replace("seeds: 2", "seeds: 2, seed: [0]"),
        TWO_MODELS.replace("mnist", "minst"),
        TWO_MODELS.replace("name: a", "name: ../../etc"),
        TWO_MODELS.replace("name: a", "name: a..b"),
        TWO_MODELS + "train: {learning_rat: 1}",
        TWO_MODELS + "train: {learning_rate: 0}",
        TWO_MODELS + "exclude: [{}]",
        TWO_MODELS + "overrides: [{when: {model: cnn}, set: {seed: 1}}]",
    ],
)
def test_the_schema_refuses_the_values_that_the_grid_refuses(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(parse_yaml(text, "f").data, grid_schema())


def test_the_schema_describes_every_key() -> None:
    schema = grid_schema()
    for section in [schema, *schema["$defs"].values()]:
        assert section["additionalProperties"] is False
        for name, node in section["properties"].items():
            assert "description" in node.get("items", node) or "$ref" in node.get("items", node), name
