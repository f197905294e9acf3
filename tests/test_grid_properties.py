"""Any input to the grid's reader gives a grid or faults, and nothing else."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support.grid_data import DATA

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
SECTIONS = {"train": DATA, "exclude": DATA, "include": DATA, "overrides": DATA, "resources": DATA, "dataset": DATA}

few_or_many = pytest.mark.parametrize("examples", [50, pytest.param(2000, marks=pytest.mark.chaos)])


def check_all(examples: int, check: Callable[..., None], *inputs: st.SearchStrategy[Any]) -> None:
    settings(max_examples=examples, deadline=None)(given(*inputs)(check))()


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


@few_or_many
def test_any_data_is_a_grid_or_faults(examples: int) -> None:
    def check(data: Any) -> None:  # noqa: ANN401 - any data at all
        base = yaml.safe_load(GRID)
        check_outcome(yaml.safe_dump(base | data if isinstance(data, dict) else data, sort_keys=False))

    check_all(examples, check, st.fixed_dictionaries({}, optional=SECTIONS) | DATA)


@few_or_many
def test_any_damaged_text_is_a_grid_or_faults(examples: int) -> None:
    def check(start: int, length: int, inserted: str) -> None:
        check_outcome(GRID[:start] + inserted + GRID[start + length :])

    check_all(examples, check, st.integers(0, len(GRID)), st.integers(0, 20), st.text(max_size=20))


@few_or_many
def test_any_bytes_are_faults(examples: int, tmp_path: Path) -> None:
    path = tmp_path / "any.yaml"

    def check(content: bytes) -> None:
        path.write_bytes(content)
        with pytest.raises(InputError):
            load_grid(path)

    check_all(examples, check, st.binary(max_size=200))
