"""requested.parquet: what a job asked for, one row per trial, written once at submission."""

import hashlib
from collections.abc import Collection, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from jobs.errors import LostRecordError
from jobs.store.job_models import Job, TrialFailure
from jobs.store.job_record import REQUESTED_FILE
from jobs.store.layout import Store, job_key
from jobs.store.schemas import REQUESTED, SETTINGS
from jobs.store.seed_rule import Decision
from mnist_core.trial import Trial, configuration_id


def requested_table(trials: Mapping[str, Trial], fingerprint: str) -> pa.Table:
    """Tabulate the trials that a grid asks for.

    Args:
        trials: The trials by trial_id, in the grid's order.
        fingerprint: Of their dataset.

    Returns:
        A table with the schema REQUESTED.
    """
    columns = {field.name: [getattr(trial, field.name) for trial in trials.values()] for field in SETTINGS}
    ids = configuration_ids(trials, fingerprint)
    return pa.table({"trial_id": list(ids), "configuration_id": list(ids.values()), **columns}, schema=REQUESTED)


def configuration_ids(trials: Mapping[str, Trial], fingerprint: str) -> dict[str, str]:
    """Return the configuration of each trial, by trial_id."""
    known: dict[tuple[object, ...], str] = {}  # there are far fewer of them than trials
    found = {}
    for trial_id, trial in trials.items():
        key = tuple(value for name, value in vars(trial).items() if name != "seed")
        if key not in known:
            known[key] = configuration_id(trial, fingerprint)
        found[trial_id] = known[key]
    return found


def read_requested(store: Store, job: Job) -> pa.Table:
    """Read what a job asked for.

    Args:
        store: The store.
        job: The job, whose record has the file's sha256.

    Returns:
        A table with the schema REQUESTED.

    Raises:
        LostRecordError: The file is missing, or is not the one that was written at submission.
        StoreError: The file cannot be read.
    """
    key = job_key(job.job_id, REQUESTED_FILE)
    found = store.backend.get(key)
    content, path = found and found[0], store.locate(key)
    if content is None or hashlib.sha256(content).hexdigest() != job.record.requested_sha256:
        state = "is missing" if content is None else "is damaged: its sha256 is not the one in the job's record"
        raise LostRecordError(f"{path}: {state}; restore it")
    try:
        table = pq.ParquetFile(pa.BufferReader(content)).read(use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise LostRecordError(f"{path}: cannot be read: {error}; restore it") from error
    if not table.schema.equals(REQUESTED):
        raise LostRecordError(f"{path}: has columns of another version of mnistjobs; read it with that version")
    return table


def counted_rows(requested: pa.Table, decision: Decision | None) -> pa.Table:
    """Leave out of what a job asked for the seeds that its answer did not need.

    Args:
        requested: What it asked for at most, in the schema REQUESTED.
        decision: What was decided; None where the number of seeds was given.

    Returns:
        The rows that count. Before a seed is whole, those of the first: the tables mention every configuration.
    """
    if decision is None:
        return requested
    return requested.filter(
        pa.array([decision.counts(of, seed) or seed == 0 for of, seed in _seeds(requested)], pa.bool_())
    )


def _seeds(requested: pa.Table) -> list[tuple[str, int]]:
    """Return the configuration_id and the seed of each row."""
    return list(zip(requested["configuration_id"].to_pylist(), requested["seed"].to_pylist(), strict=True))


def needed_trials(job: Job, requested: pa.Table) -> list[str]:
    """Return the ids of a job's trials; where its seeds end by a rule, those that the answer needs or may need.

    Args:
        job: The job.
        requested: What it asked for, in the schema REQUESTED.
    """
    ids: list[str] = requested["trial_id"].to_pylist()
    if (decision := job.decision) is None:
        return ids
    return [each for each, (of, seed) in zip(ids, _seeds(requested), strict=True) if decision.needs(of, seed)]


def counted_trials(job: Job, requested: pa.Table) -> list[str]:
    """Return the ids of the trials that the tables of a job contain once they are stored: all, unless it was stopped.

    What a job that was stopped trained beyond whole seeds stays out of its tables, as does what later jobs train. Where
    the seeds ended by a rule, its decision names those that count.

    Args:
        job: The job.
        requested: What it asked for, in the schema REQUESTED.
    """
    ids: list[str] = requested["trial_id"].to_pylist()
    if job.decision:
        counts = job.decision.counts
        return [each for each, (of, seed) in zip(ids, _seeds(requested), strict=True) if counts(of, seed)]
    if job.stop is None:
        return ids
    seeds = frozenset(job.stop.seeds)
    return [each for each, seed in zip(ids, requested["seed"].to_pylist(), strict=True) if seed in seeds]


def counted_failures(job: Job, counted: Collection[str]) -> list[TrialFailure]:
    """Return the failures of a job that its tables contain.

    Args:
        job: The job.
        counted: What `counted_trials` returned.
    """
    ids = frozenset(counted)
    return [failure for failure in job.failures if failure.trial_id in ids]
