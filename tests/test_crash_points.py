"""Every crash at every operation of every protocol leaves a store from which submitting again gives the same tables.

A protocol is a function of a store; a new one is a line in PROTOCOLS.
"""

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from support.crash_points import CrashPoint, Disk, Recording, crash_points, digest, replay, write_disk
from support.file_operations import Recorder, recorded
from support.killed_writers import kill_writers
from support.tiny_study import run_trials, submit_tiny
from support.wall_clock import without_wall_clock

import mnistjobs
from jobs.report.report import write_report
from jobs.store.checkpoints import read_checkpoint, remove_checkpoints, write_checkpoint
from jobs.store.compaction import Sizes, compact
from jobs.store.job_models import Job
from jobs.store.job_record import find_job, job_folder, read_jobs
from jobs.store.layout import Store
from jobs.store.parts import read_parts, stored_ids
from mnist_core.data.datasets import load_dataset
from mnist_core.training import Snapshot, train
from mnist_core.trial import Trial

pytestmark = pytest.mark.usefixtures("figures_drawn_once")

MADE_BY = {"device": "cpu"}


@dataclass(frozen=True)
class Study:
    """A tiny study that ran in peace, to hold others against: its grid, its trials and its tables."""

    grid: Path
    store: Store
    job: Job
    trials: dict[str, Trial]
    tables: bytes


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    store, job = submit_tiny(folder, seed="[0, 1, 2]")
    trials = dict(mnistjobs.plan_grid(folder / "tiny.yaml", store.root).trials)
    return Study(folder / "tiny.yaml", store, job, trials, tables(store))


def tables(store: Store) -> bytes:
    """Encode a study's tables, but for the columns of the wall clock."""
    sink = io.BytesIO()
    for read in (mnistjobs.read_trials, mnistjobs.read_metrics, mnistjobs.read_confusion, mnistjobs.read_summary):
        table = without_wall_clock(read(store.root, "tiny")).combine_chunks()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    return sink.getvalue()


# Protocols


def commit(study: Study, store: Store, recorder: Recorder) -> None:
    dataset = load_dataset(study.grid.parent / "images")
    for trial in list(study.trials.values())[:2]:
        recorder.promise(set(run_trials(store, dataset, trial)))


def whole_job(study: Study, store: Store, recorder: Recorder) -> None:
    mnistjobs.submit_grid(study.grid, store.root, in_process=True)
    recorder.promise({*study.trials, "job tiny"})


def report(study: Study, store: Store, recorder: Recorder) -> None:
    write_report(store, find_job(store, "tiny"))


def compaction(study: Study, store: Store, recorder: Recorder) -> None:
    recorder.promise(set(study.trials))
    assert compact(store, Sizes(row_group=4, file=4)).merged


def checkpoint(study: Study, store: Store, recorder: Recorder) -> None:
    identity, snapshots = snapshots_of(study)
    for snapshot in snapshots:
        write_checkpoint(store, identity, snapshot, MADE_BY)
    remove_checkpoints(store, [identity])


def snapshots_of(study: Study) -> tuple[str, list[Snapshot]]:
    """Train the first trial; return its id and where it stood after each epoch."""
    identity, trial = next(iter(study.trials.items()))
    training = train([trial], load_dataset(study.grid.parent / "images"))
    return identity, [training.snapshots()[0] for _, _ in zip(range(trial.epochs), training, strict=False)]


# What lies in the store before each.


def nothing(study: Study, store: Store) -> None:
    store.root.mkdir(parents=True)


def finished(study: Study, store: Store) -> None:
    shutil.copytree(study.store.root, store.root)


def finished_with_old_report(study: Study, store: Store) -> None:
    finished(study, store)
    folder = job_folder(store, study.job.job_id)
    for name in ("trials.parquet", "metrics.parquet", "summary.csv", "report.html"):
        (folder / name).write_bytes(b"of an earlier report")


def trained_twice(study: Study, store: Store) -> None:
    """Copy the study, and let another driver have trained two of its trials too."""
    finished(study, store)
    dataset = load_dataset(study.grid.parent / "images")
    run_trials(store, dataset, *list(study.trials.values())[:2])


Protocol = Callable[[Study, Store, Recorder], None]
Before = Callable[[Study, Store], None]
PROTOCOLS: Sequence[tuple[Protocol, Before]] = (
    (commit, nothing),
    (whole_job, nothing),
    (report, finished_with_old_report),
    (compaction, trained_twice),
    (checkpoint, finished),
)


