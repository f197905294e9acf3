"""Files that somebody else made: every one is refused or read, in bounded memory."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from support.hostile_parts import HOSTILE, encode, put_part, truncations
from support.job_records import trial_ids
from support.part_tables import part_table
from support.tiny_study import submit_tiny

from jobs.store.job_models import Job
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.parts import encode_part, read_parts, stored_ids

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


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Job]:
    return submit_tiny(tmp_path_factory.mktemp("submitted"), seed="[0]")


Read = dict[str, Any]  # what was found, and by how many bytes memory had grown then


def read_beside(store: Store, *moves: tuple[Path, Path]) -> Iterator[Read]:
    """Read a store in a process of its own, with one file after the other moved in; yield what was read each time."""
    words = [sys.executable, "-c", READER, store.root, ADDRESS_SPACE, *chain(*moves)]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=600, check=False)
    yield from map(json.loads, done.stdout.splitlines())
    assert done.returncode == 0, done.stderr[-2000:]


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


@pytest.mark.medium
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_part_is_refused_in_bounded_memory_and_hides_no_other(kind: str, read_with: dict[str, Read]) -> None:
    read = read_with[kind]
    assert {name: read[name] for name in ("ids", "damaged")} == read["expected"]
    assert not read["pickles"]
    assert read["bytes"] < MAX_BYTES


def test_a_part_cut_anywhere_is_refused(submitted: tuple[Store, Job], tmp_path: Path) -> None:
    store = Store(Path(shutil.copytree(submitted[0].root, tmp_path / "results")))
    asked = trial_ids(store, submitted[1])
    cut = [put_part(store.parts, content) for content in truncations(encode(read_parts(store, asked).table))]
    assert stored_ids(store) == set(asked)
    assert set(read_parts(store, asked).damaged) == set(cut)


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


@pytest.mark.medium
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


@pytest.mark.medium
@pytest.mark.parametrize("kind", SPARSE_FILES)
def test_a_file_larger_than_memory_is_refused_without_reading_it(kind: str, read_with_sparse: dict[str, Read]) -> None:
    read = read_with_sparse[kind]
    assert read["ids"] == read["expected"]
    assert read["bytes"] < MAX_BYTES
    assert (read["damaged"] != []) == (kind == "parts")
    assert read["jobs"] == (["damaged"] if kind == "job" else ["finished"])
