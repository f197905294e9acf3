"""Quarantine: the folder for damaged parts, so that each is reported once and its bytes stay available."""

import re
from collections.abc import Iterable

import pyarrow as pa

from jobs.errors import DamagedPartWarning, ForeignPartWarning, StoreError
from jobs.store.layout import PARTS, QUARANTINE, Store, weights_key
from jobs.store.parts import decode_part, foreign_version, part_name
from jobs.store.schemas import PART

GROWING_S = 60.0  # a damaged file that was modified more recently may be a copy that has not ended
_MOVED = re.compile(r"[0-9a-f]{64}\.(parquet|safetensors)(\.\d+)?")  # the name of a quarantined file
_CONSEQUENCE = "trials that no other part holds count as missing"


def describe_unusable(store: Store, names: Iterable[str]) -> list[UserWarning]:
    """Explain why parts are not used; nothing is written or moved.

    Args:
        store: the store.
        names: of parts that were read as unusable.

    Returns:
        A DamagedPartWarning for each damaged part, and one ForeignPartWarning for all parts of other versions.

    Raises:
        StoreError: a part exists and cannot be read.
    """
    return _describe(store, names, may_move=False)


def set_aside(store: Store, names: Iterable[str]) -> list[UserWarning]:
    """Move damaged parts to the quarantine, and explain why parts are not used, as `describe_unusable` does.

    Parts of another version stay in place, and so does what is not a file, and a file that may still be growing. A
    store that cannot be written is left unchanged.

    Raises:
        StoreError: a part exists and cannot be read.
    """
    return _describe(store, names, may_move=True)


def _describe(store: Store, names: Iterable[str], may_move: bool) -> list[UserWarning]:
    found: list[UserWarning] = []
    foreign: dict[str, str] = {}  # versions by name
    for name in sorted(names):
        key = f"{PARTS}{name}"
        if not store.backend.is_taken(key):
            continue  # another process has moved it, or a compaction has merged it
        obstacle = store.backend.obstacle(key)
        content = None if obstacle else _read(store, key)
        named_rightly = content if content is not None and part_name(content) == name else None
        if obstacle:
            found.append(_other_than_a_file(name, obstacle))
        elif named_rightly and decode_part(named_rightly, PART.names) is not None:
            message = f"part {name} was incomplete when it was read and is whole now; read the store again"
            found.append(DamagedPartWarning(message))
        elif named_rightly and (version := foreign_version(named_rightly)):
            foreign[name] = version
        elif warning := _move(store, name) if may_move else _left_in_place(name):
            found.append(warning)
    return [*found, *_other_versions(store, foreign)]


def _read(store: Store, key: str) -> bytes | None:
    found = store.backend.get(key)
    return found and found[0]


def _other_than_a_file(name: str, obstacle: str) -> UserWarning:
    return DamagedPartWarning(
        f"part {name} is damaged: {obstacle}, where a file is allowed; {_CONSEQUENCE}. It is not moved: remove it"
    )


def _left_in_place(name: str) -> UserWarning:
    return DamagedPartWarning(f"part {name} is damaged, or still being copied; it is ignored, and {_CONSEQUENCE}")


def _move(store: Store, name: str) -> UserWarning | None:
    """Move a damaged part to the quarantine, unless it may still be growing; None where another process was faster."""
    key = f"{PARTS}{name}"
    try:
        if store.backend.is_growing(key, GROWING_S):
            return _left_in_place(name)
        moved = store.backend.move(key, QUARANTINE)
    except StoreError as error:
        return DamagedPartWarning(
            f"part {name} is damaged and ignored; {_CONSEQUENCE}. "
            f"It cannot be moved to {store.locate(QUARANTINE)}: {error}"
        )
    if moved is None:
        return None
    return DamagedPartWarning(f"part {name} is damaged; it has been moved to {moved}, and {_CONSEQUENCE}")


def set_aside_weights(store: Store, sha256: str) -> str:
    """Move a damaged file of weights to the quarantine, so that its trials count as missing; describe its state.

    A file that may still be growing stays in place, and so does every file of a store that cannot be written.
    """
    key = weights_key(store, sha256)
    try:
        if store.backend.is_growing(key, GROWING_S):
            return "are damaged, or still being copied"
        moved = store.backend.move(key, QUARANTINE)
    except StoreError as error:
        return f"are damaged; the file cannot be moved to {store.locate(QUARANTINE)}: {error}"
    return f"are damaged; the file has been moved to {moved}" if moved else "are missing"


def _other_versions(store: Store, versions: dict[str, str]) -> list[UserWarning]:
    """Make one warning of all parts of other versions."""
    if not versions:
        return []
    first, is_one = min(versions), len(versions) == 1
    parts = f"part {first} was" if is_one else f"{len(versions)} parts, such as {first}, were"
    ignored = "it is ignored" if is_one else "they are ignored"
    wrote = ", ".join(sorted(set(versions.values())))
    return [
        ForeignPartWarning(
            f"{store.locate(PARTS)}: {parts} written by another version of mnistjobs ({wrote}), and {ignored}; "
            "read this store with that version, or use another store"
        )
    ]


def describe_quarantine(store: Store) -> list[str]:
    """Describe each file in the quarantine, one sentence each; raises StoreError."""
    return [f"{store.locate(QUARANTINE + name)} {_state(store, name)}" for name in _quarantined(store)]


def _quarantined(store: Store) -> list[str]:
    """List the files that were moved to the quarantine; others that lie there are not the store's."""
    return [name for name in store.backend.names(QUARANTINE) if _MOVED.fullmatch(name)]


def _state(store: Store, name: str) -> str:
    if ".safetensors" in name:
        return "is a damaged file of weights that is not used; it can be removed"
    if _whole_part(store, name) is not None:
        return f"is a whole part; move it back to {store.locate(PARTS)}"
    return "is a damaged part that is not used; it can be removed"


def quarantined_hashes(store: Store) -> list[str]:
    """Return the hashes of the weights that whole parts in the quarantine name; raises StoreError."""
    parts = (_whole_part(store, name) for name in _quarantined(store))
    return [sha256 for rows in parts if rows is not None for sha256 in rows["weights_sha256"].to_pylist()]


def _whole_part(store: Store, name: str) -> pa.Table | None:
    """Read a file in the quarantine, or return None where it is damaged; raises StoreError."""
    key = f"{QUARANTINE}{name}"
    content = None if store.backend.obstacle(key) else _read(store, key)
    if content is None or part_name(content) != f"{name.partition('.parquet')[0]}.parquet":
        return None
    return decode_part(content, PART.names)
