"""Files that somebody else made: every one is refused or read, in bounded memory, and what it says stays inert."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.command_line import Outcome, run
from support.hostile_parts import HOSTILE, encode, put_part, truncations, with_column
from support.job_records import failure_of, put_end, put_record, trial_ids
from support.part_tables import part_table
from support.tiny_study import submit_tiny

from jobs.store.job_models import Job, JobEnd, JobRecord, JobState
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.parts import encode_part, read_parts, stored_ids, write_part
from jobs.store.schemas import PART

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
MAX_BYTES = 400_000_000  # more than what reading the same store takes without the hostile file
ADDRESS_SPACE = 12 << 30  # for the machine's sake, should a file get through
SPARSE = 64 << 30
# Runs in a process of its own: reads a store without, and then with each of some files moved into it.
READER = """
import json, os, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
from jobs.store.checkpoints import read_checkpoint
from jobs.grid.grid import parse_grid
from jobs.store.job_record import read_jobs
from jobs.store.layout import Store
from jobs.store.parts import read_parts, stored_ids
from jobs.store.weights import read_weights
def read():
    ids = sorted(stored_ids(store))
    parts = read_parts(store, ids)
    for row in parts.table.select(["trial_id", "weights_sha256"]).to_pylist():
        read_weights(store, row["trial_id"], row["weights_sha256"])
        read_checkpoint(store, row["trial_id"], None, {})
    return {"ids": ids, "damaged": parts.damaged, "jobs": [job.state for job in read_jobs(store)]}
def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
store = Store(Path(sys.argv[1]))
read()
before = peak()
for hostile, place in zip(sys.argv[3::2], sys.argv[4::2]):
    os.replace(hostile, place)
    print(json.dumps({**read(), "bytes": peak() - before, "pickles": "ray.data" in sys.modules}), flush=True)
    os.remove(place)
"""


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


Read = dict[str, Any]  # what was found, and by how many bytes memory had grown then


def read_beside(store: Store, *moves: tuple[Path, Path]) -> Iterator[Read]:
    """Read a store in a process of its own, with one file after the other moved in; yield what was read each time."""
    words = [sys.executable, "-c", READER, store.root, ADDRESS_SPACE, *chain(*moves)]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=600, check=False)
    yield from map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0, done.stderr[-2000:]


# Parts


@pytest.fixture(scope="module")
def read_with(submitted: tuple[Store, Job], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Read]:
    """What is read of a store of one trial with each of the hostile parts in it; all in one process, to be quick."""
    folder = tmp_path_factory.mktemp("hostile")
    job = submitted[1]
    store = Store(Path(shutil.copytree(submitted[0].root, folder / "results")))
    rows = read_parts(store, trial_ids(store, job)).table
    names = [put_part(folder / "hostile", HOSTILE[kind](rows)) for kind in HOSTILE]
    read = read_beside(store, *((folder / "hostile" / name, store.parts / name) for name in names))
    expected = ({"ids": trial_ids(store, job), "damaged": [name]} for name in names)
    return {kind: {"expected": each, **one} for kind, each, one in zip(HOSTILE, expected, read, strict=False)}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_part_is_refused_in_bounded_memory_and_hides_no_other(kind: str, read_with: dict[str, Read]) -> None:
    read = read_with[kind]
    assert {name: read[name] for name in ("ids", "damaged")} == read["expected"]
    assert not read["pickles"]
    assert read["bytes"] < MAX_BYTES


def test_a_part_cut_anywhere_is_refused(study: Study) -> None:
    cut = [put_part(study.store.parts, content) for content in truncations(encode(study.rows))]
    assert stored_ids(study.store) == set(trial_ids(study.store, study.job))
    assert set(read_parts(study.store, trial_ids(study.store, study.job)).damaged) == set(cut)


DAMAGES = """
import json, random, resource, sys
import pyarrow as pa
from jobs.store.parts import decode_part, encode_part, foreign_version
from jobs.store.schemas import PART
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[2]), int(sys.argv[2])))
with open(sys.argv[3], "rb") as file:
    whole = file.read()
footer = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
count, draw, refused = int(sys.argv[1]), random.Random(0), 0
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for number in range(count):
    content = bytearray(whole)
    for _ in range(draw.choice([1, 1, 1, 2, 4, 16])):
        place = draw.randrange(footer if number % 2 else 0, len(whole))  # every other one in the footer
        content[place : place + draw.randrange(2)] = bytes([draw.randrange(256)])  # replaced or put in
    refused += decode_part(bytes(content), PART.names if number % 4 < 2 else ["trial_id"]) is None
    foreign_version(bytes(content))
grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
print(json.dumps({"refused": refused, "bytes": grown}))
"""


@pytest.mark.parametrize("count", [2000, pytest.param(100_000, marks=pytest.mark.chaos)])
def test_random_damages_to_a_part_under_its_right_hash_never_end_the_process(count: int, tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(encode_part(part_table(range(3))))
    words = [sys.executable, "-c", DAMAGES, count, ADDRESS_SPACE, tmp_path / "part"]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout)
    assert 0 < found["refused"] < count
    assert found["bytes"] < MAX_BYTES


SPARSE_FILES = ("parts", "weights", "checkpoints", "job")


@pytest.fixture(scope="module")
def read_with_sparse(submitted: tuple[Store, Job], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Read]:
    """What is read of a store of one trial with each of the sparse files in it; all in one process, to be quick."""
    folder = tmp_path_factory.mktemp("sparse")
    job = submitted[1]
    store = Store(Path(shutil.copytree(submitted[0].root, folder / "results")))
    (identity,) = trial_ids(store, job)
    (sha256,) = read_parts(store, [identity]).table["weights_sha256"].to_pylist()
    places = {
        "parts": store.parts / f"{'0' * 64}.parquet",
        "checkpoints": store.checkpoints / f"{identity}.checkpoint",
        # These two replace a file of the store, which is not put back.
        "weights": store.weights / f"{sha256}.safetensors",
        "job": job_folder(store, job.job_id) / "job.json",
    }
    store.checkpoints.mkdir(exist_ok=True)
    for kind in places:
        (folder / kind).touch()
        os.truncate(folder / kind, SPARSE)
    read = read_beside(store, *((folder / kind, place) for kind, place in places.items()))
    return {kind: {"expected": [identity], **one} for kind, one in zip(places, read, strict=False)}


@pytest.mark.parametrize("kind", SPARSE_FILES)
def test_a_file_larger_than_memory_is_refused_without_reading_it(kind: str, read_with_sparse: dict[str, Read]) -> None:
    read = read_with_sparse[kind]
    assert read["ids"] == read["expected"]
    assert read["bytes"] < MAX_BYTES
    assert (read["damaged"] != []) == (kind == "parts")
    assert read["jobs"] == (["damaged"] if kind == "job" else ["finished"])


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
MARKUP = re.compile(r"<script|<img src=x")


@pytest.mark.parametrize("text", STRINGS.values(), ids=STRINGS.keys())
def test_what_a_hostile_host_or_error_says_is_inert_wherever_it_is_shown(text: str, study: Study) -> None:
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
