"""Read the sealed files of a job's folder: each has to belong to its folder, and to match its hash."""

import json
from typing import Any, TypeVar

from pydantic import ValidationError

from jobs.errors import OldRecordError, StoreError
from jobs.store.job_models import SealedModel
from jobs.store.layout import Store

_FIRST_EDITION_KEYS = {"status", "trial_ids"}
_MAX_REASON = 300  # characters of the reason why a file is refused

Sealed = TypeVar("Sealed", bound=SealedModel)


def read_sealed(kind: type[Sealed], store: Store, key: str) -> Sealed:
    """Read and check a file of the folder of the job that it has to belong to.

    Args:
        kind: The model of its content.
        store: The store.
        key: The file's key, in the job's folder.

    Raises:
        OldRecordError: The first edition of mnistjobs wrote it.
        StoreError: It is missing or damaged, or cannot be read.
    """
    found, path = store.backend.get(key), store.locate(key)
    if found is None and (link := store.backend.dead_link(key)):
        raise StoreError(f"{path}: {link}; restore it, or remove the link")
    content = found[0] if found else b""
    try:
        model = kind.model_validate_json(content)
    except ValidationError as error:
        if _is_first_edition(content):
            raise OldRecordError(f"{path}: was written by the first edition of mnistjobs") from error
        faults = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}".lstrip(": ") for each in error.errors()[:3])
        raise _damage(path, ", ".join(faults)) from error
    if f"/{model.job_id}/" not in f"/{key}":
        raise _damage(path, f"job_id: {model.job_id!r} is another job")
    if model.sha256 != model.digest():
        raise _damage(path, "sha256: does not match the content")
    return model


def _damage(path: str, reason: str) -> StoreError:
    return StoreError(f"{path}: is not a job's record: {reason[:_MAX_REASON]}; restore it, or remove its folder")


def _is_first_edition(content: bytes) -> bool:
    try:
        record: Any = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and record.keys() >= _FIRST_EDITION_KEYS
