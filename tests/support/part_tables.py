"""Parts without training: what tasks would have written of many trials, and what one finds of it."""

import os
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.store.layout import Store
from jobs.store.parts import parquet_bytes, read_parts, write_part
from jobs.store.schemas import EPOCH, PART, SETTINGS
from support.study_tables import Setting, settings, trial_row


def part_table(
    seeds: Sequence[int], epochs: int = 3, *, finished_at: datetime | None = None, **row: Setting
) -> pa.Table:
    """Make the rows (schema PART) of trials t<seed>, whose settings and figures hang on the seed."""
    return pa.Table.from_pylist([_row(seed, epochs, finished_at, row) for seed in seeds], PART)


def write_parts(store: Store, *seeds: Sequence[int], epochs: int = 3) -> list[str]:
    """Write a part for each sequence of seeds; return their names."""
    return [write_part(store, part_table(each, epochs)) for each in seeds]


def identity(seed: int) -> str:
    """Name the trial of a seed."""
    return f"t{seed:06}"


def part_names(store: Store) -> list[str]:
    """List the files of parts."""
    return sorted(path.name for path in store.parts.glob("*.parquet"))


def whole(store: Store, seeds: range) -> bytes:
    """Give all that readers find of some trials."""
    parts = read_parts(store, [identity(seed) for seed in seeds])
    assert parts.damaged == ()
    return parquet_bytes(parts.table)


def rows_by_trial(store: Store) -> Counter[str]:
    """Count the rows of each trial over all parts, as one who reads the files with no help from us."""
    return Counter(each for name in part_names(store) for each in ids_in(store.parts / name))


def ids_in(path: Path) -> list[str]:
    """Name the trials of a part's rows."""
    ids: list[str] = pq.read_table(path)["trial_id"].to_pylist()
    return ids


def make_old(path: Path, seconds: float = 3600) -> None:
    """Set the modification time of a file back."""
    changed = path.stat().st_mtime - seconds
    os.utime(path, (changed, changed))


def _row(seed: int, epochs: int, finished_at: datetime | None, changed: dict[str, Setting]) -> dict[str, Any]:
    asked = settings(seed, subset_size=[2000, 50_000][seed % 2], adaptive_lr=seed % 3 == 0, epochs=epochs)
    record = {field.name: seed / 1000 for field in EPOCH}
    return {
        **trial_row(identity(seed), 0.9 + seed / 1e6, {}),
        "settings": {field.name: asked[field.name] for field in SETTINGS},
        "epochs_run": epochs,
        "epochs": [{**record, "epoch": epoch} for epoch in range(1, epochs + 1)],
        "confusion": [seed % 7] * 100,
        "actual": bytes(range(10)),
        "predicted": bytes([seed % 7] * 10),
        "weights_sha256": f"{seed:064}",
        "finished_at": finished_at or datetime(2026, 1, 1, tzinfo=UTC),
        **changed,
    }
