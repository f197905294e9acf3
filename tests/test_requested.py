"""requested.parquet: what a job asked for, in the grid's order, checked against the job's record."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.tiny_study import tiny_trial

from jobs.errors import StoreError
from jobs.store.job_models import Job
from jobs.store.job_record import create_job, job_folder
from jobs.store.layout import Store
from jobs.store.requested import read_requested, requested_table
from jobs.store.schemas import REQUESTED
from mnist_core.data.datasets import NAMED_DATASETS
from mnist_core.trial import SETTINGS, Trial, configuration_id, trial_id

MNIST = NAMED_DATASETS["mnist"]
TRIALS = {
    trial_id(trial, MNIST.fingerprint): trial
    for trial in [tiny_trial(seed, model=model) for model in ("mlp", "cnn") for seed in (3, 0)]
}


@pytest.fixture
def job(tmp_path: Path) -> tuple[Store, Job]:
    store = Store(tmp_path / "results")
    requested = requested_table(TRIALS, MNIST.fingerprint)
    return store, create_job(store, "study", requested, grid="", dataset=MNIST)


def test_a_row_has_the_ids_and_every_setting_of_a_trial() -> None:
    table = requested_table(TRIALS, MNIST.fingerprint)
    assert table.schema.equals(REQUESTED)
    for row, (identity, trial) in zip(table.to_pylist(), TRIALS.items(), strict=True):
        assert row["trial_id"] == identity
        assert row["configuration_id"] == configuration_id(trial, MNIST.fingerprint)
        assert Trial(**{name: row[name] for name in SETTINGS}) == trial


def test_the_seeds_of_a_configuration_share_its_id() -> None:
    ids = requested_table(TRIALS, MNIST.fingerprint)["configuration_id"].to_pylist()
    assert ids[0] == ids[1] != ids[2] == ids[3]


def test_it_is_written_with_the_job_and_read_back(job: tuple[Store, Job]) -> None:
    store, made = job
    assert read_requested(*job).equals(requested_table(TRIALS, MNIST.fingerprint))
    assert made.trial_count == 4
    assert pq.read_table(job_folder(store, made.job_id) / "requested.parquet").schema.equals(REQUESTED)


def test_a_missing_or_changed_file_is_refused(job: tuple[Store, Job]) -> None:
    path = job_folder(job[0], job[1].job_id) / "requested.parquet"
    path.write_bytes(path.read_bytes()[:-1] + b"\0")
    with pytest.raises(StoreError, match=f"^{path}: is damaged: .*; restore it$"):
        read_requested(*job)
    path.unlink()
    with pytest.raises(StoreError, match=f"^{path}: is missing; restore it$"):
        read_requested(*job)


def test_a_table_with_other_columns_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    requested = requested_table(TRIALS, MNIST.fingerprint).drop_columns(["momentum"])
    job = create_job(store, "study", requested, grid="", dataset=MNIST)
    with pytest.raises(StoreError, match="has columns of another version of mnistjobs"):
        read_requested(store, job)
