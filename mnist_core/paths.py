"""Paths as they really are: links that lead nowhere, and names that look alike and are spelt differently."""

import errno
import os
import unicodedata
from pathlib import Path


def describe_missing(path: str | Path) -> str:
    """Describe the link because of which a path leads nowhere, with its target; "" where no link is to blame.

    Args:
        path: A path that cannot be opened; the link may be any of its folders.
    """
    for part in (*reversed(Path(path).absolute().parents), Path(path).absolute()):
        try:
            if not part.is_symlink():
                continue
            target = os.readlink(part)
            part.stat()
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return ""
            named = "" if part == Path(path).absolute() else f"{str(part)!r} "
            state = "which leads back to itself" if error.errno == errno.ELOOP else "which does not exist"
            return f"{named}is a link to {target!r}, {state}"
    return ""


def existing_path(path: Path) -> Path:
    """Return a path that exists and whose name looks the same, where there is one; else the path itself.

    The letter é is one character or two, an e and an accent. A name that was typed on one system and stored by
    another may differ in nothing else; the file system then takes the two for different names.
    """
    if os.path.lexists(path) or str(path).isascii():
        return path
    parent = existing_path(path.parent)
    alike = unicodedata.normalize("NFC", path.name)
    try:
        names = [name for name in os.listdir(parent) if unicodedata.normalize("NFC", name) == alike]
    except OSError:
        return path
    return parent / (names[0] if len(names) == 1 else path.name)
