"""The code that runs here as a folder for a cluster: a checkout and an installed wheel look the same."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import jobs
from jobs.run import PACKAGES

_NAME = "mnistjobs"
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "*~")


@contextmanager
def shipped_code() -> Iterator[Path]:
    """Copy the code of this process into a folder, for as long as the context lasts.

    Yields:
        A folder to import from. It has the packages, the module mnistjobs beside them, and the metadata with its
        version. Two folders of the same code have the same bytes.
    """
    home = Path(jobs.__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory(prefix=f"{_NAME}-code-") as folder:
        target = Path(folder)
        for package in PACKAGES:
            shutil.copytree(home / package, target / package, ignore=_LEFT_OUT)
        shutil.copy(home / f"{_NAME}.py", target)
        _write_metadata(target)
        yield target


def _write_metadata(target: Path) -> None:
    """Write the metadata that importlib.metadata reads, without the path on this machine that pip notes there."""
    installed = distribution(_NAME)
    folder = target / f"{_NAME}-{installed.version}.dist-info"
    folder.mkdir()
    text = installed.read_text("METADATA") or f"Metadata-Version: 2.1\nName: {_NAME}\nVersion: {installed.version}\n"
    (folder / "METADATA").write_text(text, encoding="utf-8")
