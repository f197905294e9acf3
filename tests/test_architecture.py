"""docs/architecture.md is true: its files and names exist, its layers are those that are checked, its walls hold."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType

import pytest
from support.tiny_study import submit_tiny

import mnistjobs

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WINGS = ("api", "cli", "export", "grid", "predict", "report", "run", "store")
# Imported by name, although not through an __init__, and why.
LATE_IMPORTS = {
    "mnist_core.models.mlp": "the initial weights, without torch, which the other model imports",
    "mnist_core.models.cnn": "importing torch takes half a second",
    "jobs.report.notebook": "importing Altair takes a third of a second",
    "cluster.ray_jobs": "importing Ray takes half a second",
    "cluster.ray_session": "importing Ray takes half a second",
}


def is_module(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    return path.is_dir() or path.with_suffix(".py").is_file()


@cache
def imports(path: Path) -> list[str]:
    """Return the modules that a file imports, or imports names from."""
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if is_module(name) else node.module for name in names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_file_that_the_page_names_exists() -> None:
    names = set(re.findall(r"`((?:jobs|cluster|mnist_core|tests)/[\w/]+\.py)`", PAGE))
    assert sorted(name for name in names if not (ROOT / name).is_file()) == []


def named_definitions() -> Iterator[tuple[str, str]]:
    """Yield each name that the page places in a file, as in "`plan_grid` and `submit_grid` in `jobs/api/x.py`"."""
    listed = re.findall(r"((?:`\w+`(?:,|\s+and)\s+)*`\w+`)\s+(?:in|of)\s+`([\w/]+\.py)`", PAGE)
    yield from ((name, file) for names, file in listed for name in re.findall(r"`(\w+)`", names))


def test_every_name_is_defined_where_the_page_says() -> None:
    assert sorted({each for each in named_definitions() if each[0] not in definitions(each[1])}) == []


@cache
def definitions(file: str) -> set[str]:
    """Return the names of what a file defines."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef | ast.FunctionDef)}
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        defined |= {target.id for target in targets if isinstance(target, ast.Name)}
    return defined


@pytest.mark.medium
@pytest.mark.parametrize("model", ["mlp", "cnn"])
def test_the_page_names_every_file_that_a_trial_passes(model: str, tmp_path: Path) -> None:
    passed: set[str] = set()

    def note(frame: FrameType, event: str, argument: object) -> None:
        file = frame.f_code.co_filename
        if event == "call" and file not in passed and file.startswith(str(ROOT)) and not is_imported(frame):
            passed.add(file)

    sys.setprofile(note)
    try:
        store, job = submit_tiny(tmp_path, model=f"[{model}]")
        mnistjobs.report_job(store.root, job.job_id)
    finally:
        sys.setprofile(None)
    files = [named(path) for path in sources("jobs", "cluster", "mnist_core") if str(path) in passed]
    assert len(files) > 30
    assert sorted(name for name in files if f"`{name}`" not in PAGE.partition("## Other files")[0]) == []


def is_imported(frame: FrameType | None) -> bool:
    """Tell whether a call is part of an import, such as the body of a class."""
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


def test_the_page_names_every_file_of_the_rooms() -> None:
    files = [path for path in sources("jobs", "cluster", "mnist_core") if path.name != "__init__.py"]
    assert [named(path) for path in files if f"`{named(path)}`" not in PAGE] == []


def test_the_layers_of_the_page_are_those_that_are_checked() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    checked = {contract["containers"][0]: contract["layers"] for contract in contracts if "containers" in contract}
    assert checked.keys() == {"jobs", "mnist_core"}
    for room, layers in checked.items():
        rows = re.findall(rf"^\| (`{room}/.*?) \|", PAGE.partition("## One trial")[0], re.MULTILINE)
        assert [set(re.findall(rf"{room}/(\w+)", row)) for row in rows] == [set(re.findall(r"\w+", x)) for x in layers]


def test_wings_import_each_other_through_their_init() -> None:
    assert [f"{named(path)}: {each}" for path in sources("jobs") for each in wrong_imports(path)] == []


def wrong_imports(path: Path) -> Iterator[str]:
    """Say from where a file should import what it imports from the inside of another wing or room."""
    own = path.relative_to(ROOT).parts[1]
    for module in imports(path):
        parts = module.split(".")
        is_foreign = parts[0] == "jobs" and len(parts) > 2 and parts[1] in WINGS and parts[1] != own
        if is_foreign and module not in LATE_IMPORTS:
            yield f"import {module} from jobs.{parts[1]}"
        is_room = parts[:2] in (["mnist_core", "data"], ["mnist_core", "models"], ["mnist_core", "backends"])
        is_inside = (is_room and len(parts) > 2) or (parts[0] == "cluster" and len(parts) > 1)
        if is_inside and module not in LATE_IMPORTS:
            yield f"import {module} from {'.'.join(parts[: 2 if is_room else 1])}"


def test_every_exception_is_still_needed() -> None:
    assert LATE_IMPORTS.keys() <= {module for path in sources("jobs") for module in imports(path)}
