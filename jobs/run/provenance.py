"""Where results come from: versions of the code and of its libraries, machine, commit."""

import os
import platform
import shutil
import socket
import subprocess
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

GIT_TIMEOUT_S = 10.0


@cache
def versions() -> dict[str, str]:
    """Return the versions that every trial's row records, by column."""
    packages = {f"{name}_version": version(name) for name in ("mnistjobs", "numpy", "torch")}
    return {**packages, "python_version": platform.python_version()}


def collect_provenance() -> dict[str, str]:
    """Return the facts about a driver for its job's record: versions, host, platform, CPUs and commit."""
    facts = {
        **versions(),
        **{f"{name}_version": version(name) for name in ("ray", "pyarrow")},
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "cpus": str(os.cpu_count()),
    }
    commit = _git_commit(Path(str(files("jobs"))).parent)
    return {**facts, "git_commit": commit} if commit else facts


@cache  # a process runs the code that it has imported, whatever becomes of the checkout
def _git_commit(checkout: Path) -> str:
    """Return the commit that the code runs from, marked if it has local changes, or "" where git does not tell."""
    if not (checkout / ".git").exists() or not shutil.which("git"):
        return ""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=GIT_TIMEOUT_S
        ).stdout.strip()
    except subprocess.TimeoutExpired:
        return ""
