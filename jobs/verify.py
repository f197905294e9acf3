"""Verify a job: hold every byte of it against its hash, and some of its trials against training them again."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from cluster import Done, Failed, InProcessSession
from jobs.errors import DamagedPartWarning, InputError
from jobs.report import report_files
from jobs.run import Pack, TaskContext, run_pack, versions
from jobs.store import (
    Job,
    Parts,
    Store,
    check_weights,
    describe_quarantine,
    describe_unattributed_files,
    find_job,
    job_folder,
    open_store,
    read_file,
    read_parts,
    read_weights,
    set_aside,
)
from mnist_core.data import NAMED_DATASETS, Dataset, load_dataset
from mnist_core.trial import Trial, trial_id

# Columns that describe a run and not its numbers. The hash of the weights depends on the other trials of the part.
_OF_THE_RUN = {"seconds", "host", "attempt", "finished_at", "weights_sha256", *versions()}


@dataclass(frozen=True)
class Verification:
    """What was looked at, and every problem found, a sentence each."""

    trials: int  # whose row and weights were hashed
    files: int  # of the job's folder
    rerun: int  # trials trained again
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()  # on what lies in the store and does the job no harm


def verify_job(store: str | Path, job: str, rerun: int = 0) -> Verification:
    """Check every byte of a job (its id, or a name's latest job), and train `rerun` of its trials again to compare.

    Raises InputError where trials are to be trained and the dataset is not the one that the job had.
    """
    opened = open_store(Path(store))
    found = find_job(opened, job)
    name, fingerprint = found["dataset"]["name"], found["dataset"]["fingerprint"]
    dataset = load_dataset(name if name in NAMED_DATASETS else Path(name)) if rerun else None
    if dataset and dataset.fingerprint != fingerprint:
        raise InputError(f"dataset {name}: is not the one that job {found['job_id']} was trained on; allowed: that one")
    return check_job(opened, found, dataset, rerun)


def check_job(store: Store, job: Job, dataset: Dataset | None = None, rerun: int = 0) -> Verification:
    """Check every byte of a job, and train `rerun` of its trials again, chosen at random; raises StoreError.

    That its job.json is whole was checked when it was read. Damaged parts are moved, as by every reader. A trial
    trained again has to give every number and every weight to the bit. Trials that ran on CUDA are not chosen: there
    the last bits hang on the pack.
    """
    parts = read_parts(store, job["trial_ids"])
    files = report_files(store, job, parts)
    unusable = set_aside(store, parts.damaged)
    chosen = _choose(parts.table, rerun) if dataset else []
    problems = [
        *(str(each) for each in unusable if isinstance(each, DamagedPartWarning)),
        *_missing(job, parts),
        *_damaged_weights(store, parts.table),
        *_unlike_files(store, job, files),
        *(problem for row in chosen if dataset for problem in _unlike_rerun(store, row, dataset)),
    ]
    notes = [str(each) for each in unusable if not isinstance(each, DamagedPartWarning)]
    notes += [*describe_quarantine(store), *describe_unattributed_files(store)]
    if rerun and (others := parts.table.num_rows - len(_of_the_cpu(parts.table))):
        notes.append(f"{others} trials ran on a GPU, where last bits hang on the pack: they are not trained again")
    # job.json is a file too.
    return Verification(parts.table.num_rows, len(files) + 1, len(chosen), tuple(problems), tuple(notes))


def _missing(job: Job, parts: Parts) -> Iterator[str]:
    """Name the trials that the job has come to have and the store has no more."""
    absent = set(job["trial_ids"]) - set(parts.table["trial_id"].to_pylist())
    absent -= {failure["trial_id"] for failure in job["failures"]}
    if job["status"] in ("finished", "failed"):
        yield from (f"trial {identity} is in no undamaged part" for identity in sorted(absent))


def _damaged_weights(store: Store, rows: pa.Table) -> Iterator[str]:
    hashes = rows["weights_sha256"].to_pylist()
    states = {sha256: check_weights(store, sha256) for sha256 in set(hashes)}
    for identity, sha256 in zip(rows["trial_id"].to_pylist(), hashes, strict=True):
        if states[sha256] != "whole":
            yield f"the weights of trial {identity} are {states[sha256]}"


def _unlike_files(store: Store, job: Job, files: Mapping[str, bytes]) -> Iterator[str]:
    folder = job_folder(store, job["job_id"])
    for name, content in files.items():
        found = read_file(folder / name)
        if found != content:
            state = "is missing" if found is None else "is not what the parts give"
            yield f"{name} {state}; write it anew with `mnistjobs report {job['job_id']}`"


def _of_the_cpu(rows: pa.Table) -> list[int]:
    return [place for place, device in enumerate(rows["device"].to_pylist()) if device == "cpu"]


def _choose(rows: pa.Table, count: int) -> list[dict[str, Any]]:
    """Choose trials at random, others every time: in the end all of them have been looked at."""
    places = _of_the_cpu(rows)
    chosen = random.SystemRandom().sample(places, min(count, len(places)))
    return list(rows.take(pa.array(chosen, pa.int64())).to_pylist())


def _unlike_rerun(store: Store, row: Mapping[str, Any], dataset: Dataset) -> Iterator[str]:
    """Train a trial again, into a store of its own, and say what came out otherwise."""
    if trial_id(Trial(**row["settings"]), dataset.fingerprint) != row["trial_id"]:
        yield f"trial {row['trial_id']} is of other numerics; train it again with mnistjobs {row['mnistjobs_version']}"
        return
    with TemporaryDirectory(prefix="mnistjobs-verify-") as folder:
        executor = InProcessSession().executor(run_pack, TaskContext(dataset, Path(folder)))
        executor.submit(Pack({row["trial_id"]: Trial(**row["settings"])}))
        while not isinstance(event := executor.next_event(0.0), Done | Failed):
            pass
        if isinstance(event, Failed):
            yield f"trial {row['trial_id']} could not be trained again: {event.failure.message}"
            return
        elsewhere = Store(Path(folder))
        (again,) = read_parts(elsewhere, [row["trial_id"]]).table.to_pylist()
        same_weights = _weights_bits(store, row) == _weights_bits(elsewhere, again)
    unlike = [name for name, value in again.items() if name not in _OF_THE_RUN and _bits(row[name]) != _bits(value)]
    unlike += [] if same_weights else ["weights"]
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


def _weights_bits(store: Store, row: Mapping[str, Any]) -> dict[str, tuple[str, bytes]] | None:
    """Return a trial's weights by parameter, so that equal bits are equal; None where they are missing or damaged."""
    weights = read_weights(store, row["trial_id"], row["weights_sha256"])
    return None if weights is None else {name: (str(each.shape), each.tobytes()) for name, each in weights.items()}


def _listed(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name.removesuffix('_version')} {version}" for name, version in facts.items())
