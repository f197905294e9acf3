"""The flat tables of a job, made from parts and from what was requested: trials, metrics, confusion and predictions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.store import (
    CONFUSION,
    EPOCH,
    METRICS,
    PART,
    PREDICTIONS,
    REQUESTED,
    TRIALS,
    Job,
    counted_failures,
    counted_trials,
)
from mnist_core.data import DIGITS

# The columns of PART that each table is made from.
# Settings come from what was requested, and one of them has the name of another column: epochs.
TRIALS_COLUMNS = tuple(name for name in TRIALS.names if name in PART.names and name not in REQUESTED.names[1:])
METRICS_COLUMNS = ("trial_id", "epochs")
CONFUSION_COLUMNS = ("trial_id", "confusion")
PREDICTIONS_COLUMNS = ("trial_id", "actual", "predicted")

_ASKED = "requested"  # the column that `identify` adds


def identify(parts: pa.Table, requested: pa.Table) -> pa.Table:
    """Give stored rows what the job requested: trial_id, configuration_id and settings.

    Args:
        parts: Rows of the schema PART, or some of its columns, of requested trials.
        requested: One row per requested trial, in the schema REQUESTED.

    Returns:
        The rows of `parts` in their order, with one more column: a struct of the columns of REQUESTED. They cannot be
        columns beside the others, because `epochs` is a setting as well as the records of the epochs.
    """
    index = pc.index_in(parts["trial_id"], value_set=requested["trial_id"].combine_chunks())
    asked = requested.take(index).combine_chunks().to_struct_array()
    return parts.append_column(_ASKED, asked)


def trials_table(rows: pa.Table, requested: pa.Table, job: Job) -> pa.Table:
    """Make one row per trial that ended, in the order in which the job requested them.

    Args:
        rows: What `identify` returned, with at least TRIALS_COLUMNS.
        requested: One row per requested trial, in the schema REQUESTED.
        job: The job, whose record names the trials that failed for good.

    Returns:
        A table with the schema TRIALS.
    """
    asked = _asked(rows)
    ended = pa.table({name: asked[name] if name in asked else rows[name] for name in TRIALS.names}).cast(TRIALS)
    failed = _failed_trials(frozenset(rows["trial_id"].to_pylist()), requested, job)
    if not failed.num_rows:
        return ended
    both = pa.concat_tables([ended, failed])
    place = pc.index_in(both["trial_id"], value_set=requested["trial_id"].combine_chunks())
    return both.take(pc.sort_indices(place)).combine_chunks()


def _failed_trials(stored: frozenset[str], requested: pa.Table, job: Job) -> pa.Table:
    """Make the rows (schema TRIALS) of the trials that failed for good and that no later job has trained."""
    failures = counted_failures(job, counted_trials(job, requested))
    attempts = {failure.trial_id: failure.attempt for failure in failures if failure.trial_id not in stored}
    asked = requested.filter(pa.array([each in attempts for each in requested["trial_id"].to_pylist()], pa.bool_()))
    count = asked.num_rows
    known = {
        **{name: asked[name] for name in asked.column_names},
        "status": pa.repeat("failed", count),
        "dataset": pa.repeat(job.dataset.name, count),
        "dataset_fingerprint": pa.repeat(job.dataset.fingerprint, count),
        "attempt": pa.array([attempts[each] for each in asked["trial_id"].to_pylist()], pa.int64()),
    }
    columns = {field.name: known.get(field.name, pa.nulls(count, field.type)) for field in TRIALS}
    return pa.table(columns).cast(TRIALS)


def metrics_table(rows: pa.Table) -> pa.Table:
    """Make one row per trial and epoch.

    Args:
        rows: What `identify` returned, with at least METRICS_COLUMNS.

    Returns:
        A table with the schema METRICS.
    """
    parent, records = _explode(rows["epochs"])
    epochs = {field.name: pc.struct_field(records, field.name) for field in EPOCH}
    return pa.table({**_repeat(rows, parent), **epochs}).select(METRICS.names).cast(METRICS)


def confusion_table(rows: pa.Table) -> pa.Table:
    """Make one row per trial, actual and predicted digit; diverged trials have no rows.

    Args:
        rows: What `identify` returned, with at least CONFUSION_COLUMNS.

    Returns:
        A table with the schema CONFUSION.
    """
    parent, counts = _explode(rows["confusion"])
    cell = np.arange(len(counts)) % DIGITS**2
    columns = {"actual": pa.array(cell // DIGITS), "predicted": pa.array(cell % DIGITS), "count": counts}
    return pa.table({**_repeat(rows, parent), **columns}).cast(CONFUSION)


def predictions_table(rows: pa.Table) -> pa.Table:
    """Make one row per trial and test image; diverged trials have no rows.

    Args:
        rows: What `identify` returned, with at least PREDICTIONS_COLUMNS.

    Returns:
        A table with the schema PREDICTIONS.
    """
    sizes = [len(each or b"") for each in rows["predicted"].to_pylist()]
    parent = pa.array(np.repeat(np.arange(len(sizes)), sizes))
    image = np.concatenate([np.arange(0), *map(np.arange, sizes)])
    digits = {name: _bytes_of(rows[name]) for name in ("actual", "predicted")}
    return pa.table({**_repeat(rows, parent), "image": pa.array(image), **digits}).cast(PREDICTIONS)


def _bytes_of(column: pa.ChunkedArray) -> pa.Array:
    """Return all bytes of a column, one after the other; null has none."""
    return pa.array(np.frombuffer(b"".join(each or b"" for each in column.to_pylist()), np.uint8))


def _asked(rows: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {name: pc.struct_field(rows[_ASKED], name) for name in REQUESTED.names}


def _repeat(rows: pa.Table, parent: pa.Array) -> dict[str, pa.ChunkedArray]:
    """Repeat what identifies a trial, for each of its rows in a longer table."""
    return {name: column.take(parent) for name, column in _asked(rows).items()}


def _explode(lists: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Flatten a column of lists: return, for each element, the index of its row, and the elements."""
    combined = lists.combine_chunks()
    return pc.list_parent_indices(combined), pc.list_flatten(combined)
