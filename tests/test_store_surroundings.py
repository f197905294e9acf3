"""A store among other programs' files, links and mounts, and on file systems that cannot do everything."""

import errno
import os
import shutil
import time
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from support.command_line import run, said
from support.tiny_study import submit_tiny

import mnistjobs
from jobs.cli.exit_codes import BAD_INPUT
from jobs.store.checkpoints import checkpointed
from jobs.store.cleanup import clean_up
from jobs.store.job_models import Job
from jobs.store.job_record import job_folder
from jobs.store.layout import Store
from jobs.store.lease import new_lease
from jobs.store.parts import scan_parts
from jobs.store.processes import this_process
from jobs.store.quarantine import describe_quarantine
from jobs.verify import check_job
from mnist_core.data.download import _move_into_place

pytestmark = pytest.mark.usefixtures("figures_drawn_once")


@pytest.fixture(scope="module")
def submitted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Job]:
    folder = tmp_path_factory.mktemp("submitted")
    store, job = submit_tiny(folder, seed="[0]")
    mnistjobs.report_job(store.root, job.job_id)
    return folder, job


@pytest.fixture
def study(submitted: tuple[Path, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Job]:
    """A working directory with a grid and its store."""
    shutil.copytree(submitted[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Store(tmp_path / "results"), submitted[1]


# Other programs' files


def put_foreign_files(folder: Path, name: str) -> list[Path]:
    """Put files beside one of the store's, as Finder, Syncthing, Dropbox, rsync, cp and an editor do."""
    stem, suffix = name.split(".")
    foreign = [
        f"._{name}",
        f".syncthing.{name}.tmp",
        f"{stem} (conflicted copy 2026-01-01).{suffix}",
        f"{stem}.sync-conflict-20260101-000000-ABC.{suffix}",
        f".{name}.Ab12Cd",
        f"{name}.part",
        f"{name}~",
        ".DS_Store",
        ".nfs000000000001",
    ]
    folder.mkdir(exist_ok=True)
    paths = [folder / each for each in foreign]
    for path in paths:
        path.write_bytes(b"foreign")
    return paths


def test_other_programs_files_are_nobodys_business(study: tuple[Store, Job]) -> None:
    store, job = study
    name = next(store.parts.iterdir()).name
    folders = [
        store.parts,
        store.weights,
        store.checkpoints,
        store.quarantine,
        store.jobs,
        job_folder(store, job.job_id),
    ]
    foreign = [path for folder in folders for path in put_foreign_files(folder, name)]
    foreign += put_foreign_files(store.checkpoints, f"{'0' * 32}.checkpoint")
    foreign += put_foreign_files(store.jobs, f"{job.job_id}.x")
    clean_up(store)
    assert [rows is None for _, rows in scan_parts(store, ["trial_id"])] == [False]
    assert (checkpointed(store), describe_quarantine(store)) == (frozenset(), [])
    found = check_job(store, job)
    assert (found.problems, found.notes) == ((), ())
    mnistjobs.compact_store()
    assert len(mnistjobs.list_jobs()) == 1
    assert all(path.read_bytes() == b"foreign" for path in foreign)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_may_not_be_read_hides_no_other(study: tuple[Store, Job]) -> None:
    store, job = study
    for name in ("lost+found", "old-20260101-000000-abcd"):
        (store.jobs / name).mkdir(mode=0)
    assert [each.state for each in mnistjobs.list_jobs()] == ["damaged", "finished"]
    assert check_job(store, job).problems == ()


# Links


@pytest.mark.parametrize(
    ("folder", "command"),
    [*(("", command) for command in ("list", "plan", "compact", "summary"))]
    + [(folder, "list") for folder in ("parts", "weights", "jobs", "checkpoints", "quarantine")],
)
def test_a_store_behind_a_link_that_leads_nowhere_is_named(tmp_path: Path, folder: str, command: str) -> None:
    link = tmp_path / "results" / folder
    link.parent.mkdir(exist_ok=True)
    link.symlink_to("/mnt/gone")
    grid = tmp_path / "grid.yaml"
    grid.write_text("name: a\ndataset: mnist\ngrid: {model: [mlp], subset_size: [9], adaptive_lr: [on], seeds: 1}\n")
    words: dict[str, list[object]] = {"plan": [grid], "summary": ["a"]}
    outcome = run(command, *words.get(command, []), "--store", tmp_path / "results")
    assert outcome.code == BAD_INPUT
    assert outcome.err.startswith(f"store '{link}': is a link to '/mnt/gone', which does not exist; ")


def test_a_store_below_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "mount").symlink_to("/mnt/gone")
    outcome = run("list", "--store", tmp_path / "mount" / "results")
    assert f"'{tmp_path / 'mount'}' is a link to '/mnt/gone', which does not exist" in outcome.err


@pytest.mark.parametrize("name", ["", "job.json", "final.json"])
def test_a_job_behind_a_link_that_leads_nowhere_is_listed(study: tuple[Store, Job], name: str) -> None:
    store, job = study
    path = job_folder(store, job.job_id) / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    path.symlink_to("/mnt/gone")
    outcome = run("list")
    assert f"{job.job_id} damaged" in " ".join(outcome.out.split())
    assert "is a link to '/mnt/gone', which does not exist" in outcome.err
    assert "is a link to '/mnt/gone', which does not exist" in run("summary", "tiny").err


@pytest.mark.filterwarnings("default::jobs.errors.DamagedPartWarning")
def test_a_part_that_is_a_link_is_read_or_named(study: tuple[Store, Job], tmp_path: Path) -> None:
    store, _ = study
    (part,) = store.parts.iterdir()
    moved = part.rename(tmp_path / part.name)
    part.symlink_to(moved)
    assert "1 found in results, 0 to train" in said("plan", "tiny.yaml")
    moved.unlink()
    outcome = run("plan", "tiny.yaml")
    assert f"part {part.name} is damaged: a link to '{moved}', which does not exist, where a file" in outcome.err


def test_a_store_whose_name_looks_the_same_is_found(study: tuple[Store, Job]) -> None:
    stored, typed = (unicodedata.normalize(form, "résultats") for form in ("NFD", "NFC"))
    study[0].root.rename(stored)
    assert "1 found in" in said("plan", "tiny.yaml", "--store", typed)


# File systems


@pytest.mark.parametrize(("code", "is_error"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_a_download_is_kept_where_folders_cannot_be_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_error: bool
) -> None:
    fsync = os.fsync

    def refuse_folders(descriptor: int) -> None:
        if os.path.isdir(f"/proc/self/fd/{descriptor}"):
            raise OSError(code, os.strerror(code))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    (tmp_path / "x.partial").write_bytes(b"x")
    if is_error:
        with pytest.raises(OSError, match=os.strerror(code)):
            _move_into_place(tmp_path / "x.partial", tmp_path / "x")
    else:
        _move_into_place(tmp_path / "x.partial", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == b"x"


# Jobs


@pytest.mark.parametrize(
    "form", ["results/jobs/{}", "results/jobs/{}/", "{}/", "tiny/", "./results/jobs/{}/report.html"]
)
def test_a_job_is_found_by_its_path(study: tuple[Store, Job], form: str) -> None:
    _, job = study
    assert said("summary", form.format(job.job_id)) == said("summary", job.job_id)
    assert run("verify", form.format(job.job_id)).code == 0


def test_a_path_names_the_store_too(study: tuple[Store, Job], tmp_path: Path) -> None:
    store, job = study
    store.root.rename("elsewhere")
    expected = said("summary", "tiny", "--store", "elsewhere")
    (tmp_path / "latest").symlink_to(f"elsewhere/jobs/{job.job_id}")
    for path in (f"elsewhere/jobs/{job.job_id}", f"{tmp_path}/elsewhere/jobs/{job.job_id}/", "latest"):
        assert said("summary", path) == expected
    assert "no job 'elsewhere/jobs/none'" in run("summary", "elsewhere/jobs/none").err


def test_a_job_of_another_host_is_said_to_run_there_until_it_is_lost(study: tuple[Store, Job]) -> None:
    store, job = study
    (job_folder(store, job.job_id) / "final.json").unlink()
    driver = replace(this_process(), host="node-7")
    lease = new_lease(job.job_id).model_copy(update={"driver": driver})
    path = job_folder(store, job.job_id) / "lease.json"
    path.write_bytes(lease.seal().to_bytes())
    assert "running on node-7" in said("list")
    said("report", "tiny")
    assert "running on node-7" in Path(f"results/jobs/{job.job_id}/report.html").read_text()
    then = time.time() - 600
    os.utime(path, (then, then))
    assert "lost, last sign of life 10 min ago" in said("list")
