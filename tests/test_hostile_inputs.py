"""Inputs that somebody else made, images and grids: every one is read or refused, without a hang."""

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.idx_files import idx_contents

from jobs.grid.grid import parse_grid
from mnist_core.data.idx import read_idx
from mnist_core.errors import DataError

# IDX files


@given(st.binary(max_size=200) | st.binary(max_size=60).map(lambda rest: b"\0\0\x08\x03" + rest))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_an_idx_file_or_a_data_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.idx"
    path.write_bytes(content)
    with suppress(DataError):
        assert len(read_idx(path)[0]) <= len(content)


@given(st.sampled_from(sorted(idx_contents())), st.integers(0, 20_000), st.binary(max_size=8))
@settings(max_examples=150, deadline=None)
def test_any_damage_to_an_idx_file_leaves_one_or_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, start: int, inserted: bytes
) -> None:
    content = idx_contents()[name]
    path = tmp_path_factory.getbasetemp() / "damaged.idx"
    path.write_bytes(content[:start] + inserted + content[start + len(inserted) :])
    with suppress(DataError):
        assert len(read_idx(path)[0]) <= len(content)


# Grids


@pytest.mark.medium
@pytest.mark.timeout(60)  # a hang is what is looked for
def test_a_grid_of_thousands_of_overrides_is_read() -> None:
    axes = "grid: {model: [mlp, cnn], subset_size: [100, 200], adaptive_lr: [false, true], seeds: 1000}"
    overrides = "".join(f"- {{when: {{seed: {number % 1000}}}, set: {{epochs: 3}}}}\n" for number in range(3_000))
    text = f"name: many\ndataset: digits\n{axes}\noverrides:\n{overrides}"
    assert len(parse_grid(text, file="grid.yaml", folder=Path("/nonexistent")).trials()) == 8_000
