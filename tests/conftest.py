"""Fixtures that several test files share."""

import gc
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.drawings import DRAWINGS, draw_once
from support.idx_files import write_idx_folder

from cluster import InProcessSession, Session
from mnist_core.data.datasets import Dataset, load_dataset


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
def fsync_without_a_disk() -> Iterator[None]:
    """Keep the test process, which no power failure interrupts, from waiting for the disk.

    What is fsynced, and when, is checked on the calls themselves. The processes that tests start wait for the disk.
    """

    def fsync(file: int) -> None:
        os.fstat(file)  # raises an OSError, as fsync does, where no such file is open

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        yield


@pytest.fixture(scope="session")
def drawings() -> dict[bytes, str]:
    """Every figure that this process has drawn, by what was drawn."""
    return {}


@pytest.fixture(scope="module")
def figures_drawn_once(drawings: dict[bytes, str]) -> Iterator[None]:
    """Draw a figure once however often a report needs it, in the modules that are not about figures.

    Equal contents give an equal figure: test_figures.py and test_compaction.py, which draw every time, check that.
    """
    from jobs.report import figures

    with pytest.MonkeyPatch.context() as patch:
        for name in DRAWINGS:
            patch.setattr(figures, name, draw_once(getattr(figures, name), drawings))
        yield


@pytest.fixture
def no_wait_before_a_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try the trials of a pack that failed one by one at once; test_scheduler.py checks the waits."""
    monkeypatch.setattr("jobs.run.scheduler.FIRST_WAIT_S", 0.0)


@pytest.fixture(params=["in process", pytest.param("on Ray", marks=pytest.mark.ray)])
def any_session(request: pytest.FixtureRequest) -> Session:
    if request.param == "in process":
        return InProcessSession()
    session: Session = request.getfixturevalue("ray_of_two")
    return session


@pytest.fixture(autouse=True)
def no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keep the developer's store and cluster out of the tests."""
    monkeypatch.delenv("MNISTJOBS_STORE", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture(autouse=True)
def one_thread_of_torch() -> None:
    """Keep torch's threads, which spin for each other, from waiting without end on a busy machine."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
