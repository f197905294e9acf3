"""The code that a cluster is given: what runs here, from a checkout or a wheel, with its version and nothing else."""

import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from jobs.run.node_facts import node_facts
from jobs.service.shipped_code import shipped_code

DESCRIBE = """
from importlib.metadata import version
import pytest

from jobs.run.node_facts import node_facts
import jobs, mnistjobs
print(jobs.__file__, mnistjobs.__file__, version("mnistjobs"), node_facts("", (), False, 0)["mnistjobs"])
"""


def run_alone(code: Path, *words: str) -> str:
    """Run Python with this code on its path."""
    done = subprocess.run([sys.executable, "-P", *words], cwd="/", env={"PYTHONPATH": str(code)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


@pytest.mark.medium
def test_shipped_code_is_this_code_and_tells_its_version() -> None:
    with shipped_code() as code:
        files = run_alone(code, "-c", DESCRIBE).split(maxsplit=3)
        assert run_alone(code, "-m", "mnistjobs", "--version").split() == ["mnistjobs", version("mnistjobs")]
        assert [Path(file).relative_to(code).as_posix() for file in files[:2]] == ["jobs/__init__.py", "mnistjobs.py"]
    assert files[2] == version("mnistjobs")
    assert files[3].strip() == node_facts("", (), False, 0.0)["mnistjobs"]


def test_shipped_code_has_its_data_files_and_nothing_of_this_machine() -> None:
    with shipped_code() as code:
        paths = {path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file()}
    assert {"jobs/report/page.html.j2", "jobs/grid/starter.yaml", "jobs/service/on_head.sh"} <= paths
    assert {path.partition("/")[0] for path in paths} == {
        *("cluster", "jobs", "mnist_core", "mnistjobs.py", f"mnistjobs-{version('mnistjobs')}.dist-info")
    }
    assert [path for path in paths if "__pycache__" in path or "direct_url" in path] == []


@pytest.fixture
def job(tmp_path: Path) -> str:
    """The id of a job of the store in `tmp_path` whose record is damaged: its driver ends at once."""
    folder = tmp_path / "jobs" / "head-20261128-120000-abcd"
    folder.mkdir(parents=True)
    (folder / "job.json").write_text("{}")
    return folder.name


def run_on_head(tmp_path: Path, job: str, path: str, **variables: str) -> tuple[int, str, str]:
    """Start a job as a cluster does; return the exit code, what was printed, and the job's log."""
    with shipped_code() as code:
        env = {"PATH": path, "PYTHONPATH": str(code), **variables}
        words = ["/bin/sh", str(code / "jobs" / "service" / "on_head.sh"), job, str(tmp_path)]
        done = subprocess.run(words, cwd=code, env=env, capture_output=True, text=True, timeout=60)
    log = tmp_path / "jobs" / job / "log" / "driver.log"
    return done.returncode, done.stdout + done.stderr, log.read_text() if log.exists() else ""


def python_in(folder: Path) -> str:
    """Write a command python that runs this Python, and tells so."""
    folder.mkdir()
    command = folder / "python"
    command.write_text(f'#!/bin/sh\necho "python of $0"\nexec "{sys.executable}" "$@"\n')
    command.chmod(0o755)
    return str(command)


@pytest.mark.medium
@pytest.mark.parametrize("is_named", [True, False])
def test_the_head_uses_the_python_that_is_named_else_one_with_ray(tmp_path: Path, job: str, is_named: bool) -> None:
    python = python_in(tmp_path / "own")
    variables = {"MNISTJOBS_PYTHON": python} if is_named else {}
    path = "/usr/bin:/bin" if is_named else f"{tmp_path}/own:/usr/bin:/bin"
    code, printed, log = run_on_head(tmp_path, job, path, **variables)
    assert (code, printed) == (2, "")
    assert log.startswith("python of ")
    assert "job.json: is not a job's record" in log


def test_a_head_without_a_python_that_has_ray_says_so(tmp_path: Path, job: str) -> None:
    (tmp_path / "bin").mkdir()
    for program in ("readlink", "sed", "tr"):
        (tmp_path / "bin" / program).symlink_to(str(shutil.which(program)))
    code, printed, log = run_on_head(tmp_path, job, f"{tmp_path}/bin")
    assert (code, log) == (2, "")
    assert "no Python 3.11 or newer on this head imports ray; set MNISTJOBS_PYTHON" in printed
