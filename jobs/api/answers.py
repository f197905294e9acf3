"""Read what a job's figures show: contrasts, effects, and the verdict on one axis."""

from collections.abc import Collection, Mapping

import pyarrow as pa

from jobs.api.reading import StorePath, read_job
from jobs.errors import InputError
from jobs.report import (
    ARM_COLUMNS,
    RESULT_COLUMNS,
    Arms,
    JobComparison,
    Verdict,
    compare_arms,
    contrast_table,
    count_collapsed,
    count_equal,
    effect_table,
    judge,
    judge_change,
    rank,
    read_arms,
)
from jobs.store import SETTINGS, JobRecord

Key = tuple[object, ...]  # the settings of a trial, the seed included


def read_contrasts(store: StorePath, job: str, margin: float | None = None) -> pa.Table:
    """Compare all configurations of a job that differ in one setting only, seed by seed.

    Args:
        store: The store's folder, or its URL.
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
    return contrast_table(arms, record.dataset.test_size, record.baseline, _chosen(margin, record), record.until)


def read_effects(store: StorePath, job: str) -> pa.Table:
    """Average the effect of each axis of a job, and of each pair of axes, over the other axes.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        One row per effect, in the schema jobs.report.effects.EFFECTS.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    record, arms = _read_arms(store, job)
    return effect_table(arms, record.dataset.test_size, record.baseline, record.until)


def judge_job(
    store: StorePath, job: str, axis: str | None = None, level: str | None = None, margin: float | None = None
) -> Verdict:
    """Judge what one axis of a job does to the test accuracy; ask as often as you like while seeds are added.

    Args:
        store: The store's folder, or its URL.
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
    found, requested, rows = read_job(store, job, (*ARM_COLUMNS, "collapsed"))
    arms, collapsed, record = read_arms(rows, requested), count_collapsed(rows, requested), found.record
    return judge(arms, axis, record.dataset.test_size, level, _chosen(margin, record), record.baseline, collapsed)


def rank_job(store: StorePath, job: str) -> pa.Table:
    """Rank the configurations of a job by validation accuracy; the test set has no part in the choice.

    Args:
        store: The store's folder, or its URL.
        job: The job's id, a name, which means its latest job, or the path of its folder, which also names the store.

    Returns:
        One row per configuration with a finished trial, in the schema jobs.report.ranking.RANKING, the best first.
        `is_tied` marks those that cannot be told from it.

    Raises:
        InputError: There is no such job.
        StoreError: The store cannot be read, or the job's record is damaged.
    """
    found, requested, rows = read_job(store, job, (*ARM_COLUMNS, "validation_accuracy", "collapsed"))
    validation = read_arms(rows, requested, "validation_accuracy")
    collapsed = count_collapsed(rows, requested)
    return rank(validation, read_arms(rows, requested), found.dataset.validation_size, collapsed, found.record.until)


def compare_jobs(store: StorePath, first: str, second: str, gate: float = 0.0) -> JobComparison:
    """Compare two jobs: trial by trial to the bit, and where that fails, by a paired test over their common seeds.

    Args:
        store: The store's folder, or its URL.
        first: The job to compare with: its id, a name, or the path of its folder, which also names the store.
        second: The job that may have become worse.
        gate: The loss of test accuracy, a fraction, that is accepted.

    Returns:
        What changed: `outcome` is equal, no worse, worse or open. Where the seeds of a job end by a rule, `method` is
        anytime: tests and intervals hold however often one has looked.

    Raises:
        InputError: There is no such job, the jobs' datasets differ, or no trial of one has the settings and the seed
            of a trial of the other.
        StoreError: The store cannot be read, or a job's record is damaged.
    """
    columns = ("trial_id", *RESULT_COLUMNS, "epochs")
    jobs = [read_job(store, job, columns) for job in (first, second)]
    datasets = {record.dataset.fingerprint: record.dataset.name for record, _, _ in jobs}
    if len(datasets) > 1:
        raise InputError(f"{first} and {second}: their datasets differ ({', '.join(datasets.values())})")
    test_images = jobs[0][0].dataset.test_size
    rows = [_by_settings(requested, table) for _, requested, table in jobs]
    common = [key for key in rows[0] if key in rows[1]]
    if not common:
        raise InputError(f"{first} and {second}: have no stored trial in common{_disjoint_settings(*rows)}")
    aligned = (table.take([own[key] for key in common]) for own, (_, _, table) in zip(rows, jobs, strict=True))
    equal = count_equal(*aligned)
    before, after = (read_arms(table, requested) for _, requested, table in jobs)
    first_look = min((job.record.until.at_least for job, _, _ in jobs if job.record.until), default=None)
    changes, by_seed = compare_arms(before, after, test_images, first_look)
    outcome, figures = judge_change(changes, by_seed, test_images, gate, first_look)
    return JobComparison(
        outcome="equal" if equal == len(common) else outcome,
        trials=len(common),
        equal=equal,
        only_first=len(rows[0]) - len(common),
        only_second=len(rows[1]) - len(common),
        **figures,
        changes=tuple(changes),
    )


def _disjoint_settings(first: Mapping[Key, int], second: Mapping[Key, int]) -> str:
    """Name the settings of which two jobs have no value in common."""
    columns = [[set(values) for values in zip(*rows, strict=True)] for rows in (first, second)]
    pairs = zip((field.name for field in SETTINGS), *columns, strict=True) if all(columns) else ()
    differing = [f"{name} {_listed(one)} against {_listed(other)}" for name, one, other in pairs if not one & other]
    return "".join(f"; {each}" for each in differing)


def _listed(values: Collection[object]) -> str:
    return ", ".join(sorted(map(str, values)))


def _by_settings(requested: pa.Table, rows: pa.Table) -> dict[Key, int]:
    """Return the index of each stored row by its settings, the seed included."""
    keys = zip(*(requested[field.name].to_pylist() for field in SETTINGS), strict=True)
    settings = dict(zip(requested["trial_id"].to_pylist(), keys, strict=True))
    return {settings[trial_id]: index for index, trial_id in enumerate(rows["trial_id"].to_pylist())}


def _chosen(margin: float | None, record: JobRecord) -> float | None:
    return record.margin if margin is None else margin


def _read_arms(store: StorePath, job: str) -> tuple[JobRecord, Arms]:
    """Read what a job asked for, and its configurations with their accuracies."""
    found, requested, rows = read_job(store, job, (*ARM_COLUMNS, "collapsed"))
    return found.record, read_arms(rows, requested)
