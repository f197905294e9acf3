"""The reference pages that `make docs` writes: they are up to date, and their examples load."""

import re
from pathlib import Path

import generate
import pytest

from jobs.grid.grid import parse_grid
from mnist_core.data.datasets import NAMED_DATASETS
from mnist_core.trial import SETTINGS

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.parametrize("name", generate.PAGES)
def test_a_generated_page_is_up_to_date(name: str) -> None:
    expected = generate.PAGES[name]()
    assert (DOCS / name).read_text(encoding="utf-8") == expected, f"docs/{name} is stale; `make docs` renews it"


def test_the_specifications_of_the_figures_are_up_to_date() -> None:
    found = generate.CHART_TEMPLATES.read_text(encoding="utf-8")
    assert found == generate.chart_templates(), "jobs/report/charts.json is stale; `make docs` renews it"


def test_write_pages_writes_every_page(tmp_path: Path) -> None:
    generate.write_pages(tmp_path)
    assert {path.name: path.read_text(encoding="utf-8") for path in tmp_path.iterdir()} == {
        name: make_page() for name, make_page in generate.PAGES.items()
    }


@pytest.mark.parametrize("text", generate.GRID_EXAMPLES.values(), ids=lambda text: text.partition("\n")[0])
def test_every_example_of_a_grid_loads(text: str) -> None:
    assert text in generate.grid_page()
    assert parse_grid(text, file="docs/grid.md", folder=DOCS, dataset_info=NAMED_DATASETS["mnist"]).trials()


def test_the_example_that_counts_its_trials_is_right() -> None:
    ((title, text),) = [item for item in generate.GRID_EXAMPLES.items() if re.search(r"\d+ trials", item[0])]
    trials = parse_grid(text, file="docs/grid.md", folder=DOCS).trials()
    assert title.endswith(f": {len(trials)} trials")


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_is_documented_once(name: str) -> None:
    assert generate.grid_page().count(f"| `{name}` |") == 1
