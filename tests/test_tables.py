"""The flat tables against the trained results they were made from."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.job_records import failure_of, job_of
from support.tiny_study import DIVERGING, part_rows, tiny_trial

from jobs.report.tables import (
    CONFUSION_COLUMNS,
    METRICS_COLUMNS,
    PREDICTIONS_COLUMNS,
    TRIALS_COLUMNS,
    confusion_table,
    identify,
    metrics_table,
    predictions_table,
    trials_table,
)
from jobs.run.task import has_collapsed
from jobs.store.job_models import Job, JobState
from jobs.store.requested import requested_table
from jobs.store.schemas import CONFUSION, METRICS, PART, PREDICTIONS, REQUESTED, TRIALS
from mnist_core.data.datasets import Dataset
from mnist_core.training import TrialResult, train
from mnist_core.trial import Trial, configuration_id, trial_id

# A diverged trial in the middle: it has one epoch and no confusion matrix.
STUDY = (
    tiny_trial(0, epochs=3),
    tiny_trial(1, DIVERGING, epochs=3),
    tiny_trial(2, epochs=3, adaptive_lr=True, lr_decay=0.5),
)


FINISHED = job_of(JobState.finished)
FLAT = {
    metrics_table: (METRICS, METRICS_COLUMNS),
    confusion_table: (CONFUSION, CONFUSION_COLUMNS),
    predictions_table: (PREDICTIONS, PREDICTIONS_COLUMNS),
}


@pytest.fixture(scope="module")
def requested(tiny: Dataset) -> pa.Table:
    return requested_table({trial_id(trial, tiny.fingerprint): trial for trial in STUDY}, tiny.fingerprint)


@pytest.fixture(scope="module")
def parts(tiny: Dataset, requested: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return identify(part_rows(tiny, tmp_path_factory.mktemp("tables"), *STUDY), requested)


def result_of(trial: Trial, dataset: Dataset) -> TrialResult:
    *_, result = train([trial], dataset)
    assert isinstance(result, TrialResult)
    return result


def test_the_tables_have_exactly_the_columns_that_analysts_build_on(parts: pa.Table, requested: pa.Table) -> None:
    assert trials_table(parts, requested, FINISHED).schema.equals(TRIALS)
    for flatten, (schema, _) in FLAT.items():
        assert flatten(parts).schema.equals(schema)


def test_every_table_has_the_configuration_and_all_settings(
    parts: pa.Table, requested: pa.Table, tiny: Dataset
) -> None:
    tables = [trials_table(parts, requested, FINISHED), *(flatten(parts) for flatten in FLAT)]
    known = {trial_id(trial, tiny.fingerprint): trial for trial in STUDY}
    for table in tables:
        for row in table.select(REQUESTED.names).to_pylist():
            trial = known[row.pop("trial_id")]
            assert row.pop("configuration_id") == configuration_id(trial, tiny.fingerprint)
            assert row == vars(trial)


def test_a_trial_is_one_row_with_its_settings_and_its_figures_after_the_last_epoch(
    parts: pa.Table, requested: pa.Table, tiny: Dataset
) -> None:
    for row, trial in zip(trials_table(parts, requested, FINISHED).to_pylist(), STUDY, strict=True):
        result = result_of(trial, tiny)
        assert vars(trial).items() <= row.items()
        assert row["trial_id"] == trial_id(trial, tiny.fingerprint)
        assert (row["status"], row["epochs_run"]) == (result.status, len(result.epochs))
        assert (row["test_accuracy"], row["test_loss"]) == (result.test_accuracy, result.test_loss)
        last = result.epochs[-1]
        assert (row["train_accuracy"], row["validation_accuracy"]) == (last.train_accuracy, last.validation_accuracy)


def test_a_diverged_trial_has_no_figures_on_the_test_set(parts: pa.Table, requested: pa.Table) -> None:
    row = trials_table(parts, requested, FINISHED).to_pylist()[1]
    assert (row["status"], row["epochs_run"], row["test_accuracy"], row["test_loss"]) == ("diverged", 1, None, None)
    assert row["collapsed"] is None


def job_with_failures(*trial_ids: str) -> Job:
    return job_of(JobState.failed, tuple(failure_of(identity) for identity in trial_ids))


def test_a_failed_trial_has_a_row_of_nulls_in_its_place(parts: pa.Table, requested: pa.Table) -> None:
    first, second, third = requested["trial_id"].to_pylist()
    table = trials_table(parts.slice(1), requested, job_with_failures(first))
    assert table.schema.equals(TRIALS)
    assert table["trial_id"].to_pylist() == [first, second, third]
    row = table.to_pylist()[0]
    known = {name for name, value in row.items() if value is not None}
    used = {name for name, value in vars(STUDY[0]).items() if value is not None}
    assert known == used | {"trial_id", "configuration_id", "status", "dataset", "dataset_fingerprint", "attempt"}
    assert (row["status"], row["dataset"], row["attempt"]) == ("failed", "mnist", 1)
    assert vars(STUDY[0]).items() <= row.items()


def test_a_failed_trial_that_a_later_job_trained_has_finished(parts: pa.Table, requested: pa.Table) -> None:
    failed = job_with_failures(requested["trial_id"][0].as_py())
    assert str(trials_table(parts, requested, failed)) == str(trials_table(parts, requested, FINISHED))


def test_trials_that_all_failed_have_rows_too(requested: pa.Table) -> None:
    ids = requested["trial_id"].to_pylist()
    nothing = identify(PART.empty_table(), requested)
    assert trials_table(nothing, requested, job_with_failures(*ids))["status"].to_pylist() == ["failed"] * 3


def test_metrics_have_one_row_per_trial_and_epoch(parts: pa.Table, tiny: Dataset) -> None:
    rows = metrics_table(parts).to_pylist()
    identities = parts["trial_id"].to_pylist()
    epochs = [(identities[0], 1), (identities[0], 2), (identities[0], 3), (identities[1], 1)]
    epochs += [(identities[2], 1), (identities[2], 2), (identities[2], 3)]
    assert [(row["trial_id"], row["epoch"]) for row in rows] == epochs
    assert [row["epoch_learning_rate"] for row in rows[4:]] == [0.01, 0.005, 0.0025]
    assert {row["learning_rate"] for row in rows[4:]} == {0.01}
    assert [row["seed"] for row in rows] == [0, 0, 0, 1, 2, 2, 2]
    trained = [record.validation_loss for record in result_of(STUDY[2], tiny).epochs]
    assert [row["validation_loss"] for row in rows[4:]] == trained


def test_confusion_has_100_rows_for_each_finished_trial(parts: pa.Table, tiny: Dataset) -> None:
    table = confusion_table(parts)
    identities = parts["trial_id"].to_pylist()
    assert table["trial_id"].to_pylist() == [identities[0]] * 100 + [identities[2]] * 100
    matrix = result_of(STUDY[2], tiny).confusion
    assert matrix is not None
    for row in table.slice(100).to_pylist():
        assert row["count"] == matrix[row["actual"], row["predicted"]]


def test_predictions_have_a_row_for_each_test_image_of_a_finished_trial(parts: pa.Table, tiny: Dataset) -> None:
    table = predictions_table(parts)
    finished = [parts["trial_id"][row].as_py() for row in (0, 2)]
    size = len(tiny.test.labels)
    assert table["trial_id"].to_pylist() == [finished[0]] * size + [finished[1]] * size
    assert table["image"].to_pylist() == [*range(size), *range(size)]
    assert table["actual"].to_pylist() == 2 * tiny.test.labels.tolist()
    predicted = result_of(STUDY[2], tiny).predicted
    assert predicted is not None
    assert table["predicted"].to_pylist()[size:] == predicted.tolist()


def test_the_confusion_matrix_counts_the_predictions(parts: pa.Table) -> None:
    keys = ["trial_id", "actual", "predicted"]
    counted = Counter(zip(*(predictions_table(parts)[name].to_pylist() for name in keys), strict=True))
    cells = confusion_table(parts)
    found = zip(*(cells[name].to_pylist() for name in keys), strict=True)
    assert cells["count"].to_pylist() == [counted[cell] for cell in found]
    assert counted.total() == sum(cells["count"].to_pylist())


def test_a_network_has_collapsed_from_95_percent_of_one_digit_on() -> None:
    assert has_collapsed(np.array([3] * 95 + [1] * 5, np.uint8))
    assert not has_collapsed(np.array([3] * 94 + [1] * 6, np.uint8))
    assert not has_collapsed(np.arange(10, dtype=np.uint8))


@pytest.mark.parametrize("row", range(len(STUDY)))
def test_the_tables_of_some_rows_are_the_rows_of_the_tables(parts: pa.Table, row: int) -> None:
    of_one = pc.field("trial_id") == parts["trial_id"][row]
    for flatten in FLAT:
        whole, one = flatten(parts), flatten(parts.slice(row, 1))
        assert one.select(_finite(one)).equals(whole.filter(of_one).select(_finite(one)))


def _finite(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if not name.endswith("loss")]  # NaN differs from itself


def test_how_the_rows_are_split_does_not_show(parts: pa.Table) -> None:
    split = pa.concat_tables([parts.slice(0, 1), parts.slice(1, 0), parts.slice(1)])
    for flatten in FLAT:
        assert str(flatten(split).to_pylist()) == str(flatten(parts).to_pylist())


def test_each_table_needs_no_more_than_its_columns(parts: pa.Table, requested: pa.Table) -> None:
    for flatten, (_, names) in FLAT.items():
        rows = identify(parts.select(names), requested)
        assert str(flatten(rows).to_pylist()) == str(flatten(parts).to_pylist())
    rows = identify(parts.select(TRIALS_COLUMNS), requested)
    assert str(trials_table(rows, requested, FINISHED)) == str(trials_table(parts, requested, FINISHED))
    assert not {"epochs", "confusion", "actual", "predicted"} & set(TRIALS_COLUMNS)


def test_no_trials_give_tables_without_rows(requested: pa.Table) -> None:
    nothing = identify(PART.empty_table(), requested)
    assert trials_table(nothing, requested, FINISHED).equals(TRIALS.empty_table())
    for flatten, (schema, _) in FLAT.items():
        assert flatten(nothing).equals(schema.empty_table())
