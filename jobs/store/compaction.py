"""Compaction: merge the many small parts that tasks write into few large ones, which are read much faster.

A merged part is an ordinary part. Parts are deleted only after their rows are durable in another part, so a compaction
may be killed at any moment. A lock admits one compaction at a time; tasks and readers need no lock.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from jobs.errors import StoreError
from jobs.store.cleanup import remove_unused_weights
from jobs.store.layout import COMPACTION_LOCK, PARTS, Store, is_part_name
from jobs.store.parts import INDEX, first_rows, read_part, scan_parts, write_part
from jobs.store.schemas import PART, SETTINGS

# The order of the rows of a merged part: with it, readers can skip row groups by their statistics.
_SORTED_BY = [*(field.name for field in SETTINGS if field.name != "seed"), "seed", "trial_id"]


@dataclass(frozen=True)
class Sizes:
    """Sizes of merged parts, counted in epochs."""

    row_group: int = 122_880  # at least, as in DuckDB; a part with fewer is merged
    file: int = 8 * 122_880  # at least; one file at a time is in memory


@dataclass(frozen=True)
class Compaction:
    """The result of a compaction, as names of files."""

    merged: tuple[str, ...]  # parts that were merged and deleted
    written: tuple[str, ...]
    damaged: tuple[str, ...]  # parts that cannot be used, left in place
    removed_weights: tuple[str, ...] = ()  # that no part names


@dataclass(frozen=True)
class _Part:
    """A part, as a compaction sees it."""

    name: str
    trial_ids: tuple[str, ...]  # by row
    counts: NDArray[np.bool_]  # by row, whether it is its trial's row that counts
    epochs: int  # in all rows
    epochs_kept: int  # in the rows that count
    shares: bool  # whether another row of one of its trials exists


DEFAULT_SIZES = Sizes()


def compact(store: Store, sizes: Sizes = DEFAULT_SIZES) -> Compaction:
    """Merge small parts into larger ones with one row per trial; wait while another compaction runs.

    What `read_parts` returns stays the same. Unusable parts stay in place. Weights that no part names are removed when
    they are a day old.

    Raises:
        StoreError: the store cannot be read or written; nothing is lost, and the next compaction continues.
    """
    if not any(map(is_part_name, store.backend.names(PARTS))):
        return Compaction((), (), ())
    with store.backend.lock(COMPACTION_LOCK):
        parts, damaged = _survey(store)
        inputs = [part for part in parts if part.epochs < sizes.row_group or part.shares]
        if len(inputs) == 1 and not inputs[0].shares:
            inputs = []  # there is nothing to merge it with
        merged, written = _merge_all(store, inputs, sizes)
        removed = remove_unused_weights(store)
    return Compaction(tuple(merged), tuple(written), tuple(sorted(damaged)), tuple(removed))


def _survey(store: Store) -> tuple[list[_Part], list[str]]:
    """List the usable parts by name, and the names of the others."""
    scanned = dict(scan_parts(store, ["epochs_run", *INDEX], use_cache=False))
    found = {name: rows for name in sorted(scanned) if (rows := scanned[name]) is not None}
    index = pa.concat_tables([PART.empty_table().select(["epochs_run", *INDEX]), *found.values()])
    counts = np.zeros(index.num_rows, np.bool_)
    counts[list(first_rows(store, index).values())] = True
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
    """Merge parts, one file at a time; return the names of the deleted and of the written parts.

    The inputs hold every row of each of their trials. An input is deleted once all of its trials are durable in the
    written parts, so each trial's row that counts is in some part at every moment.
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
        store.backend.delete([f"{PARTS}{name}" for name in gone])
        merged.extend(gone)
        waiting = [part for part in waiting if not stored.issuperset(part.trial_ids)]
    return merged, written


def _merge(store: Store, batch: Sequence[_Part], sizes: Sizes) -> tuple[str, list[str]]:
    """Write the counting rows of some parts as one part; return its name and its trials, read back from it."""
    rows = _sorted(pa.concat_tables([_counting_rows(store, part) for part in batch]).combine_chunks())
    groups = _cut(pc.list_value_length(rows["epochs"]).to_pylist(), sizes.row_group, sizes.row_group)
    name = write_part(store, *(rows.slice(run.start, run.stop - run.start) for run in groups))
    again = read_part(store, name, ["trial_id"])
    if again is None or not again["trial_id"].equals(rows["trial_id"]):
        raise StoreError(
            f"{store.locate(PARTS + name)}: is not what was written; the parts it was merged from are kept"
        )
    return name, again["trial_id"].to_pylist()


def _counting_rows(store: Store, part: _Part) -> pa.Table:
    rows = read_part(store, part.name, PART.names)
    if rows is None:
        message = "was damaged or deleted during the compaction, which has stopped; repeat it"
        raise StoreError(f"{store.locate(PARTS + part.name)}: {message}")
    return rows.filter(pa.array(part.counts))


def _sorted(rows: pa.Table) -> pa.Table:
    """Sort rows (schema PART) by configuration, then seed."""
    settings = {field.name: pc.struct_field(rows["settings"], field.name) for field in SETTINGS}
    keys = pa.table({"trial_id": rows["trial_id"], **settings})
    return rows.take(pc.sort_indices(keys, [(name, "ascending") for name in _SORTED_BY]))


def _cut(weights: Sequence[int], target: int, minimum: int) -> list[slice]:
    """Cut a sequence into runs that weigh just `target` or more; a last run under `minimum` joins the one before."""
    ends, weight = [], 0
    for end, each in enumerate(weights, start=1):
        weight += each
        if weight >= target:
            ends.append(end)
            weight = 0
    if ends and weight < minimum:
        ends.pop()
    if weights:
        ends.append(len(weights))
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]
