"""`query`: SQL over a job's tables, on a folder and in a bucket, and nothing else in reach."""

import faulthandler
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
from support.command_line import run, said
from support.s3_servers import BUCKET, S3Server
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.errors import ExtraMissingError, InputError
from jobs.report.sql import run_query
from jobs.store import Store, StoreUrl

TABLE = pa.table({"seed": [0, 1, 2], "model": ["mlp", "mlp", "cnn"], "share": [0.25, 0.5, float("nan")]})
TABLES = {"trials": (TABLE.schema, lambda: TABLE)}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store with a job `tiny` of four trials, which has no report."""
    store, _ = submit_tiny(tmp_path_factory.mktemp("query"), subset_size="[20, 30]")
    return store


def test_each_table_is_the_one_that_its_reader_gives(store: Store) -> None:
    readers = [
        *(mnistjobs.read_trials, mnistjobs.read_metrics, mnistjobs.read_confusion, mnistjobs.read_predictions),
        *(mnistjobs.read_summary, mnistjobs.read_contrasts, mnistjobs.read_effects),
    ]
    for reader in readers:
        name = reader.__name__.removeprefix("read_")
        answer = mnistjobs.query_job(store.root, "tiny", f"from {name}")
        assert answer.to_pylist() == reader(store.root, "tiny").to_pylist()
        assert answer.num_rows > 0
    assert len(mnistjobs.query_job(store.root, "tiny", "from requested")) == 4


def test_a_query_joins_tables_and_prints_the_rows(store: Store) -> None:
    sql = "select seed, max(epoch) as last from trials join metrics using (trial_id, seed) group by seed order by seed"
    words = ("query", "tiny", sql, "--store", store.root)
    assert json.loads(said(*words, "--json")) == [{"seed": 0, "last": 2}, {"seed": 1, "last": 2}]
    assert said(*words, "--format", "csv") == "seed,last\n0,2\n1,2\n"
    assert said(*words).split() == ["seed", "last", "─" * 10, "0", "2", "1", "2"]
    tables = said("query", "tiny", "show tables", "--store", store.root).split()[2:]
    assert tables == ["confusion", "contrasts", "effects", "metrics", "predictions", "requested", "summary", "trials"]


@pytest.mark.medium
def test_a_store_in_a_bucket_is_asked_alike(
    store: Store, moto_server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    moto_server.use(monkeypatch)
    url = f"s3://{BUCKET}/query"
    backend = Store(mnistjobs_url(url)).backend
    for path in store.root.rglob("*"):
        if path.is_file():
            backend.put(str(path.relative_to(store.root)), path.read_bytes())
    sql = "select sum(count) as images from confusion"
    assert mnistjobs.query_job(url, "tiny", sql) == mnistjobs.query_job(store.root, "tiny", sql)


def mnistjobs_url(url: str) -> StoreUrl:
    from jobs.store.backends.url import parse_url

    return parse_url(url)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("selec 1", "syntax error"),
        ("select colour from trials", '"colour" not found'),
        ("select * from jobs", "Table with name jobs does not exist"),
        ("", "holds no statement; allowed: one select statement"),
        ("select 1; select 2", "holds 2 statements"),
        ("drop view trials", "drop changes something; allowed: one select statement"),
        ("copy trials to '/tmp/stolen.csv'", "copy changes something"),
        ("set threads = 1", "set changes something"),
        ("select * from read_text('/etc/hostname')", "disabled by configuration"),
        ("select * from glob('/*')", "disabled by configuration"),
        ("select * from TABLE_OF_THIS_TEST", "does not exist"),
        ("select error('no')", "no"),
        ("select '\udcff'", "is not text in UTF-8; allowed: one select statement"),
    ],
)
def test_a_text_that_is_no_query_ends_in_one_message(sql: str, message: str, store: Store) -> None:
    outcome = run("query", "tiny", sql, "--store", store.root)
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err.startswith("query: ")
    assert message in outcome.err
    assert "Traceback" not in outcome.err


def test_a_query_sees_no_variable_of_the_program() -> None:
    secret = pa.table({"key": [1]})
    with pytest.raises(InputError, match="does not exist"):
        run_query("from secret", TABLES)
    assert secret.num_rows == 1


def test_a_table_named_by_a_text_is_made() -> None:
    assert len(run_query("from query_table('tri' || 'als')", TABLES)) == 3


def test_columns_of_one_name_are_numbered() -> None:
    assert run_query("select seed, seed, 1 as seed_1 from trials", TABLES).column_names == [
        "seed",
        "seed_1",
        "seed_1_1",
    ]


def test_json_has_null_for_nan(store: Store) -> None:
    sql = "select 'nan'::double as a, 1.5::decimal(3, 1) as b, [1] as c, {'d': date '2026-01-02'} as e, null as f"
    (row,) = json.loads(said("query", "tiny", sql, "--json", "--store", store.root))
    assert row == {"a": None, "b": 1.5, "c": [1], "e": {"d": "2026-01-02"}, "f": None}


def test_values_that_python_lacks_are_text_or_refused(store: Store) -> None:
    sql = "select '2026-01-01 00:00:00.123456789'::timestamp_ns as t, {'a': [1]} as s, sum(1) as n, 1234567.5 as x"
    words = ("query", "tiny", sql, "--store", store.root)
    (row,) = json.loads(said(*words, "--json"))
    assert row == {"t": "2026-01-01T00:00:00.123456789", "s": {"a": [1]}, "n": 1, "x": 1234567.5}
    assert said(*words, "--format", "csv") == ('t,s,n,x\n2026-01-01 00:00:00.123456789,"{""a"": [1]}",1,1234567.5\n')
    assert said(*words).split()[-2:] == ["1", "1234567.5"]
    outcome = run("query", "tiny", "select 'infinity'::date as d", "--store", store.root)
    assert outcome.code == 2
    assert outcome.err.startswith(
        "query: d: has dates that cannot be printed, such as infinity; allowed: text, such as d"
    )


def test_no_cell_of_a_wide_table_is_cut(store: Store) -> None:
    sql = "select *, repeat('x', 500) as wide from trials"
    printed = said("query", "tiny", sql, "--store", store.root)
    assert "…" not in printed
    assert "x" * 500 in printed


def test_a_long_answer_is_cut_and_says_how_to_get_all(store: Store) -> None:
    printed = said("query", "tiny", "select unnest(range(1003)) as i", "--store", store.root)
    assert printed.splitlines()[-2:] == ["999", "and 3 more rows; --format csv prints all"]


def test_without_duckdb_the_extra_is_named(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ExtraMissingError):
        run_query("select 1", TABLES)
    outcome = run("query", "tiny", "select 1", "--store", store.root)
    assert outcome.code == 2
    assert outcome.err == (
        "duckdb is not installed; allowed: mnistjobs with the extra 'query', which brings it; "
        "run `pip install 'mnistjobs[query]'`\n"
    )


def test_the_folder_of_a_job_names_it(store: Store, tmp_path: Path) -> None:
    (folder,) = store.jobs.iterdir()
    assert mnistjobs.query_job(tmp_path, str(folder), "select count(*) as n from trials").to_pylist() == [{"n": 4}]


def test_an_interrupt_ends_a_long_query() -> None:
    endless = "select count(*) from range(100000000) a, range(100000) b where a.range * b.range % 7 = 3"
    before = set(threading.enumerate())
    deadline = time.monotonic() + 60.0
    # Once polars is imported, SIGINT has a handler of its own, which keeps some interrupts to itself.
    signal.signal(signal.SIGINT, signal.default_int_handler)

    def interrupt() -> None:
        # Not before the query runs: libraries may drop an interrupt that comes while they are imported.
        while not any("Executor" in each.name for each in set(threading.enumerate()) - before):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    user = threading.Thread(target=interrupt)
    user.start()
    faulthandler.dump_traceback_later(120.0, exit=True)  # nothing else would end the query
    try:
        with pytest.raises(KeyboardInterrupt):
            run_query(endless, TABLES)
    finally:
        faulthandler.cancel_dump_traceback_later()
    user.join()
