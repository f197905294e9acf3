"""The flat tables of a job, made from parts: trials, metrics and confusion."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from jobs.store import CONFUSION, EPOCH, METRICS, PART, SETTINGS, TRIALS
from mnist_core.data import DIGITS

# The columns of PART that each table is made from.
TRIALS_COLUMNS = tuple(field.name for field in PART if field in TRIALS or field.name == "settings")
METRICS_COLUMNS = ("trial_id", "settings", "epochs")
CONFUSION_COLUMNS = ("trial_id", "confusion")


def trials_table(parts: pa.Table) -> pa.Table:
    """Flatten parts into one row per trial, in the order of their rows.

    Args:
        parts: A table with at least TRIALS_COLUMNS of the schema PART.

    Returns:
        A table with the schema TRIALS.
    """
    settings = _settings(parts)
    columns = {name: settings[name] if name in settings else parts[name] for name in TRIALS.names}
    return pa.table(columns).cast(TRIALS)


def metrics_table(parts: pa.Table) -> pa.Table:
    """Flatten parts into one row per trial and epoch.

    Args:
        parts: A table with at least METRICS_COLUMNS of the schema PART.

    Returns:
        A table with the schema METRICS.
    """
    parent, records = _explode(parts["epochs"])
    epochs = {field.name: pc.struct_field(records, field.name) for field in EPOCH}
    trials = {"trial_id": parts["trial_id"], **_settings(parts)}
    columns = {name: epochs[name] if name in epochs else trials[name].take(parent) for name in METRICS.names}
    return pa.table(columns).cast(METRICS)


def confusion_table(parts: pa.Table) -> pa.Table:
    """Flatten parts into one row per trial, actual and predicted digit; diverged trials have no rows.

    Args:
        parts: A table with at least CONFUSION_COLUMNS of the schema PART.

    Returns:
        A table with the schema CONFUSION.
    """
    parent, counts = _explode(parts["confusion"])
    cell = np.arange(len(counts)) % DIGITS**2
    columns = {
        "trial_id": parts["trial_id"].take(parent),
        "actual": pa.array(cell // DIGITS),
        "predicted": pa.array(cell % DIGITS),
        "count": counts,
    }
    return pa.table(columns).cast(CONFUSION)


def _settings(parts: pa.Table) -> dict[str, pa.ChunkedArray]:
    return {field.name: pc.struct_field(parts["settings"], field.name) for field in SETTINGS}


def _explode(lists: pa.ChunkedArray) -> tuple[pa.Array, pa.Array]:
    """Flatten a column of lists: return, for each element, the index of its row, and the elements."""
    combined = lists.combine_chunks()
    return pc.list_parent_indices(combined), pc.list_flatten(combined)
