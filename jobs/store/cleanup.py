"""Clear away what killed processes left in a store: temporary files, and checkpoints of trials that are stored."""

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from jobs.errors import StoreError
from jobs.store.atomic_files import is_temporary, names, temporary_writer
from jobs.store.checkpoints import checkpointed, remove_checkpoint
from jobs.store.parts import Store, stored_ids
from jobs.store.processes import is_gone


def sweep(store: Store, unfinished: Collection[str] = ()) -> None:
    """Remove what nobody will read: temporary files of writers that are gone, checkpoints of trials that are stored.

    `unfinished` are trials known not to be stored, which need not be looked up. What cannot be read or removed stays:
    that is no reason not to go on.
    """
    with suppress(StoreError):
        for path in _temporaries(store):
            writer = temporary_writer(path.name)
            if writer and is_gone(writer):
                with suppress(OSError):
                    path.unlink()
    with suppress(StoreError):
        left = checkpointed(store) - frozenset(unfinished)
        for trial_id in left and left & stored_ids(store):
            remove_checkpoint(store, trial_id)


def leftovers(store: Store) -> list[str]:
    """Say of every temporary file whose writer nothing is known of, who wrote it; raises StoreError."""
    found = []
    for path in _temporaries(store):
        writer = temporary_writer(path.name)
        if writer is None:
            found.append(f"{path} was left by somebody else; remove it if you do not know it")
        elif not writer.is_from_here():
            found.append(f"{path} is of process {writer.pid} on {writer.host}; remove it if that runs no more")
    return found


def _temporaries(store: Store) -> Iterator[Path]:
    """List files under way, wherever files are written."""
    folders = [store.root, store.parts, store.weights, store.checkpoints, store.quarantine]
    folders += [store.jobs / name for name in names(store.jobs)]
    for folder in folders:
        if folder.is_dir() and not folder.is_symlink():
            yield from (folder / name for name in names(folder) if is_temporary(name))
