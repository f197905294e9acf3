"""The reference pages that `make docs` writes: they are up to date, and their examples load."""

import re
import runpy
from pathlib import Path

import pytest

from jobs.grid.grid import parse_grid
from mnist_core.data.datasets import NAMED_DATASETS
from mnist_core.trial import SETTINGS

DOCS = Path(__file__).parent.parent / "docs"
GENERATOR = runpy.run_path(str(DOCS / "generate.py"))


@pytest.mark.parametrize("name", GENERATOR["PAGES"])
def test_a_generated_page_is_up_to_date(name: str) -> None:
    expected = GENERATOR["PAGES"][name]()
    assert (DOCS / name).read_text(encoding="utf-8") == expected, f"docs/{name} is stale; `make docs` renews it"


def test_write_pages_writes_every_page(tmp_path: Path) -> None:
    GENERATOR["write_pages"](tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        name: make_page() for name, make_page in GENERATOR["PAGES"].items()
    }


@pytest.mark.parametrize("text", GENERATOR["GRID_EXAMPLES"].values(), ids=lambda text: text.partition("\n")[0])
def test_every_example_of_a_grid_loads(text: str) -> None:
    assert text in GENERATOR["grid_page"]()
    assert parse_grid(text, file="docs/grid.md", folder=DOCS, dataset_info=NAMED_DATASETS["mnist"]).trials()


def test_the_example_that_counts_its_trials_is_right() -> None:
    ((title, text),) = [item for item in GENERATOR["GRID_EXAMPLES"].items() if re.search(r"\d+ trials", item[0])]
    trials = parse_grid(text, file="docs/grid.md", folder=DOCS).trials()
    assert title.endswith(f": {len(trials)} trials")


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_documented_once(name: str) -> None:
    assert GENERATOR["grid_page"]().count(f"| `{name}` |") == 1
