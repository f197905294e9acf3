"""A small grid to put mistakes into, and the faults that reading it then reports."""

from pathlib import Path

import pytest

from jobs.errors import InputError, InputFault
from jobs.grid.grid import parse_grid

# Lines 1 to 7; tests replace a piece of them or append line 8.
GRID = """\
name: a
dataset: mnist
grid:
  model: [mlp, cnn]
  subset_size: [100, 200]
  adaptive_lr: [false, true]
  seed: [0, 1]
"""


def faults_of(text: str, folder: Path = Path(".")) -> list[InputFault]:
    with pytest.raises(InputError) as raised:
        parse_grid(text, file="grid.yaml", folder=folder)
    return raised.value.faults


def check(text: str, line: int, column: int, fragment: str) -> None:
    (fault,) = faults_of(text)
    assert (fault.file, fault.line, fault.column) == ("grid.yaml", line, column)
    assert fragment in str(fault)