@pytest.mark.medium
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("protocol", "before"), PROTOCOLS, ids=lambda each: each.__name__)
def test_every_crash_leaves_a_store_from_which_submitting_again_gives_the_same_tables(
    protocol: Protocol, before: Before, study: Study, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    disk = tmp_path / "disk"
    before(study, Store(disk / "results"))
    with recorded(disk) as recorder:
        protocol(study, Store(disk / "results"), recorder)
    recording = recorder.recording
    points = list(crash_points(recording))
    states = distinct(recording, points)
    for name, value in {"operations": len(recording.operations), "points": len(points), "disks": len(states)}.items():
        record_property(name, value)
    sys.stdout.write(f"{protocol.__name__}: {len(points)} crash points, {len(states)} different disks\n")
    versions = recording.versions()
    for number, (point, crashed) in enumerate(states):
        where = f"crash after {point.count} of {len(recording.operations)} operations, {point.name}"
        half = [path for path in crashed if not path.endswith(".tmp") and crashed[path] not in versions[path]]
        assert not half, where
        root = tmp_path / f"crash-{number}"
        write_disk(root, crashed)
        try:
            check_recovery(study, Store(root / "results"), recording.promised(point.count))
        except BaseException as error:
            error.add_note(f"{where}; kept in {root}")
            raise
        shutil.rmtree(root)


def distinct(recording: Recording, points: Sequence[CrashPoint]) -> list[tuple[CrashPoint, Disk]]:
    """Keep one crash point of those that leave the same disk and have the same promises to keep."""
    found: dict[tuple[str, frozenset[str]], tuple[CrashPoint, Disk]] = {}
    for point in points:
        crashed = replay(recording, point.count, point.faults)
        found.setdefault((digest(crashed), recording.promised(point.count)), (point, crashed))
    return list(found.values())


def check_recovery(study: Study, store: Store, promised: frozenset[str]) -> None:
    """Assert that readers find a legal state, and that submitting again gives the study that ran in peace."""
    asked = list(study.trials)
    found = stored_ids(store)
    parts = read_parts(store, asked)
    assert promised & study.trials.keys() <= found <= study.trials.keys()
    assert set(parts.table["trial_id"].to_pylist()) == found
    assert parts.damaged == ()
    statuses = {job.state for job in read_jobs(store)}
    assert statuses <= {"running", "finished", "lost"}  # lost: a thread of the driver has ended
    if "job tiny" in promised:
        assert find_job(store, "tiny").state == "finished"
    check_checkpoint(study, store)
    rows = parts.table.select(["trial_id", "finished_at"]).to_pylist()
    job = mnistjobs.submit_grid(study.grid, store.root, in_process=True)
    assert (job.state, job.stored_count) == ("finished", len(found))
    assert tables(store) == study.tables
    again = read_parts(store, asked).table.select(["trial_id", "finished_at"]).to_pylist()
    assert [row for row in again if row["trial_id"] in found] == rows


def check_checkpoint(study: Study, store: Store) -> None:
    """Assert that what is read of a checkpoint is one that was written, whole."""
    identity, trial = next(iter(study.trials.items()))
    read = read_checkpoint(store, identity, trial, MADE_BY)
    if read is not None:
        (written,) = [each for each in snapshots_of(study)[1] if len(each.epochs) == len(read.epochs)]
        assert all(np.array_equal(read.weights[name], value) for name, value in written.weights.items())


@pytest.mark.medium
def test_submitting_again_clears_away_leftovers_of_killed_writers(study: Study, tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    folders = [store.root / name for name in ("parts", "weights", "jobs/tiny-20260101-000000-abcd")]
    for folder in folders:
        folder.mkdir(parents=True)
    kill_writers(*(folder / "file" for folder in folders))
    assert len(list(store.root.rglob("*.tmp"))) == 3
    mnistjobs.submit_grid(study.grid, store.root, in_process=True)
    assert list(store.root.rglob("*.tmp")) == []


def test_the_model_of_the_disk_finds_a_missing_fsync(tmp_path: Path) -> None:
    with recorded(tmp_path / "disk") as recorder:
        (tmp_path / "disk" / "new.tmp").write_bytes(b"content")
        (tmp_path / "disk" / "new.tmp").replace(tmp_path / "disk" / "new")
    found = [replay(recorder.recording, point.count, point.faults) for point in crash_points(recorder.recording)]
    assert {disk["new"] for disk in found if "new" in disk} >= {b"content", b"con", b""}
    assert {} in found
    assert {"new": b"content", "new.tmp": b"content"} in found


def test_the_model_of_the_disk_keeps_fsynced_files(tmp_path: Path) -> None:
    from jobs.store.atomic_files import write_file

    with recorded(tmp_path / "disk") as recorder:
        write_file(tmp_path / "disk" / "file", b"content")
    count = len(recorder.recording.operations)
    last = [point for point in crash_points(recorder.recording) if point.count == count]
    assert {replay(recorder.recording, point.count, point.faults)["file"] for point in last} == {b"content"}
