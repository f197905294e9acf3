"""Sessions and executors: their contract, and what only Ray does."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import numpy as np
import pytest
from support.executors import CONTRACT, outcome, outcomes, run_all

from cluster import Done, InProcessSession, Session


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_every_executor_keeps_the_contract(check: Callable[[Session], None], any_session: Session) -> None:
    check(any_session)


def test_shared_arrays_are_read_only_everywhere(any_session: Session) -> None:
    def describe(item: int, shared: np.ndarray) -> Generator[None, None, tuple[bool, float]]:
        return shared.flags.writeable, float(shared.sum())
        yield

    array = np.ones(1000)
    array.flags.writeable = False
    assert outcomes(any_session, describe, [0], array) == [("done", 0, (False, 1000.0))]


def test_tasks_in_process_run_one_after_the_other_in_order() -> None:
    def steps(item: int, shared: None) -> Generator[str, None, int]:
        yield "half"
        return item

    events = [event[:2] for event in map(outcome, run_all(InProcessSession(), steps, [1, 2]))]
    assert events == [(kind, item) for item in (1, 2) for kind in ("started", "progress", "done")]


@pytest.mark.ray
def test_a_crashing_worker_affects_no_other_task(ray_of_two: Session) -> None:
    def crash(item: int, shared: None) -> Generator[None, None, int]:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return item
        yield

    expected = [("done", item, item) for item in (0, 1, 3, 4)] + [("failed", 2, "crashed")]
    assert sorted(outcomes(ray_of_two, crash, range(5))) == expected


@pytest.mark.ray
def test_workers_read_the_shared_value_from_shared_memory(ray_of_two: Session) -> None:
    def shared_memory_kb(item: int, shared: np.ndarray) -> Generator[None, None, int]:
        # The pages that hold the array, as the kernel accounts for them: mapped from a file, not private.
        total = float(shared.sum())
        assert total == len(shared)
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssShmem:")[1].split()[0])
        yield

    array = np.ones(5_000_000)  # 40 MB
    assert all(size > 35_000 for _, _, size in outcomes(ray_of_two, shared_memory_kb, [0, 1], array))


@pytest.mark.ray
def test_results_arrive_in_order_of_completion(ray_of_two: Session, tmp_path: Path) -> None:
    def wait_for_release(item: str, release_file: str) -> Generator[None, None, str]:
        while item == "first" and not Path(release_file).exists():
            time.sleep(0.01)
        return item
        yield

    release = tmp_path / "release"
    order = []
    for event in run_all(ray_of_two, wait_for_release, ["first", "second"], str(release)):
        if isinstance(event, Done):
            order.append(event.item)
            release.touch()  # the first ends once the second has
    assert order == ["second", "first"]


OWN_RAY_SCRIPT = """
import os
from cluster import ClusterError
from cluster.ray_session import ray_session

with ray_session(workers=1, device="auto") as session:
    print(sum(node.slots for node in session.nodes), session.device)
print(os.listdir(os.environ["RAY_TMPDIR"]))
try:
    with ray_session(workers=1, device="cuda"):
        pass
except ClusterError as error:
    print(error)
"""


@pytest.mark.ray
def test_a_ray_that_was_started_here_leaves_no_files_and_has_no_gpu(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(OWN_RAY_SCRIPT)
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # pytest's are too long for Ray's sockets
        environment = {**os.environ, "RAY_TMPDIR": folder}
        command = [sys.executable, str(script)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout.splitlines()) == (
        0,
        ["1 cpu", "[]", "cuda: no node of the cluster has a GPU; allowed: auto or cpu"],
    ), done.stderr
