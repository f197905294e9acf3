"""Every backend names the model it computes and the tests that compare the two; both exist."""

import ast
import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

from mnist_core import backends

REPOSITORY = Path(__file__).parent.parent
MODULES = sorted(module.name for module in iter_modules(backends.__path__) if module.name != "interface")


def docstring(module: str) -> str:
    """Return a backend's docstring, without importing torch."""
    source = Path(backends.__path__[0], f"{module}.py").read_text(encoding="utf-8")
    return ast.get_docstring(ast.parse(source)) or ""


@pytest.mark.parametrize("module", MODULES)
def test_the_model_of_a_backend_exists(module: str) -> None:
    (line,) = re.findall(r"^Model: (.*(?:\n .*)*)", docstring(module), re.MULTILINE)
    names = re.findall(r"`(mnist_core\.models\.\w+)(?:\.(\w+))?", line)
    assert names
    for model, name in names:
        assert not name or hasattr(import_module(model), name)


@pytest.mark.parametrize("module", MODULES)
def test_the_tests_of_a_backend_exist(module: str) -> None:
    named = re.findall(r"(tests/test_\w+\.py)::(test_\w+)", docstring(module))
    assert named
    for file, function in named:
        tree = ast.parse((REPOSITORY / file).read_text(encoding="utf-8"))
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
