"""The files that `mnistjobs init` writes."""

import json
from pathlib import Path

from jobs.errors import InputError
from jobs.grid import SCHEMA_FILE, STARTER_GRID, grid_schema


def write_starter(path: Path) -> Path:
    """Write a commented starter grid, and the JSON Schema that its first line names.

    Args:
        path: Where the grid goes; the schema is written beside it, unless there is one.

    Returns:
        The path of the schema.

    Raises:
        InputError: The grid exists already, or a file cannot be written.
    """
    schema_path = path.with_name(SCHEMA_FILE)
    _write_new(path, STARTER_GRID)
    try:
        if not schema_path.exists():
            _write_new(schema_path, json.dumps(grid_schema(), indent=2) + "\n")
    except InputError:
        path.unlink()  # it would prevent a second try
        raise
    return schema_path


def _write_new(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink()  # an empty file would make the next try fail
                raise
    except FileExistsError:
        raise InputError(f"{path}: exists already; allowed: a new file") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
