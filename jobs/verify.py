"""Verify a job: check every byte of it against its hash, and train some of its trials again to compare."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

from cluster import Done, Failed, InProcessSession
from jobs.errors import DamagedPartWarning, InputError
from jobs.report import decide_again, differ_in_pictures_alone, format_count, read_counted, report_files
from jobs.run import Pack, TaskContext, run_pack, versions
from jobs.store import (
    Job,
    JobState,
    Parts,
    Store,
    check_weights,
    counted_trials,
    describe_quarantine,
    describe_unattributed_files,
    find_job,
    job_key,
    open_store_of,
    read_parts,
    read_weights,
    set_aside,
    set_aside_weights,
)
from mnist_core.data import NAMED_DATASETS, Dataset, load_dataset
from mnist_core.trial import Trial, trial_id

# Columns that differ between runs of equal results. The hash of the weights depends on the other trials of the part.
_RUN_COLUMNS = {"seconds", "host", "kernels", "attempt", "finished_at", "weights_sha256", *versions()}
_RECORD_FILES = 2  # job.json and requested.parquet


@dataclass(frozen=True)
class Verification:
    """What was checked, and everything that is wrong, one sentence each."""

    trials: int  # whose rows and weights were checked
    files: int  # of the job's folder
    rerun: int  # trials that were trained again
    problems: tuple[str, ...]
    notes: tuple[str, ...] = ()  # on what else the store contains, which does the job no harm
    lost_trials: tuple[str, ...] = ()  # of the problems: trials whose row or weights the store has lost
    outdated_files: tuple[str, ...] = ()  # of the problems: files of the report that are missing or differ


def verify_job(store: str | Path, job: str | None = None, rerun: int = 0) -> Verification:
    """Check every byte of a job, and train some of its trials again: the results must be equal to the bit.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        rerun: How many trials to train again, chosen at random among those that ran on a CPU. On a GPU the last bits
            depend on which trials train together. Where other kernels trained a trial than do so here, a difference
            is a note, not a problem.

    Returns:
        What was checked and what is wrong. Damaged parts are moved to the quarantine.

    Raises:
        InputError: There is no such job, or its dataset has changed and trials are to be trained again.
        StoreError: The store cannot be read, or the job's record is damaged.
        DataError: The dataset is needed and cannot be read.
    """
    opened, name_of_job = open_store_of(store, job)
    found = find_job(opened, name_of_job)
    name = found.dataset.name
    dataset = load_dataset(name if name in NAMED_DATASETS else Path(name)) if rerun else None
    if dataset and dataset.fingerprint != found.dataset.fingerprint:
        raise InputError(f"dataset {name}: has changed since job {found.job_id} was trained; restore it")
    return check_job(opened, found, dataset, rerun)


def check_job(store: Store, job: Job, dataset: Dataset | None = None, rerun: int = 0) -> Verification:
    """Check a job as `verify_job` does; the job's record was checked when it was read.

    Args:
        store: The store.
        job: The job.
        dataset: What the job was trained on; without it no trial is trained again.
        rerun: How many trials to train again.

    Raises:
        StoreError: The store cannot be read, or what the job asked for is lost.
    """
    requested = read_counted(store, job)
    parts = read_parts(store, counted_trials(job, requested), use_cache=False)
    files = report_files(store, job, requested, parts)
    unusable = set_aside(store, parts.damaged)
    chosen = _choose(parts.table, rerun) if dataset else []
    lost = _lost_trials(job, requested, parts)
    without_weights = _lost_weights(store, parts.table)
    outdated, incomparable = _outdated_files(store, job, files)
    differences = [pair for row in chosen if dataset for pair in _compare_rerun(store, row, dataset)]
    problems = [
        *(str(each) for each in unusable if isinstance(each, DamagedPartWarning)),
        *(f"trial {identity}: its row is lost" for identity in lost),
        *(f"trial {identity}: {state}" for identity, state in without_weights.items()),
        *(f"{name}: {state}" for name, state in outdated.items()),
        *_changed_decision(store, job),
        *(difference for difference, is_expected in differences if not is_expected),
    ]
    notes = [str(each) for each in unusable if not isinstance(each, DamagedPartWarning)]
    notes += [difference for difference, is_expected in differences if is_expected]
    notes += [
        f"{name}: is compared without its pictures of test images: they need the dataset" for name in incomparable
    ]
    notes += [*describe_quarantine(store), *describe_unattributed_files(store), *_gpu_note(parts.table, rerun)]
    return Verification(
        trials=parts.table.num_rows,
        files=len(files) + _RECORD_FILES + (job.end is not None),
        rerun=len(chosen),
        problems=tuple(problems),
        notes=tuple(notes),
        lost_trials=(*lost, *without_weights),
        outdated_files=tuple(outdated),
    )


def _lost_trials(job: Job, requested: pa.Table, parts: Parts) -> list[str]:
    """Name the trials that the job finished and that are in no undamaged part."""
    if job.state not in (JobState.finished, JobState.failed, JobState.stopped):
        return []
    absent = set(counted_trials(job, requested)) - set(parts.table["trial_id"].to_pylist())
    return sorted(absent - {failure.trial_id for failure in job.failures})


def _changed_decision(store: Store, job: Job) -> Iterator[str]:
    """Take the decision of a job again whose seeds ended by a rule, from what is stored."""
    if job.decision and decide_again(store, job) != job.decision:
        yield "final.json: has another decision on the seeds than the stored results give"


def _lost_weights(store: Store, rows: pa.Table) -> dict[str, str]:
    """Describe, by trial_id, the weights that are missing or damaged; damaged files are moved to the quarantine."""
    hashes = rows["weights_sha256"].to_pylist()
    states = {}
    for sha256 in set(hashes):
        state = check_weights(store, sha256)
        if state != "whole":
            described = set_aside_weights(store, sha256) if state == "damaged" else "are missing"
            states[sha256] = f"its weights {described}"
    rows_by_trial = zip(rows["trial_id"].to_pylist(), hashes, strict=True)
    return {identity: states[sha256] for identity, sha256 in rows_by_trial if sha256 in states}


def _outdated_files(store: Store, job: Job, files: Mapping[str, bytes]) -> tuple[dict[str, str], list[str]]:
    """Compare the report's files with what the parts give.

    Returns:
        What is wrong with each, by file name; and the files that are equal but for pictures.
    """
    wrong, incomparable = {}, []
    for name, content in files.items():
        found = store.backend.get(job_key(job.job_id, name))
        if found and found[0] != content and differ_in_pictures_alone(found[0], content):
            incomparable.append(name)
        elif found is None or found[0] != content:
            wrong[name] = "is missing" if found is None else "does not match the parts"
    return wrong, incomparable


def _cpu_rows(rows: pa.Table) -> list[int]:
    return [index for index, device in enumerate(rows["device"].to_pylist()) if device == "cpu"]


def _gpu_note(rows: pa.Table, rerun: int) -> Iterator[str]:
    count = rows.num_rows - len(_cpu_rows(rows))
    if rerun and count:
        verb = "is" if count == 1 else "are"
        ran = f"{format_count(count, 'trial')} ran on a GPU and {verb} not trained again"
        yield f"{ran}: there the last bits depend on which trials train together"


def _choose(rows: pa.Table, count: int) -> list[dict[str, Any]]:
    """Choose trials at random, so that repeated calls check all of them in the end."""
    indices = _cpu_rows(rows)
    chosen = random.SystemRandom().sample(indices, min(count, len(indices)))
    return list(rows.take(pa.array(chosen, pa.int64())).to_pylist())


def _compare_rerun(store: Store, row: Mapping[str, Any], dataset: Dataset) -> Iterator[tuple[str, bool]]:
    """Train a trial again, in a temporary store; yield how its results differ, and whether its kernels explain it."""
    where = f"trial {row['trial_id']}"
    if trial_id(Trial(**row["settings"]), dataset.fingerprint) != row["trial_id"]:
        version = row["mnistjobs_version"]
        yield f"{where}: was trained by mnistjobs {version}, whose results differ; compare with that", False
        return
    with TemporaryDirectory(prefix="mnistjobs-verify-") as folder:
        executor = InProcessSession().executor(run_pack, TaskContext(dataset, Path(folder)))
        executor.submit(Pack({row["trial_id"]: Trial(**row["settings"])}))
        while not isinstance(event := executor.next_event(0.0), Done | Failed):
            pass
        if isinstance(event, Failed):
            yield f"{where}: cannot be trained again: {event.failure.message}", False
            return
        elsewhere = Store(Path(folder))
        (again,) = read_parts(elsewhere, [row["trial_id"]]).table.to_pylist()
        has_same_weights = _weights_bits(store, row) == _weights_bits(elsewhere, again)
    names = [name for name, value in again.items() if name not in _RUN_COLUMNS and _bits(row[name]) != _bits(value)]
    names += [] if has_same_weights else ["weights"]
    if names:
        differs = f"it differs in {', '.join(names)}"
        if row["kernels"] != again["kernels"]:
            kernels = f"then {row['kernels']}; now {again['kernels']}"
            yield f"{where}: trained again with other kernels, {differs} ({kernels}): last bits depend on them", True
            return
        then, now = ({name: of[name] for name in versions()} for of in (row, again))
        reason = "" if then == now else f" (then {_format_versions(then)}; now {_format_versions(now)})"
        yield f"{where}: trained again, {differs}{reason}", False


def _bits(value: object) -> str:
    """Format a value so that equal bits give equal text, NaN included; the seconds of epochs are left out."""
    if isinstance(value, list):
        return f"[{', '.join(map(_bits, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_bits(each)}' for key, each in value.items() if key != 'epoch_seconds')}}}"
    return repr(value)


def _weights_bits(store: Store, row: Mapping[str, Any]) -> dict[str, tuple[str, bytes]] | None:
    """Return a trial's weights by parameter, so that equal bits are equal; None where they are missing or damaged."""
    weights = read_weights(store, row["trial_id"], row["weights_sha256"])
    return None if weights is None else {name: (str(each.shape), each.tobytes()) for name, each in weights.items()}


def _format_versions(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name.removesuffix('_version')} {version}" for name, version in facts.items())
