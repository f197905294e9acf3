"""The columns in which the tables of two equal runs differ."""

import pyarrow as pa

WALL_CLOCK = frozenset({"seconds", "epoch_seconds", "host", "attempt", "finished_at"})


def without_wall_clock(table: pa.Table) -> pa.Table:
    """Leave out the columns in which equal runs differ."""
    return table.drop_columns(sorted(WALL_CLOCK & set(table.column_names)))
