"""Job records and texts that somebody else wrote: shown inert or refused with a message."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command_line import Outcome, run
from support.hostile_parts import with_column
from support.job_records import failure_of, put_end, put_record, trial_ids
from support.tiny_study import submit_tiny

from jobs.store.job_models import Job, JobEnd, JobRecord, JobState
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.parts import read_parts, write_part
from jobs.store.schemas import PART

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@dataclass(frozen=True)
class Study:
    """A store with one finished job, the rows of a trial of it, and its grid."""

    store: Store
    job: Job
    rows: pa.Table
    grid: Path


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Job]:
    return submit_tiny(tmp_path_factory.mktemp("submitted"), seed="[0]")


@pytest.fixture
def study(submitted: tuple[Store, Job], tmp_path: Path) -> Study:
    store, job = submitted
    shutil.copytree(store.root.parent, tmp_path, dirs_exist_ok=True)
    store = Store(tmp_path / "results")
    return Study(store, job, read_parts(store, trial_ids(store, job)).table, tmp_path / "tiny.yaml")


# Jobs

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
KEYS = [*JobRecord.model_fields, *JobEnd.model_fields]
WRONG: dict[str, list[Any]] = {
    "name": [None, 3, ["a"], {"a": 1}, "../../etc", "a" * 100_000],
    "submitted_at": [None, 3, "", "yesterday", "\u202e"],
    "dataset": [None, {}, {"name": "mnist"}, {"name": [], "train_size": "x"}, {"a": {"b": {"c": 1}}}],
    "provenance": [None, [], "host", {"host": {"a": [1]}}, {"\x1b": "<script>"}],
    "grid": [None, "", "[" * 10_000, "a: &a [*a]", "name: ..", "\x00"],
    "options": [None, [], {"workers": [1]}],
    "driver": [None, {}, {"pid": 1}, "me"],
    "trial_count": [None, "many", -1, 10**30],
    "stored_count": [None, "many", -1],
    "requested_sha256": [None, 3, "../../../etc/passwd"],
    "state": [None, 3, "", "\x1b[2J", "a" * 100_000],
    "finished_at": [None, 3, {"a": 1}],
    "failures": [None, [None], ["a"], [{}], [{"trial_id": 3, "message": None, "traceback": 5}], {"a": 1}],
    "retries": [None, ["a"], [{"trial_ids": "abc"}]],
}


def put(study: Study, values: dict[str, Any]) -> None:
    """Put values into the job's two records, each where it belongs."""
    put_record(study.store, study.job, **{key: value for key, value in values.items() if key in JobRecord.model_fields})
    put_end(study.store, study.job, **{key: value for key, value in values.items() if key in JobEnd.model_fields})


def shown(study: Study, *commands: str) -> Iterator[Outcome]:
    """Run commands on the study's job; anything but a message for the user is raised."""
    for command in commands:
        words = [] if command == "list" else [study.job.job_id]
        yield run(command, *words, "--store", study.store.root)


@pytest.mark.parametrize(("key", "value"), [(key, value) for key, values in WRONG.items() for value in values])
def test_a_job_with_a_wrong_value_is_shown_or_refused_with_a_message(key: str, value: object, study: Study) -> None:
    put(study, {key: value})
    for outcome in shown(study, "list", "summary"):
        assert outcome.code in (0, 2), outcome
        assert "\x1b" not in outcome.out + outcome.err
        assert "\u202e" not in outcome.out + outcome.err


@given(st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_job_with_any_values_is_shown_or_refused_with_a_message(study: Study, values: dict[str, Any]) -> None:
    put(study, values)
    for outcome in shown(study, "list", "summary"):
        assert outcome.code in (0, 2), outcome


@pytest.mark.parametrize("key", ["failures", "provenance", "dataset", "name", "finished_at"])
def test_a_report_of_a_job_with_wrong_values_is_written_or_refused_with_a_message(key: str, study: Study) -> None:
    for value in WRONG[key][:4]:
        put(study, {key: value})
        for outcome in shown(study, "report"):
            assert outcome.code in (0, 2), outcome


@pytest.mark.parametrize(
    "content", ["[" * 100_000, '{"a":' * 100_000, "1" * 100_000, '"' + "a" * 5_000_000, "1e999999"]
)
def test_a_job_s_file_that_is_no_job_is_named_and_the_list_goes_on(content: str, study: Study) -> None:
    (job_folder(study.store, study.job.job_id) / "job.json").write_text(content)
    listed, summary = shown(study, "list", "summary")
    assert (listed.code, summary.code) == (0, 2)
    assert "damaged" in listed.out
    assert len(summary.err) < 1000


# Strings

STRINGS = {
    "script": "<script>alert(1)</script>",
    "attribute": '"><img src=x onerror=alert(1)>',
    "formula": "=cmd|' /C calc'!A0",
    "escape": "\x1b[2J\x1b]0;owned\x07",
    "right to left": "\u202egpj.exe",
    "long": "x" * 300,
    "lines": "one\r\ntwo\u2028three",
    "template": "{{ 7 * 7 }}{% for x in y %}",
}
COMMAND = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\u2028\u2029]")  # to a terminal
MARKUP = re.compile(r"<script(?!>\"use strict\";\n)|<img src=x")  # but for the page's own script


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS.keys())
def test_text_of_a_hostile_host_or_error_is_inert_wherever_it_is_shown(text: str, study: Study) -> None:
    for part in study.store.parts.iterdir():
        part.unlink()
    rows = study.rows
    for name in ("host", "device", "python_version"):
        rows = with_column(rows, name, pa.array([text]), PART.field(name))
    write_part(study.store, rows)
    put_record(study.store, study.job, provenance={text: text}, name=text)
    failure = failure_of(text, text, text).model_dump()
    put_end(study.store, study.job, state=JobState.failed, failures=[failure])
    said = [outcome.out + outcome.err for outcome in shown(study, "list", "summary", "report")]
    folder = job_folder(study.store, study.job.job_id)
    written = {path.name: path.read_text() for path in folder.iterdir() if path.suffix != ".parquet"}
    del written["job.json"], written["final.json"]
    assert not [one for one in [*said, *written.values()] if COMMAND.search(one)]
    assert not [name for name, one in written.items() if name.endswith((".html", ".svg")) and MARKUP.search(one)]
    assert "report.html" in written
    assert not re.search(r"(^|,)\s*[=@+]", written["summary.csv"], re.MULTILINE)
