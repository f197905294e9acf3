"""docs/architecture.md is true: its files and names exist, its layers are those that are checked, its walls hold."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WINGS = ("api", "cli", "grid", "report", "run", "store")
# Imported by name, although not through an __init__, and why.
LATE_IMPORTS = {
    "cluster.ray_session": "importing Ray takes half a second",
}


def imports(path: Path) -> Iterator[str]:
    """Yield the modules that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:jobs|cluster|mnist_core|tests)/[\w/]+\.py)`", PAGE))))
def test_every_file_that_the_page_names_exists(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize(("name", "file"), sorted(set(re.findall(r"`(\w+)`\s+(?:in|of)\s+`([\w/]+\.py)`", PAGE))))
def test_every_name_is_defined_where_the_page_says(name: str, file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    assert name in defined


def test_the_page_follows_the_trial_through_every_wing() -> None:
    steps = PAGE.partition("## One trial")[2].partition("## Where")[0]
    for room in ("jobs/grid", "jobs/run", "jobs/store", "jobs/report", "cluster", "mnist_core/backends"):
        assert f"`{room}/" in steps


def test_the_layers_of_the_page_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    checked = [set(re.findall(r"\w+", layer)) for layer in contracts[0]["layers"]]
    rows = re.findall(r"^\| (`jobs/.*?) \|", PAGE, re.MULTILINE)
    assert [set(re.findall(r"jobs/(\w+)", row)) for row in rows] == checked


@pytest.mark.parametrize("path", sources("jobs"), ids=lambda path: str(path.relative_to(ROOT)))
def test_wings_import_each_other_through_their_init(path: Path) -> None:
    own = path.relative_to(ROOT).parts[1]
    for module in imports(path):
        parts = module.split(".")
        if parts[0] == "jobs" and len(parts) > 2 and parts[1] in WINGS:
            assert parts[1] == own, f"{module}: import it from jobs.{parts[1]}"
        is_room = parts[:2] in (["mnist_core", "data"], ["mnist_core", "models"], ["mnist_core", "backends"])
        if (is_room and len(parts) > 2) or (parts[0] == "cluster" and len(parts) > 1):
            assert module in LATE_IMPORTS, f"{module}: import it from {'.'.join(parts[: 2 if is_room else 1])}"


@pytest.mark.parametrize("module", LATE_IMPORTS)
def test_every_exception_is_still_needed(module: str) -> None:
    assert any(module in imports(path) for path in sources("jobs"))
