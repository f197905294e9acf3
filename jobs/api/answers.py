"""Read what a job's figures show: contrasts, effects, and the verdict on one axis."""

import pyarrow as pa

from jobs.api.reading import StorePath, read_job
from jobs.report import ARM_COLUMNS, Arms, Verdict, contrast_table, effect_table, judge, read_arms
from jobs.store import JobRecord


def read_contrasts(store: StorePath, job: str, margin: float | None = None) -> pa.Table:
    """Compare all configurations of a job that differ in one setting only, seed by seed.

    Args:
        store: The store's folder.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        margin: The difference in test accuracy, a fraction, below which two configurations count as equally good; by
            default that of the job's grid.

    Returns:
        One row per contrast, in the schema of jobs.report.contrasts.contrast_schema.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    record, arms = _read_arms(store, job)
    return contrast_table(arms, record.dataset.test_size, record.baseline, _chosen(margin, record))


def read_effects(store: StorePath, job: str) -> pa.Table:
    """Average the effect of each axis of a job, and of each pair of axes, over the other axes.

    Args:
        store: The store's folder.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        One row per effect, in the schema jobs.report.effects.EFFECTS.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    record, arms = _read_arms(store, job)
    return effect_table(arms, record.dataset.test_size, record.baseline)


def judge_job(
    store: StorePath, job: str, axis: str | None = None, level: str | None = None, margin: float | None = None
) -> Verdict:
    """Judge what one axis of a job does to the test accuracy; ask as often as you like while seeds are added.

    Args:
        store: The store's folder.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.
        axis: The setting to judge; by default the only one that varies.
        level: The value of the setting to judge, as in the grid, where it has more than two and they are no numbers.
        margin: The difference in test accuracy, a fraction, below which two levels count as equally good; by default
            that of the job's grid.

    Returns:
        The verdict, with the mean difference and the interval that holds however often one looks.

    Raises:
        InputError: There is no such job, or the axis does not vary in it, or has to be chosen.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    record, arms = _read_arms(store, job)
    return judge(arms, axis, record.dataset.test_size, level, _chosen(margin, record), record.baseline)


def _chosen(margin: float | None, record: JobRecord) -> float | None:
    return record.margin if margin is None else margin


def _read_arms(store: StorePath, job: str) -> tuple[JobRecord, Arms]:
    """Read what a job asked for, and its configurations with their accuracies."""
    found, requested, rows = read_job(store, job, ARM_COLUMNS)
    return found.record, read_arms(rows, requested)
