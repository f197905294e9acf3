"""Commands run from surroundings of all kinds: another folder, another environment, another namespace."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.command_line import Outcome
from support.ray_clusters import environment_of

ROOT = Path(__file__).parents[2]
MODULES = ("jobs", "cluster", "mnist_core", "numpy", "torch", "ray", "pyarrow", "typing", "json", "pydantic", "secrets")
BOUND_S = 180.0  # of one process, on a machine that does much else
NOBODY = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]  # a uid that no file of users has
ALONE = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]  # where no other process is seen


def run(
    command: list[str],
    folder: Path,
    environment: dict[str, str],
    executable: str | None = None,
    bound_s: float = BOUND_S,
) -> Outcome:
    """Run a command to its end."""
    done = subprocess.run(
        command,
        executable=executable,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=bound_s,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def command_line(*words: str, environment: dict[str, str], folder: Path = ROOT, bound_s: float = BOUND_S) -> Outcome:
    """Run one command of ours to its end."""
    return run([sys.executable, "-m", "mnistjobs", *words], folder, environment, bound_s=bound_s)


def run_script(text: str, folder: Path, environment: dict[str, str], *words: object) -> Outcome:
    """Run a Python program that lies in a folder, from there."""
    script = folder / "program.py"
    script.write_text(text)
    return run([sys.executable, str(script), *map(str, words)], folder, environment)


def python_environment(home: Path, *before: str, **variables: str) -> dict[str, str]:
    """Return an environment in which this checkout is importable, behind other entries of PYTHONPATH."""
    return environment_of(home, PYTHONPATH=os.pathsep.join([*before, str(ROOT)]), **variables)


def require(namespace: list[str]) -> None:
    """Skip the test where this machine does not permit such a namespace."""
    if not shutil.which(namespace[0]) or subprocess.run([*namespace, "true"], capture_output=True).returncode:
        pytest.skip("this machine does not permit user namespaces")


def write_modules(folder: Path) -> Path:
    """Write modules that leave a trace when they are imported."""
    folder.mkdir(exist_ok=True)
    for name in MODULES:
        (folder / f"{name}.py").write_text("open(__file__ + '.imported', 'w').close()\nraise ImportError(__file__)\n")
    return folder
