"""The readers that analysts have, each in one line: those of the README, and that they see the same values."""

import re
from pathlib import Path
from typing import Any

import duckdb
import pandas
import polars
import pyarrow.parquet as pq
import pytest
from support.tiny_study import submit_tiny

from jobs.report.report import write_report
from jobs.store.job_models import Job
from jobs.store.schemas import METRICS

README = Path(__file__).parent.parent / "README.md"
READERS = {"duckdb": duckdb, "polars": polars, "pandas": pandas}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    """A folder with `results` in it, and the job reported there."""
    folder = tmp_path_factory.mktemp("readers")
    store, job = submit_tiny(folder)
    write_report(store, job)
    return folder, job


def readme_examples() -> list[str]:
    fences: list[str] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return [fence for fence in fences if "metrics.parquet" in fence]


def test_every_example_of_the_readme_that_reads_metrics_runs(
    study: tuple[Path, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job = study
    monkeypatch.chdir(folder)
    for example in readme_examples():
        exec(example.replace("<job>", job.job_id), dict(READERS))  # noqa: S102


@pytest.mark.parametrize("reader", READERS)
def test_the_readme_has_a_line_for_every_reader_and_it_gives_all_rows(
    reader: str, study: tuple[Path, Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job = study
    monkeypatch.chdir(folder)
    lines = [line for example in readme_examples() for line in example.splitlines() if line.startswith(f"{reader}.")]
    assert lines, f"README.md has no line in a python fence that begins with {reader}. and reads metrics.parquet"
    for line in lines:
        assert len(eval(line.replace("<job>", job.job_id), dict(READERS))) == 4


def test_pyarrow_reads_it_in_one_line_too(study: tuple[Path, Job]) -> None:
    folder, job = study
    assert pq.read_table(f"{folder}/results/jobs/{job.job_id}/metrics.parquet").schema.equals(METRICS)


@pytest.mark.parametrize("name", ["trials", "metrics", "confusion", "predictions", "summary"])
def test_every_reader_sees_the_same_table(study: tuple[Path, Job], name: str) -> None:
    folder, job = study
    path = folder / "results" / "jobs" / job.job_id / f"{name}.parquet"
    rows = pq.read_table(path).to_pylist()
    for frame in (duckdb.read_parquet(str(path)).pl(), polars.read_parquet(path)):
        assert [_plain(row) for row in frame.to_dicts()] == [_plain(row) for row in rows]
    assert pandas.read_parquet(path).shape == (len(rows), len(rows[0]))


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.timestamp() if name == "finished_at" else value for name, value in row.items()}


def test_pandas_has_the_columns_in_their_types(study: tuple[Path, Job]) -> None:
    folder, job = study
    frame = pandas.read_parquet(folder / "results" / "jobs" / job.job_id / "metrics.parquet")
    assert list(frame.columns) == METRICS.names
    assert frame["epoch"].tolist() == [1, 2, 1, 2]
    assert frame["epoch_learning_rate"].dtype == "float64"
    assert frame["adaptive_lr"].dtype == "bool"


def test_duckdb_reads_the_nested_parts_without_help(study: tuple[Path, Job]) -> None:
    folder, _ = study
    query = f"select settings.seed, len(epochs), len(confusion) from '{folder}/results/parts/*.parquet' order by 1"
    assert duckdb.execute(query).fetchall() == [(0, 2, 100), (1, 2, 100)]
