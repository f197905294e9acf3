"""Trials whose weights were lost count as missing: the next submission trains them again."""

import os
import time
from pathlib import Path

import pytest
from support.command_line import run, said
from support.job_records import trial_ids
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.store.compaction import compact
from jobs.store.job_models import Job
from jobs.store.layout import Store
from jobs.store.parts import read_parts
from jobs.store.quarantine import GROWING_S
from jobs.store.weights import read_weights

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Job]:
    """A working directory with a grid of two trials and their store."""
    monkeypatch.chdir(tmp_path)
    return submit_tiny(tmp_path)


def readable(store: Store, ids: list[str]) -> list[bool]:
    rows = read_parts(store, ids).table
    pairs = zip(rows["trial_id"].to_pylist(), rows["weights_sha256"].to_pylist(), strict=True)
    return [read_weights(store, identity, sha256) is not None for identity, sha256 in pairs]


def test_lost_weights_are_trained_again(study: tuple[Store, Job]) -> None:
    store, job = study
    ids = trial_ids(store, job)
    (path,) = store.weights.iterdir()
    content = path.read_bytes()
    path.unlink()
    plan = mnistjobs.plan_grid("tiny.yaml")
    assert (plan.stored, plan.stale) == (frozenset(), dict.fromkeys(ids, "its weights are lost"))
    outcome = run("verify", "tiny")
    assert outcome.err.count(": its weights are missing\n") == 2
    assert "`mnistjobs submit GRID` trains trials again that are missing" in outcome.err
    assert "2 of them stale (its weights are lost: 2)" in said("submit", "tiny.yaml", "--in-process")
    assert path.read_bytes() == content  # the same trials in one pack give the same file
    assert run("verify", "tiny").code == 0


def test_the_row_whose_weights_are_stored_counts(study: tuple[Store, Job]) -> None:
    store, job = study
    first, second = trial_ids(store, job)
    before = read_parts(store, [first, second]).table
    (path,) = store.weights.iterdir()
    path.unlink()
    grid = Path("tiny.yaml")
    grid.write_text(grid.read_text().replace("seed: [0, 1]", "seed: [0]"))
    mnistjobs.submit_grid(grid, in_process=True)  # its pack is another one, and so is its file
    assert readable(store, [first, second]) == [True, False]
    assert read_parts(store, [first, second]).table["test_accuracy"] == before["test_accuracy"]
    assert len(compact(store).merged) == 2
    assert readable(store, [first, second]) == [True, False]


def test_damaged_weights_are_moved_by_verify_and_trained_again(study: tuple[Store, Job]) -> None:
    store, _ = study
    (path,) = store.weights.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert mnistjobs.plan_grid("tiny.yaml").missing == ()  # hashing all weights would take longer than training
    old_s = time.time() - 2 * GROWING_S
    os.utime(path, (old_s, old_s))
    outcome = run("verify", "tiny")
    assert outcome.err.count(f"its weights are damaged; the file has been moved to {store.quarantine / path.name}") == 2
    assert "is a damaged file of weights that is not used" in outcome.err
    assert len(mnistjobs.plan_grid("tiny.yaml").missing) == 2
    said("submit", "tiny.yaml", "--in-process")
    assert run("verify", "tiny").code == 0


def test_a_folder_or_a_dangling_link_is_no_file_of_weights(study: tuple[Store, Job]) -> None:
    store, _ = study
    (path,) = store.weights.iterdir()
    path.unlink()
    path.symlink_to("nowhere")
    assert len(mnistjobs.plan_grid("tiny.yaml").missing) == 2
    path.unlink()
    path.mkdir()
    assert len(mnistjobs.plan_grid("tiny.yaml").missing) == 2
