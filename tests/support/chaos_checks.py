"""Checks of a store after a kill, and of two stores with the same study."""

import hashlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import load_file

from jobs.errors import MnistjobsError
from jobs.store.job_record import find_job, job_folder, read_jobs
from jobs.store.layout import Store
from jobs.store.parts import stored_ids
from support.wall_clock import WALL_CLOCK, without_wall_clock

TABLES = (
    "trials.parquet",
    "metrics.parquet",
    "confusion.parquet",
    "predictions.parquet",
    "summary.parquet",
    "summary.csv",
    "summary.md",
)


@dataclass(frozen=True)
class Seen:
    """The content of the parts of a store at one moment."""

    rows: Mapping[str, int]  # by trial_id: in how many rows it stands
    first: Mapping[str, datetime]  # by trial_id: when it first finished


def look(store: Store) -> tuple[Seen, list[str]]:
    """Read all parts with no reader of ours; return what they hold and what is wrong with them."""
    counts: Counter[str] = Counter()
    first: dict[str, datetime] = {}
    wrong = []
    for path in sorted(store.parts.glob("*.parquet")):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != path.stem:
            wrong.append(f"part {path.name} is damaged")
            continue
        for row in pq.read_table(pa.BufferReader(content), columns=["trial_id", "finished_at"]).to_pylist():
            trial_id, finished_at = row["trial_id"], row["finished_at"]
            counts[trial_id] += 1
            first[trial_id] = min(first.get(trial_id, finished_at), finished_at)
    return Seen(counts, first), wrong


def check_store(store: Store, before: Seen) -> tuple[Seen, list[str]]:
    """Look again: our readers agree, what was finished before still is, and has not been trained again."""
    now, wrong = look(store)
    try:
        lost = now.rows.keys() - stored_ids(store)
        wrong += [f"trial {trial_id} stands in a part and is not found" for trial_id in sorted(lost)]
        wrong += [f"job {job.job_id} is damaged" for job in read_jobs(store) if job.state == "damaged"]
    except MnistjobsError as error:
        wrong.append(f"the store cannot be read: {error}")
    for trial_id, count in before.rows.items():
        if trial_id not in now.rows:
            wrong.append(f"trial {trial_id} had finished and is lost")
        elif now.rows[trial_id] > count or now.first[trial_id] != before.first[trial_id]:
            wrong.append(f"trial {trial_id} had finished and was trained again")
    return now, wrong


def compare_stores(clean: Store, faulted: Store, name: str) -> list[str]:
    """Compare the latest jobs of two stores and the weights of their trials, byte by byte; name what differs."""
    ours, theirs = (_files_of(store, name) for store in (clean, faulted))
    wrong = [f"{name}: only in one of the two stores" for name in sorted(ours.keys() ^ theirs.keys())]
    wrong += [f"{name}: is not written" for name in TABLES if name not in ours]
    for name in sorted(ours.keys() & theirs.keys()):
        if _bytes_of(ours[name]) != _bytes_of(theirs[name]):
            wrong.append(f"{name}: differs{_where(ours[name], theirs[name])}")
    return wrong + _compare_weights(clean, faulted)


def _compare_weights(clean: Store, faulted: Store) -> list[str]:
    """Name the trials whose weights differ, or are in one of the stores only."""
    ours, theirs = (_weights_of(store) for store in (clean, faulted))
    trials = sorted(ours.keys() | theirs.keys())
    return [f"trial {trial}: its weights differ" for trial in trials if ours.get(trial) != theirs.get(trial)]


def _weights_of(store: Store) -> dict[str, dict[str, bytes]]:
    """Read the weights of every stored trial: the bytes of each parameter, by trial id."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted(store.parts.glob("*.parquet")):
        for row in pq.read_table(path, columns=["trial_id", "weights_sha256"]).to_pylist():
            tensors = load_file(store.weights / f"{row['weights_sha256']}.safetensors")
            mine = {name: value.tobytes() for name, value in tensors.items() if name.startswith(row["trial_id"])}
            found[row["trial_id"]] = mine
    return found


def _files_of(store: Store, name: str) -> dict[str, Path]:
    """Name every file that a fault must not change: all but the page and the records of the job, which have times."""
    folder = job_folder(store, find_job(store, name).job_id)
    files = [path for path in folder.iterdir() if path.is_file() and path.suffix not in (".json", ".html", ".next")]
    return {path.name: path for path in files}


def _bytes_of(path: Path) -> bytes:
    """Read a file as it is; of a table with columns of the wall clock, encode the others."""
    if path.suffix != ".parquet" or not WALL_CLOCK & set(pq.read_schema(path).names):
        return path.read_bytes()
    table = without_wall_clock(pq.read_table(path))
    sink = io.BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue()


def _where(ours: Path, theirs: Path) -> str:
    """Show the first rows of two tables that differ."""
    if ours.suffix != ".parquet":
        return ""
    ours_rows, theirs_rows = (without_wall_clock(pq.read_table(path)).to_pylist() for path in (ours, theirs))
    if len(ours_rows) != len(theirs_rows):
        return f": {len(ours_rows)} rows and {len(theirs_rows)}"
    pairs = zip(ours_rows, theirs_rows, strict=True)
    row, (one, other) = next((row, pair) for row, pair in enumerate(pairs) if str(pair[0]) != str(pair[1]))
    return f" in row {row}: " + ", ".join(f"{key} {one[key]} and {other[key]}" for key in one if one[key] != other[key])
