"""Remove the leftovers of killed processes: temporary files, checkpoints of stored trials, unused weights."""

from collections.abc import Collection, Sequence
from contextlib import suppress

from jobs.errors import StoreError
from jobs.store.backends import Entry
from jobs.store.checkpoints import checkpointed, remove_checkpoints
from jobs.store.layout import CHECKPOINTS, JOBS, PARTS, QUARANTINE, WEIGHTS, Store, is_job_id, is_weights_name, job_key
from jobs.store.parts import scan_parts, stored_ids
from jobs.store.quarantine import quarantined_hashes

UNUSED_WEIGHTS_S = 86_400.0  # for so long, a task may still be about to write the part that names its weights


def clean_up(store: Store, unfinished: Collection[str] = ()) -> None:
    """Remove temporary files whose writers have ended, and checkpoints of trials that are stored.

    Files that cannot be read or removed stay, without an error.

    Args:
        store: the store.
        unfinished: trials known not to be stored; parts are read only if other trials have checkpoints.
    """
    with suppress(StoreError):
        store.backend.remove_leftovers(_folders(store))
    with suppress(StoreError):
        candidates = checkpointed(store) - frozenset(unfinished)
        if candidates:
            remove_checkpoints(store, candidates & stored_ids(store))


def remove_unused_weights(store: Store) -> list[str]:
    """Remove weights that no part names and that are older than a day, and return the names of their files.

    A crash between the weights and their part leaves such files, and so does a compaction that drops rows. Where a
    part cannot be read, nothing is removed: it may name any of them.

    Raises:
        StoreError: the store cannot be read or written.
    """
    # Listed before the parts are read.
    files = [entry for entry in store.backend.list(WEIGHTS) if is_weights_name(_name(entry))]
    used = set(quarantined_hashes(store)) if files else set()
    for _, rows in scan_parts(store, ["weights_sha256"]) if files else ():
        if rows is None:
            return []
        used.update(rows["weights_sha256"].to_pylist())
    unused = [entry for entry in files if _name(entry).removesuffix(".safetensors") not in used]
    old = _old(store, unused) if unused else []
    store.backend.delete([entry.key for entry in old])
    return [_name(entry) for entry in old]


def _name(entry: Entry) -> str:
    return entry.key.removeprefix(WEIGHTS)


def _old(store: Store, entries: Sequence[Entry]) -> list[Entry]:
    now_s = store.backend.now_s(WEIGHTS)
    return [entry for entry in entries if now_s - entry.changed_s > UNUSED_WEIGHTS_S]


def describe_unattributed_files(store: Store) -> list[str]:
    """Describe each temporary file whose writer cannot be checked from this host; raises StoreError."""
    return list(store.backend.describe_leftovers(_folders(store)))


def _folders(store: Store) -> list[str]:
    """List every folder of keys of a store."""
    jobs = [job_key(name) for name in store.backend.names(JOBS) if is_job_id(name)]
    return ["", PARTS, WEIGHTS, CHECKPOINTS, QUARANTINE, *jobs]
