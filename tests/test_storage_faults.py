"""A disk that is full, broken, read-only or gone: one clear message, nothing damaged, and a later submit finishes.

The faults are real limits, mounts and permissions, and system calls that fail.
"""

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from support.command_line import GRID, Outcome, finish, run, write_grid
from support.wall_clock import without_wall_clock
from support.warm_processes import WarmProcess

import mnistjobs
from jobs.cli.exit_codes import BAD_INPUT, SOME_FAILED
from jobs.store.layout import Store

pytestmark = pytest.mark.usefixtures("figures_drawn_once")
ALL = f"{GRID}retries: 0\n"  # what lasts is not over after a wait
FIRST = ALL.replace("[0, 1, 2]", "[0]")
SUBMIT = ("submit", "grid.yaml", "--in-process", "--quiet")
AS_NOBODY = """
import os, sys
import jobs.cli.app, jobs.cli.plan, jobs.report.report, jobs.api, rich.console
jobs.api.plan_grid("grid.yaml", "results")  # imports what a plan needs, while it can be read
os.setgid(65534), os.setuid(65534)
jobs.cli.app.main()
"""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pa.Table]:
    """The tables of the whole study, trained with nothing in its way."""
    folder = tmp_path_factory.mktemp("undisturbed")
    mnistjobs.submit_grid(write_grid(folder), folder / "results", in_process=True)
    return tables(folder / "results")


@pytest.fixture(scope="module")
def first_stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    mnistjobs.submit_grid(write_grid(folder, FIRST), folder / "results", in_process=True)
    (folder / "grid.yaml").write_text(ALL)
    return folder


@pytest.fixture
def grid(first_stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid of three trials, the first of which is stored, in the working directory."""
    shutil.copytree(first_stored, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("grid.yaml")


def tables(store: Path) -> dict[str, pa.Table]:
    readers = (mnistjobs.read_trials, mnistjobs.read_metrics, mnistjobs.read_confusion, mnistjobs.read_summary)
    found = {read.__name__: read(store, "tiny") for read in readers}
    return {name: without_wall_clock(table) for name, table in found.items()}


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """Let every file end after so many bytes, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def failing_call(name: str, number: int, where: str) -> Iterator[None]:
    """Let a system call fail wherever a path contains `where`."""
    real = getattr(os, name)

    def fail(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        first = arguments[0]
        path = os.readlink(f"/proc/self/fd/{first}") if isinstance(first, int) else arguments[name == "replace"]
        if where in str(path):
            raise OSError(number, os.strerror(number), str(path))
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, name, fail)
        yield


def check_recovery(outcome: Outcome, undisturbed: dict[str, pa.Table]) -> None:
    """Assert that nothing but a message came of it, and that submitting again gives what it would have given."""
    assert outcome.code in (SOME_FAILED, BAD_INPUT), outcome
    assert "Traceback" not in outcome.err
    _, *reasons = outcome.err.splitlines()
    assert all(reason.startswith("failed: ") for reason in reasons), outcome.err
    store = Store(Path("results").absolute())
    assert mnistjobs.plan_grid("grid.yaml", "results").stored
    assert not any(path.name.endswith(".tmp") for path in store.root.rglob("*"))
    job = mnistjobs.submit_grid("grid.yaml", "results", in_process=True)
    assert job.state == "finished"
    assert_same(tables(store.root), undisturbed)
    assert mnistjobs.report_job("results", "tiny").damaged == ()


def assert_same(ours: dict[str, pa.Table], theirs: dict[str, pa.Table]) -> None:
    for name, table in ours.items():
        others = {"dataset"}  # whose folder is in its name
        left = [table.column(each) for each in table.column_names if each not in others]
        right = [theirs[name].column(each) for each in table.column_names if each not in others]
        assert left == right, name


@pytest.mark.usefixtures("grid")
@pytest.mark.parametrize(
    "limit", [0, 9_000, *(pytest.param(size, marks=pytest.mark.medium) for size in (100, 6_000, 20_000, 30_000))]
)
def test_a_limit_on_the_size_of_files_is_a_message(limit: int, undisturbed: dict[str, pa.Table]) -> None:
    with limited_files(limit):
        outcome = run(*SUBMIT)
    assert "File too large" in outcome.err
    assert str(Path("results").absolute()) in outcome.err
    check_recovery(outcome, undisturbed)


FAULTS = [
    ("fsync", errno.EIO, "/weights/"),
    ("fsync", errno.ENOSPC, "/parts/"),
    ("fsync", errno.EIO, "summary.csv"),
    ("replace", errno.ENOSPC, "report.html"),
    ("fsync", errno.EIO, "requested.parquet"),
]
MORE_FAULTS = [
    ("fsync", errno.EIO, "/parts/"),
    ("fsync", errno.EIO, "/parts"),
    ("fsync", errno.EDQUOT, "job.json"),
    ("fsync", errno.EIO, "/jobs/"),
    ("replace", errno.EIO, "/weights/"),
    ("replace", errno.EROFS, "/parts/"),
    ("replace", errno.EROFS, "job.json"),
    ("mkdir", errno.EROFS, "/jobs/"),
    ("link", errno.EROFS, "final.json"),
]


@pytest.mark.usefixtures("grid", "no_wait_before_a_retry")
@pytest.mark.parametrize(
    ("name", "number", "where"),
    [*FAULTS, *(pytest.param(*each, marks=pytest.mark.medium) for each in MORE_FAULTS)],
    ids=lambda each: str(each).replace("/", "_"),
)
def test_a_system_call_that_fails_is_a_message(
    name: str, number: int, where: str, undisturbed: dict[str, pa.Table]
) -> None:
    with failing_call(name, number, where):
        outcome = run(*SUBMIT)
    assert os.strerror(number) in outcome.err
    check_recovery(outcome, undisturbed)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 256 KB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=False)


