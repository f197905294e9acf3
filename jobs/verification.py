"""Verify a job: hold every byte of it against its hash, and some of its trials against training them again."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from cluster.in_process import map_in_process
from cluster.port import Failed
from jobs.files import read_file
from jobs.jobfile import Job, job_folder
from jobs.report import report_tables, table_files
from jobs.store import Parts, Store, read_parts
from jobs.task import Pack, Shared, run_pack, versions
from mnist_core.datasets import Dataset
from mnist_core.devices import has_cuda
from mnist_core.trial import Trial

# What tells of a run and not of its numbers.
_OF_THE_RUN = {"seconds", "host", "attempt", "finished_at", *versions()}


@dataclass(frozen=True)
class Verification:
    """What was looked at, and every problem found, a sentence each."""

    trials: int  # whose row and weights were hashed
    tables: int  # files of the job's folder
    rerun: int  # trials trained again
    problems: tuple[str, ...]


def verify_job(store: Store, job: Job, dataset: Dataset | None = None, rerun: int = 0) -> Verification:
    """Check every byte of a job, and train `rerun` of its trials again, chosen at random; raises StoreError.

    A trial trained again has to give every number and every weight to the bit. Trials that ran on another kind of
    device than this machine has are not chosen.
    """
    parts = read_parts(store, job["trial_ids"])
    files = table_files(report_tables(job, parts))
    chosen = _choose(parts.table, rerun) if dataset else []
    problems = [
        *(f"part {name} is damaged" for name in parts.damaged),
        *_missing(job, parts),
        *_damaged_weights(store, parts.table),
        *_unlike_files(store, job, files),
        *(problem for row in chosen if dataset for problem in _unlike_rerun(row, dataset)),
    ]
    return Verification(parts.table.num_rows, len(files), len(chosen), tuple(problems))


def _missing(job: Job, parts: Parts) -> Iterator[str]:
    """Name the trials that the job has come to have and the store has no more."""
    absent = set(job["trial_ids"]) - set(parts.table["trial_id"].to_pylist())
    if job["status"] == "finished":
        yield from (f"trial {identity} is in no undamaged part" for identity in sorted(absent))


def _damaged_weights(store: Store, rows: pa.Table) -> Iterator[str]:
    for trial_id, digest in zip(rows["trial_id"].to_pylist(), rows["weights_sha256"].to_pylist(), strict=True):
        content = read_file(store.weights / f"{trial_id}.safetensors")
        if content is None:
            yield f"the weights of trial {trial_id} are missing"
        elif sha256(content).hexdigest() != digest:
            yield f"the weights of trial {trial_id} are damaged"


def _unlike_files(store: Store, job: Job, files: Mapping[str, bytes]) -> Iterator[str]:
    folder = job_folder(store, job["job_id"])
    for name, content in files.items():
        found = read_file(folder / name)
        if found != content:
            state = "is missing" if found is None else "is not what the parts give"
            yield f"{name} {state}; write it anew with `mnistjobs report {job['job_id']}`"


def _choose(rows: pa.Table, count: int) -> list[dict[str, Any]]:
    """Choose trials at random, others every time: in the end all of them have been looked at."""
    here = {"cpu", "cuda"} if has_cuda() else {"cpu"}
    places = [place for place, device in enumerate(rows["device"].to_pylist()) if device in here]
    chosen = random.SystemRandom().sample(places, min(count, len(places)))
    return list(rows.take(pa.array(chosen, pa.int64())).to_pylist())


def _unlike_rerun(row: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """Train a trial again, into a store of its own, and say what came out otherwise."""
    with TemporaryDirectory(prefix="mnistjobs-verify-") as folder:
        shared = Shared(dataset, Path(folder), row["device"])
        for event in map_in_process(run_pack, [Pack((Trial(**row["settings"]),))], shared):
            if isinstance(event, Failed):
                yield f"trial {row['trial_id']} could not be trained again: {event.failure.message}"
                return
        (again,) = read_parts(Store(Path(folder)), [row["trial_id"]]).table.to_pylist()
    unlike = [name for name, value in again.items() if name not in _OF_THE_RUN and _bits(row[name]) != _bits(value)]
    if unlike:
        then, now = ({name: of[name] for name in versions()} for of in (row, again))
        reason = "" if then == now else f" (then {_listed(then)}; now {_listed(now)})"
        yield f"trial {row['trial_id']} trained again gives another {', '.join(unlike)}{reason}"


def _bits(value: object) -> str:
    """Write a value so that equal bits give equal text, NaN included; how long an epoch took is left out."""
    if isinstance(value, list):
        return f"[{', '.join(map(_bits, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_bits(each)}' for key, each in value.items() if key != 'seconds')}}}"
    return repr(value)


def _listed(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name.removesuffix('_version')} {version}" for name, version in facts.items())
