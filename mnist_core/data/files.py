"""Find the four files of a dataset in a folder, in the forms in which tools download, unpack, copy or link them."""

import os
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files as resources
from pathlib import Path

from mnist_core.data.idx import looks_like_idx
from mnist_core.errors import DataError

FILE_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
Files = Mapping[str, Sequence[Path]]  # one of FILE_NAMES -> the files of that name, the likeliest first

# MNIST's own names, those of some decompressors (train-images.idx3-ubyte), and EMNIST's (emnist-digits-test-images-..).
_NAME = re.compile(
    r"(?:(?P<set>.+)-)?(?P<split>train|t10k|test)-(?P<kind>images|labels)[-.]idx[13][-.]ubyte(?P<gz>\.gz)?",
    re.IGNORECASE,
)
_FOLDERS = ("raw", "MNIST/raw", "gzip")  # below the folder that torchvision and EMNIST's archive are told
_PACKAGE = Path(str(resources("mnist_core")))
_MAX_LISTED = 4  # names in a message


def find_files(folder: Path) -> Files:
    """Find the files of the one dataset in a folder, or in the folders that torchvision makes below it.

    Args:
        folder: A folder; where it holds several datasets, as EMNIST's does, the folder with the name of one of them
            added, such as EMNIST/raw/emnist-digits.

    Returns:
        The files by their name in MNIST; of a dataset that lacks some, those that are there.

    Raises:
        DataError: The folder cannot be read, or holds several datasets.
    """
    if not os.path.isdir(folder):
        return _by_set(folder.parent)[folder.name.lower()]
    found = {folder / name if name else folder: files for name, files in _by_set(folder).items()}
    if folder in found:  # named as MNIST's: what else is there does not matter
        return found[folder]
    if not found:
        below = [folder / name for name in (*_FOLDERS, *_torchvision_folders(folder))]
        found = {each: by_set[""] for each in dict.fromkeys(below) if "" in (by_set := _by_set(each, missing_ok=True))}
    complete = [each for each, files in found.items() if len(files) == len(FILE_NAMES)] or list(found)
    if len(complete) > 1:
        names = ", ".join(str(each.relative_to(folder)) for each in complete)
        raise DataError(f"{folder}: holds several datasets: {names}; name one of them, such as {complete[0]}")
    return found[complete[0]] if complete else {}


def find_mnist_files(folder: Path) -> tuple[Path, Files] | None:
    """Find files of MNIST's four names in a folder, or where torchvision puts them below it; None where one lacks."""
    for place in (folder, folder / "raw", folder / "MNIST" / "raw"):
        try:
            files = _by_set(place, missing_ok=True).get("", {})
        except DataError:
            continue
        if len(files) == len(FILE_NAMES):
            return place, files
    return None


def find_mnist() -> Path | None:
    """Return the folder that holds files of MNIST's four names, or None.

    Of several folders it is the first whose files begin as IDX files do; their content is not checked.
    """
    found = [each for folder in mnist_folders(os.environ) if (each := find_mnist_files(folder))]
    for folder, by_name in found:
        if all(any(map(looks_like_idx, paths)) for paths in by_name.values()):
            return folder
    return found[0][0] if found else None


def mnist_folders(environ: Mapping[str, str], package: Path = _PACKAGE) -> list[Path]:
    """List the folders searched for MNIST, in order: $MNISTJOBS_DATA_DIR, the checkout's, the user's cache.

    Args:
        environ: The environment variables.
        package: Folder of the mnist_core package, from which the checkout is found.
    """
    chosen = environ.get("MNISTJOBS_DATA_DIR")
    checkout = package.resolve().parent
    cache = environ.get("XDG_CACHE_HOME") or "~/.cache"
    return [
        *([Path(os.path.expanduser(chosen))] if chosen else []),
        *([checkout / "data" / "mnist"] if (checkout / "pyproject.toml").is_file() else []),
        Path(os.path.expanduser(cache)) / "mnistjobs" / "mnist",
    ]


def names_a_set(folder: Path) -> bool:
    """Return whether a path that is no folder names a dataset in the folder above, such as emnist-digits."""
    try:
        return folder.name.lower() in _by_set(folder.parent, missing_ok=True)
    except DataError:
        return False


def describe_content(folder: Path) -> str:
    """Describe what a folder holds in place of a dataset."""
    names = _list(folder, missing_ok=True)
    if not names:
        return "it is empty"
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return f"it holds {', '.join(names[:_MAX_LISTED])}{more}"


def _by_set(folder: Path, missing_ok: bool = False) -> dict[str, dict[str, list[Path]]]:
    """Group the files of a folder by dataset, "" for those named as MNIST's, then by their name in MNIST."""
    found: dict[str, dict[str, list[tuple[tuple[bool, ...], Path]]]] = {}
    for name in _list(folder, missing_ok):
        match = _NAME.fullmatch(name)
        if not match:
            continue
        path = folder / name
        if os.path.isdir(path):  # an archive that was unpacked into a folder of its own name
            path /= name
        if not (os.path.isfile(path) or os.path.islink(path)):
            continue
        kind, split = match["kind"].lower(), "train" if match["split"].lower() == "train" else "t10k"
        canonical = next(each for each in FILE_NAMES if each.startswith(f"{split}-{kind}"))
        rank = (not os.path.isfile(path), ".idx" in name.lower(), not match["gz"])
        found.setdefault((match["set"] or "").lower(), {}).setdefault(canonical, []).append((rank, path))
    return {
        each: {name: [path for _, path in sorted(paths)] for name, paths in of.items()} for each, of in found.items()
    }


def _torchvision_folders(folder: Path) -> list[str]:
    """List the folders below in which torchvision keeps datasets, such as FashionMNIST/raw."""
    return [f"{name}/raw" for name in _list(folder) if os.path.isdir(folder / name / "raw")]


def _list(folder: Path, missing_ok: bool = False) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        if missing_ok:
            return []
        raise DataError(f"{folder}: does not exist; allowed: a folder that you may read") from None
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}; allowed: a folder that you may read") from error
