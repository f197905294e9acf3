"""One flipped bit anywhere in a store is found out, or changes no answer.

MNISTJOBS_FLIPS sets how many are tried, of each kind of file a quarter.
"""

import os
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from support.job_records import trial_ids
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.errors import StoreError
from jobs.store.checkpoints import read_checkpoint, write_checkpoint
from jobs.store.job_models import Job
from jobs.store.job_record import find_job, read_jobs
from jobs.store.layout import Store
from jobs.store.parts import read_parts
from jobs.store.weights import read_weights
from mnist_core.data.datasets import load_dataset
from mnist_core.training import Snapshot, train

FLIPS = int(os.environ.get("MNISTJOBS_FLIPS", "1000"))
MADE_BY = {"device": "cpu"}


@dataclass(frozen=True)
class Study:
    """A small store with everything in it, and what its readers say before anything is flipped."""

    store: Store
    job: Job
    snapshots: dict[str, Snapshot]  # of trials, whose checkpoints lie in the store


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("flips")
    store, job = submit_tiny(folder, model="[mlp, cnn]")
    trials = mnistjobs.plan_grid(folder / "tiny.yaml", store.root).trials
    snapshots = {}
    for identity, trial in trials.items():
        training = train([trial], load_dataset(folder / "images"))
        next(training)
        (snapshots[identity],) = training.snapshots()
        write_checkpoint(store, identity, snapshots[identity], MADE_BY)
    return Study(store, job, snapshots)


def flips(paths: list[Path], seed: int) -> Iterator[tuple[Path, int]]:
    """Draw files and bits of theirs: a quarter of all flips, spread evenly over the files."""
    rng = random.Random(seed)
    for number in range(FLIPS // 4):
        path = sorted(paths)[number % len(paths)]
        yield path, rng.randrange(8 * path.stat().st_size)


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """Flip one bit of a file, and flip it back."""
    content = path.read_bytes()
    broken = bytearray(content)
    broken[bit // 8] ^= 1 << bit % 8
    path.write_bytes(broken)
    try:
        yield
    finally:
        path.write_bytes(content)


def check(paths: list[Path], seed: int, is_found_or_harmless: Callable[[Path], bool]) -> None:
    """Flip bit after bit, and assert that each is found out or harmless; tell of all that are neither."""
    assert paths
    silent = []
    for path, bit in flips(paths, seed):
        with flipped(path, bit):
            if not is_found_or_harmless(path):
                before = path.read_bytes()[max(0, bit // 8 - 20) : bit // 8 + 20]
                silent.append(f"{path.name}: bit {bit % 8} of byte {bit // 8}, in {before!r}")
    assert not silent, f"{len(silent)} of {FLIPS // 4} flips change an answer and nothing tells, such as {silent[:5]}"


@pytest.mark.medium
def test_a_bit_flipped_in_a_part_is_found_out(study: Study) -> None:
    whole = read_parts(study.store, trial_ids(study.store, study.job))

    def is_found_or_harmless(path: Path) -> bool:
        read = read_parts(study.store, trial_ids(study.store, study.job))
        left = read.table["trial_id"].to_pylist()
        rest = whole.table.filter([each in left for each in whole.table["trial_id"].to_pylist()])
        # What the other parts hold is still there, and the same.
        return read.damaged == (path.name,) and read.table.equals(rest) and len(left) < whole.table.num_rows

    check(list(study.store.parts.iterdir()), 0, is_found_or_harmless)


def test_a_bit_flipped_in_weights_is_found_out(study: Study) -> None:
    rows = read_parts(study.store, trial_ids(study.store, study.job)).table
    hashes = dict(zip(rows["trial_id"].to_pylist(), rows["weights_sha256"].to_pylist(), strict=True))

    def is_found_or_harmless(path: Path) -> bool:
        of_file = [identity for identity, sha256 in hashes.items() if sha256 == path.stem]
        return of_file != [] and all(read_weights(study.store, each, path.stem) is None for each in of_file)

    check(list(study.store.weights.iterdir()), 1, is_found_or_harmless)


def test_a_bit_flipped_in_a_checkpoint_is_found_out_or_harmless(study: Study) -> None:
    def is_found_or_harmless(path: Path) -> bool:
        written = study.snapshots[path.stem]
        read = read_checkpoint(study.store, path.stem, written.trial, MADE_BY)
        return read is None or (
            read.epochs == written.epochs
            and all(np.array_equal(read.weights[name], value) for name, value in written.weights.items())
        )

    check(list((study.store.root / "checkpoints").iterdir()), 2, is_found_or_harmless)


def test_a_bit_flipped_in_a_job_is_found_out_or_harmless(study: Study) -> None:
    def is_found_or_harmless(path: Path) -> bool:
        (listed,) = read_jobs(study.store)
        try:
            found = find_job(study.store, path.parent.name)
        except StoreError:
            return listed.state == "damaged"
        return bool(found == listed == study.job)

    check(list(study.store.jobs.glob("*/*.json")), 3, is_found_or_harmless)
