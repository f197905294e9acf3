"""Fixtures that several test files share."""

import atexit
import gc
import itertools
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command_line import said, write_grid
from support.idx_files import write_idx_folder
from support.s3_servers import S3Server, moto, rclone
from threadpoolctl import threadpool_limits

from cluster import InProcessSession, Session
from mnist_core.data.datasets import Dataset, load_dataset

NUMBERS = itertools.count()  # of the tests of this process
SERVERS = {"moto_server", "rclone_server", "browser"}  # fixtures that take seconds to start


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A folder of four IDX files: 60 training, 6 validation and 10 test images."""
    folder = tmp_path_factory.mktemp("tiny")
    write_idx_folder(folder, train_count=72, test_count=20)
    return load_dataset(folder)


@pytest.fixture(scope="session")
def ray_of_two() -> Iterator[Session]:
    """One local Ray with two workers for the whole test run: it takes seconds to start."""
    from cluster.ray_session import ray_session

    os.environ.pop("RAY_ADDRESS", None)
    with ray_session(workers=2) as session:
        yield session
    with warnings.catch_warnings():
        # Ray leaves its processes and their pipes to the garbage collector.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(scope="session", autouse=True)
def queues(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of the queues of all tests; what is submitted for several tests is queued there as well."""
    folder = tmp_path_factory.mktemp("queues")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MNISTJOBS_QUEUE_DIR", str(folder / "shared"))
        yield folder


@pytest.fixture(scope="session")
def moto_server() -> Iterator[S3Server]:
    """One S3 server for the whole test run, with a bucket."""
    with moto() as server:
        yield server


@pytest.fixture(scope="session")
def rclone_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server that ignores create-only writes, and refuses a wrong key."""
    with rclone(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of every figure that the processes of this test run, and those that they start, have drawn."""
    run = tmp_path_factory.getbasetemp()
    folder = (run.parent if "PYTEST_XDIST_WORKER" in os.environ else run) / "drawings"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="module")
def figures_drawn_once(drawings: Path) -> Iterator[None]:
    """Draw a figure once however often a report needs it, in the modules that are not about figures.

    Equal contents give an equal figure: test_figures.py draws every time, and tests that compare reports to the byte
    clear the drawings first.
    """
    from support.drawings import FOLDER, RENDER, draw_once

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(FOLDER, str(drawings))
        patch.setattr(RENDER, draw_once(drawings))
        yield


@pytest.fixture(scope="session")
def submitted_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a grid of three trials and their results: to submit takes seconds, to copy does not."""
    folder = tmp_path_factory.mktemp("submitted")
    said("submit", write_grid(folder), "--in-process", "--store", folder / "results")
    return folder


@pytest.fixture
def finished(submitted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid file with its results beside it, in the working directory."""
    monkeypatch.chdir(shutil.copytree(submitted_folder, tmp_path / "finished"))
    return Path("grid.yaml")


@pytest.fixture
def no_wait_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try the trials of a pack that failed one by one at once; test_scheduler.py checks the waits."""
    monkeypatch.setattr("jobs.run.retries.FIRST_WAIT_S", 0.0)


@pytest.fixture(params=["in process", pytest.param("on Ray", marks=pytest.mark.ray)])
def any_session(request: pytest.FixtureRequest) -> Session:
    if request.param == "in process":
        return InProcessSession()
    session: Session = request.getfixturevalue("ray_of_two")
    return session


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, queues: Path) -> None:
    """Keep the developer's store, cluster and running jobs out of the tests, and the jobs of other tests."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "AZURE_", "GOOGLE_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MNISTJOBS_QUEUE_DIR", str(queues / f"{next(NUMBERS)}"))
    monkeypatch.delenv("MNISTJOBS_STORE", raising=False)
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(scope="session", autouse=True)
def one_thread_of_blas() -> Iterator[None]:
    """Keep the threads of BLAS, which spin for each other, from taking the cores of other tests."""
    with threadpool_limits(1):
        yield


@pytest.fixture(autouse=True)
def one_thread_of_torch() -> None:
    """Keep torch's threads, which spin for each other, from waiting without end on a busy machine."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.hookimpl(tryfirst=True)  # before markers are looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what needs Ray: the first process of `make test` runs it and shares its Ray, the second one the rest.

    The order is kept otherwise: each process is given one half of the tests, so that few fixtures are made twice.
    """
    for item in items:
        if isinstance(item, pytest.Function) and SERVERS & set(item.fixturenames):
            item.add_marker(pytest.mark.medium)
    items.sort(key=lambda item: item.get_closest_marker("ray") is None)


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking through all modules and tests again and again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 50)


@atexit.register
def _unfreeze() -> None:
    """Let the collector have them back: extensions report what is still there when the interpreter ends."""
    gc.unfreeze()