@pytest.mark.medium
def test_a_disk_that_is_full_is_a_message_and_room_is_all_that_it_needs(
    small_disk: Path, grid: Path, undisturbed: dict[str, pa.Table]
) -> None:
    store = small_disk / "results"
    shutil.copytree("results", store)
    filler = small_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    outcome = finish(WarmProcess("submit", grid, "--in-process", "--quiet", "--store", store))
    assert "No space left on device" in outcome.err
    assert outcome.code == BAD_INPUT
    assert outcome.err.count("\n") == 1
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    assert len(mnistjobs.plan_grid(grid, store).stored) == 1
    assert mnistjobs.submit_grid(grid, store, in_process=True).state == "finished"
    assert_same(tables(store), undisturbed)


@pytest.mark.medium
def test_a_file_system_that_turns_read_only_is_a_message(
    small_disk: Path, grid: Path, undisturbed: dict[str, pa.Table]
) -> None:
    subprocess.run(["mount", "-o", "remount,size=8m", small_disk], check=True)
    store = small_disk / "results"
    shutil.copytree("results", store)
    grid.write_text(ALL.replace("epochs: 2", "epochs: 1000"))
    process = WarmProcess("submit", grid, "--in-process", "--store", store)
    assert process.stderr
    assert process.stderr.readline().startswith("[1/3] ")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    outcome = finish(process)
    assert outcome.code == BAD_INPUT
    assert outcome.err.splitlines()[-1].startswith(f"{store}/")
    assert "Read-only file system" in outcome.err.splitlines()[-1]
    assert [job.state for job in mnistjobs.list_jobs(store)] == ["finished", "lost"]
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    grid.write_text(ALL)
    assert mnistjobs.submit_grid(grid, store, in_process=True).state == "finished"
    assert_same(tables(store), undisturbed)


@pytest.mark.medium
def test_a_store_that_vanishes_is_a_message_and_can_be_brought_back(
    grid: Path, undisturbed: dict[str, pa.Table]
) -> None:
    grid.write_text(ALL.replace("epochs: 2", "epochs: 1000"))
    process = WarmProcess("submit", grid, "--in-process")
    assert process.stderr
    assert process.stderr.readline().startswith("[1/3] ")
    Path("results").rename("away")
    outcome = finish(process)
    assert outcome.code == BAD_INPUT
    assert "is gone, although its job is running; bring the store" in outcome.err.splitlines()[-1]
    shutil.rmtree("results", ignore_errors=True)
    Path("away").rename("results")
    assert [job.state for job in mnistjobs.list_jobs("results")] == ["finished", "lost"]
    grid.write_text(ALL)
    assert mnistjobs.submit_grid(grid, "results", in_process=True).state == "finished"
    assert_same(tables(Path("results")), undisturbed)


@pytest.mark.medium
def test_a_store_of_another_user_is_a_message_before_anything_is_trained(grid: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only the superuser can become another user")
    for folder in [tmp_path, *tmp_path.parents][:-2]:
        folder.chmod(folder.stat().st_mode | 0o011)
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, *SUBMIT], capture_output=True, text=True, timeout=120)
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert outcome.code == BAD_INPUT
    warning, message = outcome.err.splitlines()
    assert re.fullmatch("warning: no queue: .*: Permission denied; jobs of this machine share its cores", warning)
    assert message == f"store '{tmp_path / 'results'}': cannot be written: Permission denied"
    assert len(mnistjobs.plan_grid(grid, "results").stored) == 1


def test_the_record_of_a_job_is_written_once(grid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves, written = {"replace": os.replace, "link": os.link}, list[str]()

    def noting(name: str) -> Callable[[Path, Path], None]:
        def move(source: Path, target: Path) -> None:
            written.append(Path(target).name)
            moves[name](source, target)

        return move

    for name in moves:
        monkeypatch.setattr(os, name, noting(name))
    job = mnistjobs.submit_grid(grid, "results", in_process=True)
    assert [written.count(name) for name in ("requested.parquet", "job.json", "final.json")] == [1, 1, 1]
    assert written.index("requested.parquet") < written.index("job.json") < written.index("final.json")
    assert json.loads(Path(f"results/jobs/{job.job_id}/final.json").read_text())["state"] == "finished"
