"""Remove what killed processes left in a store: temporary files, checkpoints of stored trials, unused weights."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from jobs.errors import StoreError
from jobs.store.atomic_files import delete_files, list_dir, seconds_since_changed, temporary_writer
from jobs.store.checkpoints import checkpointed, remove_checkpoint
from jobs.store.layout import Store, is_job_id, is_weights_name
from jobs.store.parts import scan_parts, stored_ids
from jobs.store.processes import Process, is_gone
from jobs.store.quarantine import quarantined_hashes

UNUSED_WEIGHTS_S = 86_400.0  # for so long, a task may still be about to write the part that names its weights


def clean_up(store: Store, unfinished: Collection[str] = ()) -> None:
    """Remove temporary files whose writers have ended, and checkpoints of trials that are stored.

    What cannot be read or removed stays, without an error.

    Args:
        store: the store.
        unfinished: trials known not to be stored; parts are read only if other trials have checkpoints.
    """
    with suppress(StoreError):
        for path, writer in _temporary_files(store):
            if is_gone(writer):
                with suppress(OSError):
                    path.unlink()
    with suppress(StoreError):
        candidates = checkpointed(store) - frozenset(unfinished)
        for trial_id in candidates and candidates & stored_ids(store):
            remove_checkpoint(store, trial_id)


def remove_unused_weights(store: Store) -> list[str]:
    """Remove weights that no part names and that are older than a day, and return the names of their files.

    A crash between the weights and their part leaves such files, and so does a compaction that drops rows. Where a
    part cannot be read, nothing is removed: it may name any of them.

    Raises:
        StoreError: the store cannot be read or written.
    """
    files = [name for name in list_dir(store.weights) if is_weights_name(name)]  # listed before the parts are read
    used = set(quarantined_hashes(store)) if files else set()
    for _, rows in scan_parts(store, ["weights_sha256"]) if files else ():
        if rows is None:
            return []
        used.update(rows["weights_sha256"].to_pylist())
    unused = [name for name in files if name.removesuffix(".safetensors") not in used]
    old = [name for name in unused if _is_old(store, name)]
    if old:
        delete_files(store.weights, old)
    return old


def _is_old(store: Store, name: str) -> bool:
    try:
        return seconds_since_changed(store.weights / name, store.weights) > UNUSED_WEIGHTS_S
    except OSError:
        return False


def describe_unattributed_files(store: Store) -> list[str]:
    """Describe each temporary file whose writer cannot be checked from this host; raises StoreError."""
    return [
        f"{path} is a temporary file of process {writer.pid} on {writer.host}; remove it if that has ended"
        for path, writer in _temporary_files(store)
        if not writer.is_from_here()
    ]


def _temporary_files(store: Store) -> Iterator[tuple[Path, Process]]:
    """List the store's temporary files, each with its writer, in every folder of a store."""
    folders = [store.root, store.parts, store.weights, store.checkpoints, store.quarantine]
    folders += [store.jobs / name for name in list_dir(store.jobs) if is_job_id(name)]
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink():
            for name in list_dir(folder):
                if writer := temporary_writer(name):
                    yield folder / name, writer
