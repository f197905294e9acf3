"""The environment variables, import path and folder that a Ray started here gets."""

import os
import re
import shutil
import site
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.machinery import PathFinder
from pathlib import Path

from cluster.interface import ClusterError, LocalRayError
from cluster.ray_processes import FOLDER_PREFIX, mark_folder, remove_orphaned_folders

_SETTINGS = {
    # Ray waits forever for a worker that it has started ahead of time and that dies before it has registered.
    "RAY_prestart_worker_first_driver": "0",
    # A raylet looks for its object store before that exists, and then only after this interval; 10 seconds in all.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
}
# Where Python finds code, and caches it. Others make warnings errors, drop assertions or keep a process from ending.
_PASSED_OF_PYTHON = {
    *("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONEXECUTABLE"),
    *("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX", "PYTHONUTF8", "PYTHONCOERCECLOCALE"),
}
# Workers import NumPy before they know their task, whose results must not depend on what this variable disables.
_OPTIONS_OF_NUMPY = ("NPY_DISABLE_CPU_FEATURES", "NPY_ENABLE_CPU_FEATURES")
_OPTION_OF_RAY = re.compile(r"RAY_[A-Z]")
# A socket's path may have 103 bytes on macOS and 107 on Linux; Ray puts up to 64 behind this folder.
_RANDOM_CHARACTERS = 8  # of a temporary folder's name
_MAX_FOLDER_BYTES = 39 if sys.platform == "darwin" else 43


def local_environment(token: str) -> dict[str, str]:
    """Return the environment for a Ray started here: the caller's, without the options of Ray and Python.

    Ray's own tunables, which are in lower case (RAY_memory_usage_threshold), are passed on.

    Args:
        token: The token of this Ray.
    """
    authentication = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    return _SETTINGS | without_options(python_environment()) | authentication


def without_options(variables: Mapping[str, str]) -> dict[str, str]:
    """Return environment variables without the options of Ray."""
    return {name: value for name, value in variables.items() if not _OPTION_OF_RAY.match(name)}


def python_environment() -> dict[str, str]:
    """Return the environment for a Python process that finds the code that this one finds, and has no other options."""
    passed = {
        name: value
        for name, value in os.environ.items()
        if (not name.startswith("PYTHON") or name in _PASSED_OF_PYTHON) and name not in _OPTIONS_OF_NUMPY
    }
    entries = python_path()
    return {**passed, "PYTHONPATH": os.pathsep.join(entries)} if entries else passed


def python_path() -> list[str]:
    """Return the entries of PYTHONPATH without the working directory, unless this package is in it."""
    written = os.environ.get("PYTHONPATH")
    if not written or sys.flags.ignore_environment:
        return []
    here = os.path.abspath("")
    entries = [os.path.abspath(entry) for entry in written.split(os.pathsep)]
    return [entry for entry in entries if entry != here or entry == _home("cluster")]


@contextmanager
def environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """Make this the environment of this process for a while, and then what it was before."""
    before = dict(os.environ)
    _change_environment(wanted)
    try:
        yield
    finally:
        _change_environment(before)


def _change_environment(wanted: Mapping[str, str]) -> None:
    """Set and remove only what differs: other threads may read the rest meanwhile."""
    for name in os.environ.keys() - wanted.keys():
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def worker_path(packages: Sequence[str], folder: Path) -> list[str]:
    """Return the folders that put the packages of this process first on the workers' path.

    None where the workers find them by themselves; else one folder of links, which puts no other module first.

    Args:
        packages: Top-level packages.
        folder: Where to make the folder.
    """
    own = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    visible = [*python_path(), *own, *site.getsitepackages()]
    if all(_found(name, visible) == _file(name) for name in packages):
        return []
    links = folder / "code"
    links.mkdir()
    for name in packages:
        (links / name).symlink_to(os.path.join(_home(name), name))
    return [str(links)]


def hiding_file(packages: Sequence[str], path: Sequence[str]) -> str:
    """Return a file that is imported from this path in place of one of the packages; "" where there is none."""
    found = {name: _found(name, path) for name in packages}
    # A Ray that this program started before may have links to the packages on its path.
    return next((file for name, file in found.items() if file and not os.path.samefile(file, _file(name))), "")


def _file(package: str) -> str:
    """Return the file that this process imports a package from."""
    return os.path.abspath(str(import_module(package).__file__))


def _home(package: str) -> str:
    return os.path.dirname(os.path.dirname(_file(package)))


def _found(package: str, path: Sequence[str]) -> str | None:
    spec = PathFinder.find_spec(package, path)
    return spec.origin if spec and spec.has_location else None  # None for a folder without __init__.py


@contextmanager
def local_folder() -> Iterator[Path]:
    """Make a folder for a Ray started here, and remove it at the end; where a ClusterError is raised it stays.

    Raises:
        LocalRayError: No folder for temporary files can be used.
    """
    base = _base_folder()
    remove_orphaned_folders(base)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX, dir=base))
    try:
        mark_folder(folder)
        yield folder
    except ClusterError:
        raise  # its logs may tell more; the next Ray that is started removes them
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)  # megabytes, which Ray would keep forever


def _base_folder() -> Path:
    candidates = dict.fromkeys([os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"])
    for base in candidates:
        length = len(os.fsencode(os.path.join(os.path.abspath(base), FOLDER_PREFIX))) + _RANDOM_CHARACTERS
        if length <= _MAX_FOLDER_BYTES and os.access(base, os.W_OK):
            return Path(base).absolute()
    tried = ", ".join(candidates)
    raise LocalRayError(f"no folder for Ray's temporary files: {tried} cannot be written, or their paths are too long")
