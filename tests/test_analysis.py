"""docs/analysis.md: each of its lines runs as it is written, on a folder or a bucket, and all of them agree."""

import ast
import re
from pathlib import Path
from typing import Any

import duckdb
import obstore.fsspec
import pandas
import polars
import pyarrow as pa
import pytest
from support.s3_servers import BUCKET, S3Server
from support.tiny_study import submit_tiny

import mnistjobs

PAGE = (Path(__file__).parent.parent / "docs" / "analysis.md").read_text(encoding="utf-8")
FENCES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
EXAMPLES = [fence for fence in FENCES if "figures" not in fence]
NAMES = {"duckdb": duckdb, "obstore": obstore, "pandas": pandas, "polars": polars, "mnistjobs": mnistjobs}


@pytest.fixture(scope="module")
def expected(moto_server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, dict[str, float]]:
    """A study in the folder `results` whose tables are in a bucket, too; its job, and what there is to find."""
    folder = tmp_path_factory.mktemp("analysis")
    store, job = submit_tiny(folder, subset_size="[20, 30]")
    mnistjobs.report_job(store.root, job.job_id)
    with pytest.MonkeyPatch.context() as patch:
        moto_server.use(patch)
        backend = mnistjobs_store(folder)
        for path in (store.root / "jobs" / job.job_id).glob("*.parquet"):
            backend.put(f"jobs/{job.job_id}/{path.name}", path.read_bytes())
    rows = mnistjobs.read_summary(store.root, job.job_id).to_pylist()
    return folder, job.job_id, {row["configuration_id"]: row["test_accuracy_mean"] for row in rows}


def mnistjobs_store(folder: Path) -> Any:  # noqa: ANN401
    from jobs.store import open_store

    return open_store(f"s3://{BUCKET}/{folder.name}").backend


def accuracies(found: Any) -> dict[str, float]:  # noqa: ANN401
    """Take what a line gives, whichever library it comes from, as means by configuration."""
    if isinstance(found, pandas.Series):
        return {str(name): float(value) for name, value in found.items()}
    if isinstance(found, pa.Table):
        return dict(zip(found["configuration_id"].to_pylist(), found["test_accuracy_mean"].to_pylist(), strict=True))
    return dict(found.rows() if isinstance(found, polars.DataFrame) else found.fetchall())


@pytest.mark.parametrize(
    "example", EXAMPLES, ids=[example.partition("(")[0] + str(i) for i, example in enumerate(EXAMPLES)]
)
def test_a_line_of_the_page_gives_the_means(
    example: str, expected: tuple[Path, str, dict[str, float]], moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, job_id, means = expected
    monkeypatch.chdir(folder)
    moto_server.use(monkeypatch)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")  # the test's server has no certificate
    page = ast.parse(example.replace("<job>", job_id).replace("<bucket>", f"{BUCKET}/{folder.name}"))
    last = page.body.pop()
    assert isinstance(last, ast.Expr)
    exec(compile(page, "the page", "exec"), dict(NAMES))  # noqa: S102
    found = accuracies(eval(compile(ast.Expression(last.value), "the page", "eval"), dict(NAMES)))
    assert found == pytest.approx(means)


def test_the_page_has_a_line_for_every_reader_and_kind_of_store() -> None:
    for place in ("results/jobs", "s3://<bucket>/jobs"):
        for reader in ("duckdb", "polars", "pandas"):
            assert any(reader in example and place in example for example in EXAMPLES)
