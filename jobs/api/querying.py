"""Ask a job's tables in SQL."""

from functools import partial

import pyarrow as pa

from jobs.api.answers import read_contrasts, read_effects
from jobs.api.reading import (
    StorePath,
    read_confusion,
    read_job,
    read_metrics,
    read_predictions,
    read_summary,
    read_trials,
)
from jobs.report import EFFECTS, contrast_schema, run_query
from jobs.store import CONFUSION, METRICS, PREDICTIONS, REQUESTED, SUMMARY, TRIALS, find_job, open_store_of


def query_job(store: StorePath, job: str, sql: str) -> pa.Table:
    """Answer a query in SQL over a job's tables, as DuckDB understands it.

    The tables are trials, metrics, confusion, predictions, summary, contrasts, effects and requested, with what the
    store has now. The query sees nothing else: no file, no network, no other job.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        sql: One statement that changes nothing, such as `select * from trials`.

    Returns:
        The rows of the answer.

    Raises:
        InputError: There is no such job, or the query cannot be answered.
        ExtraMissingError: DuckDB is not installed.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    opened, name = open_store_of(store, job)
    job_id = find_job(opened, name).job_id  # one job for all tables, also where a newer one gets its name meanwhile
    place = str(opened.location)
    readers = {
        "trials": (TRIALS, read_trials),
        "metrics": (METRICS, read_metrics),
        "confusion": (CONFUSION, read_confusion),
        "predictions": (PREDICTIONS, read_predictions),
        "summary": (SUMMARY, read_summary),
        "contrasts": (contrast_schema(()), read_contrasts),
        "effects": (EFFECTS, read_effects),
        "requested": (REQUESTED, _read_requested),
    }
    return run_query(sql, {name: (schema, partial(read, place, job_id)) for name, (schema, read) in readers.items()})


def _read_requested(store: StorePath, job: str) -> pa.Table:
    return read_job(store, job, ("trial_id",))[1]
