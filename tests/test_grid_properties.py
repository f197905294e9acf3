"""Whatever a grid file holds, reading it gives a grid or faults, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.errors import InputError, InputFault
from jobs.grid.grid import Grid, load_grid, parse_grid

GRID = """\
name: a
dataset: mnist
grid:
  model: [mlp, cnn]
  subset_size: [100, 200]
  adaptive_lr: [false, true]
  seed: [0, 1]
"""
NAMES = "name dataset path grid train exclude include overrides when set resources cpus_per_trial device gpus_per_task"
SETTINGS = "model subset_size adaptive_lr seed seeds epochs learning_rate hidden_units lr_decay lr"
KEYS = st.sampled_from(f"{NAMES} {SETTINGS}".split())
VALUES = st.sampled_from([None, True, 0, 1, 2, 0.5, 1e9, "mlp", "cnn", "mnist", "digits", "on", "", "\x7f", "a..b"])
DATA = st.recursive(
    VALUES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
SECTIONS = {"train": DATA, "exclude": DATA, "include": DATA, "overrides": DATA, "resources": DATA, "dataset": DATA}


def outcome(text: str) -> Grid | list[InputFault]:
    try:
        return parse_grid(text, file="grid.yaml", folder=Path("/nonexistent"))
    except InputError as error:
        return error.faults


def check_outcome(text: str) -> None:
    found = outcome(text)
    if isinstance(found, Grid):
        assert found.trials()
    else:
        assert found
        assert all("\n" not in str(fault) and fault.message for fault in found)


@given(st.fixed_dictionaries({}, optional=SECTIONS) | DATA)
@settings(max_examples=200, deadline=None)
def test_any_data_in_any_section_is_a_grid_or_faults(data: Any) -> None:  # noqa: ANN401 - any data at all
    base = yaml.safe_load(GRID)
    check_outcome(yaml.safe_dump(base | data if isinstance(data, dict) else data, sort_keys=False))


@given(st.integers(0, len(GRID)), st.integers(0, 20), st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_damage_to_a_grid_leaves_a_grid_or_faults(start: int, length: int, inserted: str) -> None:
    check_outcome(GRID[:start] + inserted + GRID[start + length :])


@given(content=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_grid_or_faults(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError):
        load_grid(path)
