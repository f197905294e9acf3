"""The flat tables against the trained results they were made from."""

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.tiny_study import DIVERGING, part_rows, tiny_trial

from jobs.report.tables import (
    CONFUSION_COLUMNS,
    METRICS_COLUMNS,
    TRIALS_COLUMNS,
    confusion_table,
    metrics_table,
    trials_table,
)
from jobs.store.schemas import CONFUSION, METRICS, PART, TRIALS
from mnist_core.data.datasets import Dataset
from mnist_core.training import TrialResult, train
from mnist_core.trial import Trial, trial_id

# A diverged trial in the middle: it has one epoch and no confusion matrix.
STUDY = (
    tiny_trial(0, epochs=3),
    tiny_trial(1, DIVERGING, epochs=3),
    tiny_trial(2, epochs=3, adaptive_lr=True, lr_decay=0.5),
)


@pytest.fixture(scope="module")
def parts(tiny: Dataset, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    return part_rows(tiny, tmp_path_factory.mktemp("tables"), *STUDY)


def result_of(trial: Trial, dataset: Dataset) -> TrialResult:
    *_, result = train([trial], dataset)
    assert isinstance(result, TrialResult)
    return result


def test_the_tables_have_exactly_the_columns_that_analysts_build_on(parts: pa.Table) -> None:
    assert trials_table(parts).schema.equals(TRIALS)
    assert metrics_table(parts).schema.equals(METRICS)
    assert confusion_table(parts).schema.equals(CONFUSION)


def test_a_trial_is_one_row_with_its_settings_and_its_figures_after_the_last_epoch(
    parts: pa.Table, tiny: Dataset
) -> None:
    for row, trial in zip(trials_table(parts).to_pylist(), STUDY, strict=True):
        result = result_of(trial, tiny)
        assert vars(trial).items() <= row.items()
        assert row["trial_id"] == trial_id(trial, tiny.fingerprint)
        assert (row["status"], row["epochs_run"]) == (result.status, len(result.epochs))
        assert (row["test_accuracy"], row["test_loss"]) == (result.test_accuracy, result.test_loss)
        last = result.epochs[-1]
        assert (row["train_accuracy"], row["validation_accuracy"]) == (last.train_accuracy, last.validation_accuracy)


def test_a_diverged_trial_has_no_figures_on_the_test_set(parts: pa.Table) -> None:
    row = trials_table(parts).to_pylist()[1]
    assert (row["status"], row["epochs_run"], row["test_accuracy"], row["test_loss"]) == ("diverged", 1, None, None)


def test_metrics_have_one_row_per_trial_and_epoch(parts: pa.Table, tiny: Dataset) -> None:
    rows = metrics_table(parts).to_pylist()
    identities = parts["trial_id"].to_pylist()
    epochs = [(identities[0], 1), (identities[0], 2), (identities[0], 3), (identities[1], 1)]
    epochs += [(identities[2], 1), (identities[2], 2), (identities[2], 3)]
    assert [(row["trial_id"], row["epoch"]) for row in rows] == epochs
    assert [row["learning_rate"] for row in rows[4:]] == [0.01, 0.005, 0.0025]
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


@pytest.mark.parametrize("row", range(len(STUDY)))
def test_the_tables_of_some_rows_are_the_rows_of_the_tables(parts: pa.Table, row: int) -> None:
    of_one = pc.field("trial_id") == parts["trial_id"][row]
    for flatten in (trials_table, metrics_table, confusion_table):
        whole, one = flatten(parts), flatten(parts.slice(row, 1))
        assert one.select(_finite(one)).equals(whole.filter(of_one).select(_finite(one)))


def _finite(table: pa.Table) -> list[str]:
    return [name for name in table.column_names if not name.endswith("loss")]  # NaN differs from itself


def test_how_the_rows_are_split_does_not_show(parts: pa.Table) -> None:
    split = pa.concat_tables([parts.slice(0, 1), parts.slice(1, 0), parts.slice(1)])
    for flatten in (trials_table, metrics_table, confusion_table):
        assert str(flatten(split).to_pylist()) == str(flatten(parts).to_pylist())


def test_each_table_needs_no_more_than_its_columns(parts: pa.Table) -> None:
    columns = {trials_table: TRIALS_COLUMNS, metrics_table: METRICS_COLUMNS, confusion_table: CONFUSION_COLUMNS}
    for flatten, names in columns.items():
        assert str(flatten(parts.select(names)).to_pylist()) == str(flatten(parts).to_pylist())
    assert not {"epochs", "confusion"} & set(TRIALS_COLUMNS)


def test_no_trials_give_tables_without_rows() -> None:
    assert trials_table(PART.empty_table()).equals(TRIALS.empty_table())
    assert metrics_table(PART.empty_table()).equals(METRICS.empty_table())
    assert confusion_table(PART.empty_table()).equals(CONFUSION.empty_table())
