"""Settings are declared in Trial alone: the grid's keys and the columns follow from it."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jobs.grid.sections import Resources
from jobs.grid.settings import DEFAULTS, RESOURCE_SETTINGS, parse_bool

ROOT = Path(__file__).parent.parent
NEW_SETTING = """\
    dropout: Annotated[
        float | None,
        Setting(description="Share of the hidden units left out.", ge=0, lt=1, only_where=("model", "mlp")),
    ] = 0.0

"""
PROGRAM = """\
import json
from pathlib import Path
from jobs.errors import InputError
from jobs.grid import grid_schema, parse_grid
from jobs.store import TRIALS

def parse(model, values):
    axes = f"{{model: {model}, subset_size: [9], adaptive_lr: [on], seeds: 1, dropout: {values}}}"
    return parse_grid(f"name: a\\ndataset: mnist\\ngrid: {axes}\\n", file="f", folder=Path("."))

def fault(model, values):
    try:
        parse(model, values)
    except InputError as error:
        return error.faults[0].message

print(json.dumps({
    "trials": [trial.dropout for trial in parse("[mlp]", "[0.1, 0.2]").trials()],
    "out of bounds": fault("[mlp]", "[1]"),
    "unused": fault("[mlp, cnn]", "[0.1, 0.2]"),
    "column": str(TRIALS.field("dropout").type),
    "schema": [
        grid_schema()["$defs"][section]["properties"]["dropout"]
        for section in ("Axes", "TrainSettings", "TrialSettings", "IncludedTrial")
    ],
}))
"""


@pytest.mark.medium
def test_a_setting_added_to_trial_appears_everywhere(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "mnist_core", tmp_path / "mnist_core", ignore=shutil.ignore_patterns("__pycache__"))
    module = tmp_path / "mnist_core" / "trial.py"
    before, end_of_settings, after = module.read_text().partition("    def __post_init__")
    module.write_text(before + NEW_SETTING + end_of_settings + after)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout)
    number = {
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "description": "Share of the hidden units left out.",
    }
    assert found == {
        "trials": [0.1, 0.2],
        "out of bounds": "dropout 1: allowed finite numbers of at least 0 and below 1",
        "unused": "1 duplicate trial: dropout is used only where {model: mlp}; elsewhere keep one value of it: "
        "add {model: cnn, dropout: 0.2} to exclude",
        "column": "double",
        "schema": [{"type": "array", "items": number, "minItems": 1, "uniqueItems": True}, number, number, number],
    }


def test_every_resource_setting_is_a_key_of_resources() -> None:
    defaults = Resources().model_dump()
    assert {name: defaults[name] for name in RESOURCE_SETTINGS} == {name: DEFAULTS[name] for name in RESOURCE_SETTINGS}


@pytest.mark.parametrize(("word", "value"), [("on", True), ("Yes", True), ("OFF", False), ("no", False)])
def test_words_of_yaml_1_1_are_booleans(word: str, value: bool) -> None:
    assert parse_bool(word) is value


@pytest.mark.parametrize("value", ["true", "y", 1, None, [True]])
def test_other_values_are_not_parsed_as_booleans(value: object) -> None:
    assert parse_bool(value) is value
