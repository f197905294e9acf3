"""Paths as they really are: links that lead nowhere, and names that look alike and are spelt differently."""

import errno
import os
import re
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


def printable_path(path: str | Path) -> str:
    """Write a path as text that every file format takes: bytes that are not UTF-8 become escapes, such as \\udcff."""
    return str(path).encode(errors="backslashreplace").decode()


def path_of(text: str | Path) -> Path:
    """Return the path that a text names: as it is, as `printable_path` wrote it, or in a name that looks the same."""
    path = existing_path(Path(os.path.expanduser(text)))
    raw = re.sub(r"\\udc([89a-f][0-9a-f])", lambda match: chr(0xDC00 + int(match[1], 16)), str(path))
    return Path(raw) if raw != str(path) and not os.path.lexists(path) and os.path.lexists(raw) else path
