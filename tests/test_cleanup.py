"""What killed writers left goes at the next submit or compaction; what anybody may still need stays."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.job_records import trial_ids
from support.killed_writers import kill_writers
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.store.atomic_files import temporary_writer, write_file
from jobs.store.checkpoints import checkpointed
from jobs.store.cleanup import clean_up, describe_unattributed_files
from jobs.store.job_models import Job
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.processes import Process, this_process
from jobs.verify import check_job

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
WAITING_AT_FSYNC = """
import os, sys
from pathlib import Path
from jobs.store.atomic_files import write_file
fsync = os.fsync
def wait(file):
    print("waiting", flush=True)
    input()
    fsync(file)
os.fsync = wait
write_file(Path(sys.argv[1]), b"whole")
"""


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, Job]:
    return submit_tiny(tmp_path_factory.mktemp("submitted"), seed="[0]")


@pytest.fixture
def study(submitted: tuple[Store, Job], tmp_path: Path) -> tuple[Store, Job]:
    store, job = submitted
    shutil.copytree(store.root.parent, tmp_path, dirs_exist_ok=True)
    return Store(tmp_path / "results"), job


def temporaries(store: Store) -> list[Path]:
    return sorted(store.root.rglob(".*.tmp"))


def leave_temporary(folder: Path, writer: Process) -> Path:
    """Leave what a writer of this name would have left."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".file.{'.'.join(map(str, vars(writer).values()))}.0123abcd.tmp"
    path.write_bytes(b"half")
    assert temporary_writer(path.name) == writer
    return path


@pytest.mark.medium
@pytest.mark.parametrize("verb", ["submit", "compact"])
def test_leftovers_of_killed_writers_go_wherever_they_lie(verb: str, study: tuple[Store, Job]) -> None:
    store, job = study
    folders = (store.parts, store.weights, store.checkpoints, job_folder(store, job.job_id))
    for folder in folders:
        folder.mkdir(exist_ok=True)
    kill_writers(*(folder / "file" for folder in folders))
    assert len(temporaries(store)) == 4
    if verb == "submit":
        mnistjobs.submit_grid(store.root.parent / "tiny.yaml", store.root, in_process=True)
    else:
        mnistjobs.compact_store(store.root)
    assert temporaries(store) == []


@pytest.mark.medium
def test_a_file_that_is_being_written_stays_and_is_finished(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.parts.mkdir()
    command = [sys.executable, "-c", WAITING_AT_FSYNC, str(store.parts / "file")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        assert process.stdout.readline() == "waiting\n"
        clean_up(store)
        assert len(temporaries(store)) == 1
        assert describe_unattributed_files(store) == []
        process.communicate("\n" * 10, timeout=60)
    assert process.returncode == 0
    assert (store.parts / "file").read_bytes() == b"whole"


def test_leftovers_of_other_hosts_stay_and_are_named(study: tuple[Store, Job]) -> None:
    store, job = study
    path = leave_temporary(store.parts, replace(this_process(), host="node-7", pid=12))
    (store.weights / ".unknown.tmp").touch()  # of another program, which is nobody's business
    clean_up(store)
    mnistjobs.report_job(store.root, job.job_id)
    assert describe_unattributed_files(store) == [
        f"{path} is a temporary file of process 12 on node-7; remove it if that has ended"
    ]
    verified = check_job(store, job)
    assert (verified.problems, list(verified.notes)) == ((), describe_unattributed_files(store))


def test_a_number_that_another_process_has_been_given_since_keeps_nothing(tmp_path: Path) -> None:
    if not this_process().started:
        pytest.skip("the system does not tell when a process was started")
    store = Store(tmp_path)
    path = leave_temporary(store.parts, replace(this_process(), started=max(1, this_process().started - 1000)))
    mine = leave_temporary(store.weights, this_process())
    clean_up(store)
    assert (path.exists(), mine.exists()) == (False, True)


def test_links_and_folders_are_not_followed(tmp_path: Path) -> None:
    gone = replace(this_process(), boot="00000000")
    outside = leave_temporary(tmp_path / "outside", gone)
    store = Store(tmp_path / "results")
    store.root.mkdir()
    store.parts.symlink_to(outside.parent)
    folder = store.weights / outside.name
    folder.mkdir(parents=True)
    clean_up(store)
    assert outside.exists()
    assert folder.exists()


def test_checkpoints_of_stored_trials_go_and_those_of_others_stay(study: tuple[Store, Job]) -> None:
    store, job = study
    (stored,), other = trial_ids(store, job), "0" * 32
    for identity in (stored, other):
        write_file(store.checkpoints / f"{identity}.checkpoint", b"")
    (store.checkpoints / "notes.txt").touch()
    clean_up(store)
    assert checkpointed(store) == {other}
    assert (store.checkpoints / "notes.txt").exists()


def test_a_store_that_cannot_be_read_or_is_not_there_is_no_reason_to_stop(tmp_path: Path) -> None:
    clean_up(Store(tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    (tmp_path / "file").touch()
    clean_up(Store(tmp_path / "file"))


@pytest.mark.parametrize("name", ["x" * 250, "é" * 120, ".hidden.", "a.b.1.2.3.tmp"])
def test_the_name_beside_a_file_tells_its_writer_whatever_the_file_is_called(name: str, tmp_path: Path) -> None:
    left: list[str] = []

    def note(file: int) -> None:
        left.extend(os.listdir(tmp_path))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", note)
        write_file(tmp_path / name, b"")
    assert temporary_writer(left[0]) == this_process()
    assert os.listdir(tmp_path) == [name]
