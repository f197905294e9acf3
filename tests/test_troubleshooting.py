"""docs/troubleshooting.md: it quotes messages that exist, and no message of an error or a warning is left out."""

import ast
import re
from functools import cache
from pathlib import Path

import cluster
from jobs import errors
from mnist_core import errors as data_errors

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"`([^`]+)`", " ".join(re.findall(r"^\| (`.+?) \|", PAGE, re.MULTILINE)))
SOURCES = [path for folder in ("jobs", "cluster", "mnist_core") for path in sorted((ROOT / folder).rglob("*.py"))]
SOURCES += [ROOT / "mnistjobs.py"]
CLASSES = [
    each for module in (errors, cluster, data_errors) for each in vars(module).values() if isinstance(each, type)
]
# What is called to make a message for users: the project's exceptions and warnings, and what makes faults and failures.
MAKERS = {each.__name__ for each in CLASSES if issubclass(each, Exception)} | {
    *("ImportError", "InputFault", "TaskFailure", "fault", "_refused", "_refusal", "_fault_after"),
}


def texts(node: ast.AST) -> list[str]:
    """Return the constant pieces of a message, in order."""
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]


def variables(scope: ast.AST) -> dict[str, list[str]]:
    """Return the constant pieces that are assigned to each name, by name."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).extend(texts(node.value))
    return found


@cache
def messages(path: Path) -> list[str]:
    """List the constant text of each message that a file makes, with that of the variables in it.

    Calls that only pass a message on, with less than two words of their own, are left out.
    """
    found = []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    constants = {name: pieces for name, pieces in variables(tree).items() if name.isupper()}
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        known = {**constants, **variables(function)}
        for node in ast.walk(function):
            if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) in MAKERS:
                names = [each.id for argument in node.args for each in ast.walk(argument) if isinstance(each, ast.Name)]
                pieces = [*texts(node), *(piece for name in names for piece in known.get(name, ()))]
                if any(re.search(r"[a-z]+ [a-z]+", piece) for piece in pieces):
                    found.append(" … ".join(pieces))
    return found


def test_every_quoted_message_is_in_the_code() -> None:
    scripts = (ROOT / "jobs").rglob("*.sh")
    code = "".join(path.read_text(encoding="utf-8") for path in [*SOURCES, *scripts])
    assert [text for text in QUOTED if text not in code] == []


def test_every_message_of_the_code_is_explained() -> None:
    found = [(str(path.relative_to(ROOT)), text) for path in SOURCES for text in messages(path)]
    assert [(path, text) for path, text in found if not any(quoted in text for quoted in QUOTED)] == []


def test_messages_are_found_in_the_code() -> None:
    assert sum(len(messages(path)) for path in SOURCES) > 80
