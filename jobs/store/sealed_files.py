"""Read the sealed files of a job's folder: each has to belong to its folder, and to match its hash."""

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from jobs.errors import OldRecordError, StoreError
from jobs.store.atomic_files import read_file
from jobs.store.job_models import SealedModel
from mnist_core.paths import describe_missing

_FIRST_EDITION_KEYS = {"status", "trial_ids"}
_MAX_REASON = 300  # characters of what is wrong with a file

Sealed = TypeVar("Sealed", bound=SealedModel)


def read_sealed(kind: type[Sealed], path: Path) -> Sealed:
    """Read and check a file of the folder of the job that it has to belong to.

    Args:
        kind: The model of its content.
        path: The file, in the job's folder.

    Raises:
        OldRecordError: The first edition of mnistjobs wrote it.
        StoreError: It is missing or damaged, or cannot be read.
    """
    content = read_file(path)
    if content is None and (link := describe_missing(path)):
        raise StoreError(f"{path}: {link}; restore it, or remove the link")
    content = content or b""
    try:
        model = kind.model_validate_json(content)
    except ValidationError as error:
        if _is_first_edition(content):
            raise OldRecordError(f"{path}: was written by the first edition of mnistjobs") from error
        faults = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}".lstrip(": ") for each in error.errors()[:3])
        raise _damage(path, ", ".join(faults)) from error
    if model.job_id != path.parent.name:
        raise _damage(path, f"job_id: {model.job_id!r} is another job")
    if model.sha256 != model.digest():
        raise _damage(path, "sha256: does not match the content")
    return model


def _damage(path: Path, reason: str) -> StoreError:
    return StoreError(f"{path}: is not a job's record: {reason[:_MAX_REASON]}; restore it, or remove its folder")


def _is_first_edition(content: bytes) -> bool:
    try:
        record: Any = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.keys() >= _FIRST_EDITION_KEYS
