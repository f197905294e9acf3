"""The facts that a node of a cluster reports about itself. Sent there by value: at the top, the standard library only.

A node on which our packages are missing, broken or of another version has to be able to answer, too.
"""

import hashlib
import importlib
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("cluster", "jobs", "mnist_core")


def node_facts(nonce_path: str, imports: Sequence[str], asks_kernels: bool, patience_s: float) -> Mapping[str, str]:
    """Return the facts that decide whether a node trains as the driver does, and whether its results arrive.

    Args:
        nonce_path: A file or an object in the store, its path or URL, with a content that nobody can guess.
        imports: The modules that tasks import.
        asks_kernels: Whether to report the kernels with which trials compute on a CPU.
        patience_s: How long to wait for the file: network file systems show new files late.

    Returns:
        Facts by name: versions, kernels, and the content of the file.
    """
    facts = {"python": platform.python_version(), "mnistjobs": _own_version(imports)}
    facts |= {name: _version(name) for name in ("numpy", "torch")}
    if asks_kernels:
        facts["kernels"] = _kernels()
    return {**facts, "store": _read_nonce(nonce_path, patience_s)}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _own_version(imports: Sequence[str]) -> str:
    """Return our version and a hash of our code, which differs between two checkouts of one version."""
    try:
        for name in imports:
            importlib.import_module(name)
    except Exception as error:  # whatever keeps a task from starting here
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        return f"{_version('mnistjobs')}, which cannot be imported ({reason}),"
    return f"{_version('mnistjobs')} (code {_hash_code()})"


def _hash_code() -> str:
    code = hashlib.sha256()
    for name in PACKAGES:
        spec = find_spec(name)
        for folder in (spec and spec.submodule_search_locations) or ():
            for path in sorted(Path(folder).rglob("*.py")):
                code.update(f"{name}/{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0")
    return code.hexdigest()[:8]


def _kernels() -> str:
    """Return the kernels that a trial would train with."""
    try:
        return str(importlib.import_module("mnist_core.kernels").training_kernels())
    except Exception as error:  # whatever keeps a trial from starting here
        return f"unknown ({' '.join(f'{type(error).__name__}: {error}'.split())})"


def _read_nonce(path: str, patience_s: float) -> str:
    if "://" in path:
        return _read_nonce_of_bucket(path)
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            return Path(path).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            if time.monotonic() >= deadline_s:
                reason = error.strerror if isinstance(error, OSError) else "not text"
                return f"not shared (the driver's file in it: {reason})"
        time.sleep(0.2)


def _read_nonce_of_bucket(url: str) -> str:
    """Read it with the credentials of this node."""
    try:
        found = importlib.import_module("jobs.store").read_url(url)
    except Exception as error:  # whatever keeps a task from reading the store here
        return f"not shared ({' '.join(f'{error}'.split())})"
    return "not shared (the driver's object in it is not there)" if found is None else str(found, "ascii", "replace")
