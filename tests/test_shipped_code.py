"""The code that a cluster is given: what runs here, from a checkout or a wheel, with its version and nothing else."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from jobs.run.node_facts import node_facts
from jobs.service.shipped_code import shipped_code

DESCRIBE = """
from importlib.metadata import version
from jobs.run.node_facts import node_facts
import jobs, mnistjobs
print(jobs.__file__, mnistjobs.__file__, version("mnistjobs"), node_facts("", (), False, 0)["mnistjobs"])
"""


def run_alone(code: Path, *words: str) -> str:
    """Run Python with this code on its path."""
    done = subprocess.run([sys.executable, "-P", *words], cwd="/", env={"PYTHONPATH": str(code)}, capture_output=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode()


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
