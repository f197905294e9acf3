"""Compaction: merge the many small parts that tasks write into few large ones, which are read much faster.

A merged part is a part like any other. What a compaction deletes stands in another part on disk before, so that it may
end at any moment; a lock on a file lets one compaction work at a time. Tasks and readers need no lock.
"""

import fcntl
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.errors import StoreError
from jobs.store.atomic_files import delete_files, names
from jobs.store.parts import ROW_ORDER, Store, first_rows, read_part, scan_parts, write_part
from jobs.store.schemas import PART, SETTINGS

# How the rows of a merged part stand, so that the statistics of a row group tell readers what it cannot hold.
_SORTED_BY = [*(field.name for field in SETTINGS if field.name != "seed"), "seed", "trial_id"]


@dataclass(frozen=True)
class Sizes:
    """How large merged parts become, counted in rows of epochs."""

    row_group: int = 122_880  # or more; as many as DuckDB's own. A part that has fewer is small
    file: int = 8 * 122_880  # or somewhat more: one file at a time is held in memory


@dataclass(frozen=True)
class Compaction:
    """What a compaction did, by names of parts."""

    merged: tuple[str, ...]  # and deleted
    written: tuple[str, ...]
    damaged: tuple[str, ...]  # left as they are


@dataclass(frozen=True)
class _Part:
    """What a compaction has to know of a part."""

    name: str
    trial_ids: tuple[str, ...]  # of its rows
    counts: NDArray[np.bool_]  # of each row, whether it is the one of its trial that counts
    epochs: int  # rows of epochs, all in all
    epochs_kept: int  # of the rows that count
    shares: bool  # there are other rows of one of its trials


DEFAULT_SIZES = Sizes()


def compact(store: Store, sizes: Sizes = DEFAULT_SIZES) -> Compaction:
    """Merge small parts into larger ones, and leave each trial one row; waits while another compaction works.

    What readers find stays the same to the byte. Damaged parts stay where they are. Raises StoreError where the store
    cannot be read or written; nothing is lost then, and the next compaction takes up the rest.
    """
    if not any(name.endswith(".parquet") for name in names(store.parts)):
        return Compaction((), (), ())
    with _lock(store):
        parts, damaged = _survey(store)
        inputs = [part for part in parts if part.epochs < sizes.row_group or part.shares]
        if len(inputs) == 1 and not inputs[0].shares:
            inputs = []  # a small part that is alone stays as it is
        merged, written = _merge_all(store, inputs, sizes)
    return Compaction(tuple(merged), tuple(written), tuple(sorted(damaged)))


@contextmanager
def _lock(store: Store) -> Iterator[None]:
    """Wait until no other compaction works on the store; the system unlocks it when the process ends, however."""
    path = store.root / "compaction.lock"
    with ExitStack() as stack:
        try:
            fcntl.flock(stack.enter_context(path.open("ab")), fcntl.LOCK_EX)
        except OSError as error:
            message = f"{path}: cannot be locked: {error.strerror}; allowed: a folder that you may write"
            raise StoreError(message) from error
        yield


def _survey(store: Store) -> tuple[list[_Part], list[str]]:
    """List the undamaged parts by name, and the names of damaged ones."""
    scanned = dict(scan_parts(store, ["trial_id", "epochs_run", *ROW_ORDER]))
    found = {name: rows for name in sorted(scanned) if (rows := scanned[name]) is not None}
    index = pa.concat_tables([PART.empty_table().select(["trial_id", "epochs_run", *ROW_ORDER]), *found.values()])
    counts = np.zeros(index.num_rows, np.bool_)
    counts[list(first_rows(index).values())] = True
    times = Counter(index["trial_id"].to_pylist())
    parts, start = [], 0
    for name, rows in found.items():
        of_part = counts[start : start + rows.num_rows]
        epochs, ids = rows["epochs_run"].to_numpy(), tuple(rows["trial_id"].to_pylist())
        shares = any(times[trial_id] > 1 for trial_id in ids)
        parts.append(_Part(name, ids, of_part, int(epochs.sum()), int(epochs[of_part].sum()), shares))
        start += rows.num_rows
    return parts, [name for name, rows in scanned.items() if rows is None]


def _merge_all(store: Store, inputs: Sequence[_Part], sizes: Sizes) -> tuple[list[str], list[str]]:
    """Merge parts, a file at a time; return the names of those deleted and of those written.

    Together the inputs hold every row of each of their trials. One is deleted as soon as all of its trials are on
    disk in what was written, so whatever ends this, each trial's row that counts is in some part.
    """
    merged, written, stored = [], [], set[str]()
    waiting: list[_Part] = []
    for run in _cut([part.epochs_kept for part in inputs], sizes.file, sizes.row_group):
        batch = inputs[run]
        name, trial_ids = _merge(store, batch, sizes)
        written.append(name)
        stored.update(trial_ids)
        waiting.extend(batch)
        gone = [part.name for part in waiting if stored.issuperset(part.trial_ids) and part.name not in written]
        delete_files(store.parts, gone)
        merged.extend(gone)
        waiting = [part for part in waiting if not stored.issuperset(part.trial_ids)]
    return merged, written


def _merge(store: Store, batch: Sequence[_Part], sizes: Sizes) -> tuple[str, list[str]]:
    """Write the rows of some parts that count as one part; return its name and its trials, read from it again."""
    rows = _sorted(pa.concat_tables([_counting_rows(store, part) for part in batch]).combine_chunks())
    runs = _cut(pc.list_value_length(rows["epochs"]).to_pylist(), sizes.row_group, sizes.row_group)
    name = write_part(store, *(rows.slice(run.start, run.stop - run.start) for run in runs))
    again = read_part(store.parts / name, ["trial_id"])
    if again is None or not again["trial_id"].equals(rows["trial_id"]):
        raise StoreError(f"{store.parts / name}: is not what was written; the parts it was merged from are kept")
    return name, again["trial_id"].to_pylist()


def _counting_rows(store: Store, part: _Part) -> pa.Table:
    rows = read_part(store.parts / part.name, PART.names)
    if rows is None:
        raise StoreError(
            f"{store.parts / part.name}: was damaged or deleted meanwhile; no more is merged, compact again"
        )
    return rows.filter(pa.array(part.counts))


def _sorted(rows: pa.Table) -> pa.Table:
    """Sort rows (schema PART) by configuration, then seed."""
    settings = {field.name: pc.struct_field(rows["settings"], field.name) for field in SETTINGS}
    keys = pa.table({"trial_id": rows["trial_id"], **settings})
    return rows.take(pc.sort_indices(keys, [(name, "ascending") for name in _SORTED_BY]))


def _cut(weights: Sequence[int], enough: int, least: int) -> list[slice]:
    """Cut a sequence into runs, each as short as `enough` allows; a rest under `least` joins the run before it."""
    ends, weight = [], 0
    for end, each in enumerate(weights, start=1):
        weight += each
        if weight >= enough:
            ends.append(end)
            weight = 0
    if ends and weight < least:
        ends.pop()
    if weights:
        ends.append(len(weights))
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
