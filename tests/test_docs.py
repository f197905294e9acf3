"""The documents against the code: commands, links, grids and the Python example."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
from typer.main import get_command

import mnistjobs
from jobs.cli.app import app
from jobs.grid.grid import parse_grid
from mnist_core.data.datasets import NAMED_DATASETS

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted(path for folder in (".", "benchmarks", "data", "docs") for path in (ROOT / folder).glob("*.md"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


def fences(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands(text: str) -> list[list[str]]:
    """Find the command lines of mnistjobs in shell fences and in `code`."""
    lines = [line for fence in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in fence.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines + re.findall(r"`(mnistjobs [^`]+)`", text)]
    return [line[1:] for line in words if line[:1] == ["mnistjobs"]]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_in_the_documents_is_understood(document: Path) -> None:
    for words in commands(document.read_text(encoding="utf-8")):
        command = get_command(app)
        context = typer.Context(command, info_name="mnistjobs")
        while words and isinstance(command, typer.core.TyperGroup):
            name, found, words = command.resolve_command(context, words)
            assert found is not None, name
            command, context = found, typer.Context(found, info_name=name, parent=context)
        command.parse_args(context, [word.strip("[]") for word in words])


def test_every_command_is_in_the_readme() -> None:
    group = get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    documented = {words[0] for words in commands(README)}
    assert {name for name, command in group.commands.items() if not command.hidden} <= documented


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_to_a_file_of_the_project(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
        assert target.startswith("https://") or (document.parent / target).exists(), target


def test_every_make_target_in_the_readme_exists() -> None:
    helped = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[0] for line in helped.splitlines()}
    assert set(re.findall(r"\bmake ([a-z-]+)\b(?=[` ])", README)) - {"lists"} <= targets


def test_the_readme_begins_with_the_two_commands() -> None:
    assert [line.split("#")[0].strip() for line in fences("sh")[0].splitlines()] == ["make demo", "make test"]


def test_the_grid_in_the_readme_is_without_faults() -> None:
    (text,) = fences("yaml")
    grid = parse_grid(text, file="README.md", folder=ROOT, dataset_info=NAMED_DATASETS["mnist"])
    assert len(grid.trials()) == 40 - 2 + 1


@pytest.mark.parametrize("path", sorted((ROOT / "data" / "grids").glob("*.yaml")), ids=lambda path: path.name)
def test_every_shipped_grid_is_without_faults(path: Path) -> None:
    assert parse_grid(path.read_text(), file=path.name, folder=path.parent).trials()


def test_the_python_names_in_the_readme_are_the_api() -> None:
    verbs = "plan|query|submit|report|verify|list|compact|read|export|judge|rank|compare|get|resume"
    named = set(re.findall(r"mnistjobs\.([a-z_]+)\(", README))
    named |= set(re.findall(rf"`((?:{verbs})_[a-z]+|submit)`", README))
    assert named == set(mnistjobs.__all__)
    assert all(callable(getattr(mnistjobs, name)) for name in mnistjobs.__all__)


def test_the_api_page_has_every_function_with_its_arguments() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE) == sorted(mnistjobs.__all__)
    assert "- `workers`: The most tasks at once; by default as many as the CPUs or GPUs allow." in page
