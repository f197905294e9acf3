"""The places to run: the contract of the port, and what only Ray does."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
from support import contracts

from cluster.interface import ClusterError, Map
from cluster.ray_session import ray_place

CONTRACT = [
    contracts.check_results_and_progress,
    contracts.check_a_raising_task_takes_no_other_along,
    contracts.check_items_are_read_only_as_places_become_free,
    contracts.check_no_items_no_events,
]


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
def test_every_place_to_run_keeps_the_contract(check: type, any_map: Map) -> None:
    check(any_map)


def test_what_tasks_share_is_read_only_wherever_they_run(any_map: Map) -> None:
    array = np.ones(1000)
    array.flags.writeable = False
    contracts.check_shared_arrays_stay_as_they_are(any_map, array)


@pytest.mark.ray
def test_a_crashing_worker_takes_no_other_task_along(ray_of_two: Map) -> None:
    def crash(item: int, shared: None) -> Generator[None, None, int]:
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return item
        yield

    events = list(ray_of_two(crash, range(5), None))
    assert sorted(map(contracts.outcome, events)) == [("done", item, item) for item in (0, 1, 3, 4)] + [
        ("failed", 2, "crashed")
    ]


@pytest.mark.ray
def test_the_shared_value_is_read_by_every_worker_from_one_place_in_memory(ray_of_two: Map) -> None:
    def shared_memory_kb(item: int, shared: np.ndarray) -> Generator[None, None, int]:
        # The pages that hold the array, as the kernel accounts for them: mapped from a file, not private.
        total = float(shared.sum())
        assert total == len(shared)
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssShmem:")[1].split()[0])
        yield

    array = np.ones(5_000_000)  # 40 MB
    shared_kb = [contracts.outcome(event)[2] for event in ray_of_two(shared_memory_kb, [0, 1], array)]
    assert all(size > 35_000 for size in shared_kb)


@pytest.mark.ray
def test_results_come_in_order_of_completion(ray_of_two: Map) -> None:
    def wait_to_be_let_go(item: str, let_go_file: str) -> Generator[None, None, str]:
        while item == "first" and not Path(let_go_file).exists():
            time.sleep(0.01)
        return item
        yield

    with tempfile.TemporaryDirectory() as folder:
        let_go = Path(folder, "let go")
        order = []
        for event in ray_of_two(wait_to_be_let_go, ["first", "second"], str(let_go)):
            order.append(contracts.outcome(event)[1])
            let_go.touch()  # the first ends when the second's end has been heard of
    assert order == ["second", "first"]


@pytest.mark.ray
def test_a_gpu_that_no_node_has_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(NO_GPU_SCRIPT)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "1 cpu",
        "resources.device cuda: no node of the cluster has a GPU; allowed: auto or cpu",
    ], done.stderr


@pytest.mark.parametrize("address", ["nonsense", "ray://127.0.0.1:1", "127.0.0.1:70000", ":1", "127.0.0.1:x"])
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(ClusterError, match="allowed: HOST:PORT"), ray_place(address=address):
        pass


def test_an_address_where_nothing_listens_is_refused_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with (
        pytest.raises(ClusterError, match=f"'127.0.0.1:{port}': nothing answers"),
        ray_place(address=f"127.0.0.1:{port}"),
    ):
        pass


NO_GPU_SCRIPT = """
from cluster.ray_session import TaskNeeds, ray_place
from cluster.interface import ClusterError

for device in ("auto", "cuda"):
    try:
        with ray_place(workers=1, needs=TaskNeeds(device=device)) as place:
            print(place.workers, place.device)
    except ClusterError as error:
        print(error)
"""
CLUSTER_SCRIPT = """
import sys, tempfile
from cluster.ray_session import TaskNeeds, ray_place
from cluster.interface import ClusterError, Done

def results(place, task, items, shared=None):
    return [event.result for event in place.map(task, items, shared) if isinstance(event, Done)]

def threads(item, shared):
    import os
    return os.environ["OMP_NUM_THREADS"]
    yield

def process(item, shared):
    # Each holds its place until as many processes are there as there shall be.
    import os, time
    folder, processes = shared
    open(f"{folder}/{os.getpid()}", "w").close()
    while len(os.listdir(folder)) < processes:
        time.sleep(0.01)
    return os.getpid()
    yield

address = sys.argv[1] or None
with ray_place(address=address, needs=TaskNeeds(2)) as place:
    print(place.workers, place.device, results(place, threads, [1]))
for gpus in (1, 0.5):
    with ray_place(address=address, needs=TaskNeeds(1, "auto", gpus)) as place:
        shared = tempfile.mkdtemp(), place.workers
        print(place.workers, place.device, len(set(results(place, process, range(4), shared))))
for needs in (TaskNeeds(64), TaskNeeds(64, "cuda")):
    try:
        with ray_place(address=address, workers=1, needs=needs):
            pass
    except ClusterError as error:
        print(error)
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a user who has a token; nothing that Ray has set in this process."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text(64 * "a")
    return {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {"HOME": str(tmp_path)}


@pytest.fixture
def existing_cluster(elsewhere: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A cluster of one node, started as that user would start it: with token authentication; one GPU, or as asked."""
    gpus = getattr(request, "param", 1)  # Ray takes our word for it
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    start = [
        *ray,
        "start",
        "--head",
        f"--port={port}",
        "--num-cpus=2",
        f"--num-gpus={gpus}",
        "--include-dashboard=false",
        "--block",
    ]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(start, stdout=quiet, stderr=quiet, start_new_session=True, cwd=tmp_path, env=elsewhere)
    address = f"127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # SIGTERM would drain the node for half a minute
        process.wait(timeout=30)


@pytest.mark.ray
def test_an_existing_cluster_runs_tasks_with_what_they_need_and_says_when_none_fits(
    existing_cluster: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(CLUSTER_SCRIPT)
    run = [sys.executable, str(script), existing_cluster]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env=elsewhere)
    assert done.stdout.splitlines() == [
        "1 cpu ['2']",
        "1 cuda 1",  # task after task in the same process
        "2 cuda 2",
        "resources.cpus_per_trial 64: no node has as many; allowed: up to 2",
        "resources.cpus_per_trial 64: no node with a GPU has as many; allowed: up to 2",
    ], done.stderr
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600


@pytest.mark.ray
@pytest.mark.parametrize("existing_cluster", [2], indirect=True)
def test_where_a_node_has_several_gpus_no_worker_gets_one_after_another(
    existing_cluster: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        CLUSTER_SCRIPT.split("with ray_place")[0]
        + "with ray_place(address=address, workers=1, needs=TaskNeeds(1, 'cuda')) as place:\n"
        "    print(len(set(results(place, process, range(3), (tempfile.mkdtemp(), 1)))))\n"
    )
    run = [sys.executable, str(script), existing_cluster]
    done = subprocess.run(run, capture_output=True, text=True, timeout=120, env=elsewhere)
    assert done.stdout == "3\n", done.stderr


BUSY_SCRIPT = """
import sys, time
from cluster.ray_session import TaskNeeds, ray_place

def stay(item, shared):
    yield "there"
    time.sleep(1000)

def go(item, shared):
    return "gone"
    yield

task = stay if sys.argv[2] == "stay" else go
with ray_place(address=sys.argv[1], needs=TaskNeeds(2)) as place:
    for event in place.map(task, [1], None):
        print(event, flush=True)
"""


@pytest.mark.ray
def test_a_cluster_whose_cpus_are_all_taken_is_waited_for_and_said_to_be(
    existing_cluster: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(BUSY_SCRIPT)
    starts = [[sys.executable, str(script), existing_cluster, task] for task in ("stay", "go")]
    with subprocess.Popen(starts[0], stdout=subprocess.PIPE, text=True, env=elsewhere) as first:
        assert first.stdout
        assert "there" in first.stdout.readline()
        with subprocess.Popen(starts[1], stdout=subprocess.PIPE, text=True, env=elsewhere) as second:
            assert second.stdout
            assert "no task has started yet: 0 of 2 CPUs of the cluster are free" in second.stdout.readline()
            first.kill()
            assert "gone" in second.stdout.read()


@pytest.mark.ray
def test_a_ray_that_was_started_here_leaves_no_files_at_a_normal_end(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("from cluster.ray_session import ray_place\nwith ray_place(workers=1): pass\n")
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # pytest's are too long for Ray's sockets
        environment = {**os.environ, "RAY_TMPDIR": folder}
        done = subprocess.run([sys.executable, str(script)], env=environment, stderr=subprocess.PIPE, timeout=120)
        left = [path for path in Path(folder, "ray").iterdir() if path.is_dir() and not path.is_symlink()]
    assert (done.returncode, left) == (0, []), done.stderr


@pytest.mark.ray
def test_a_cluster_turns_away_whoever_has_another_token_and_the_message_says_so(
    existing_cluster: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(CLUSTER_SCRIPT)
    stranger = elsewhere | {"RAY_AUTH_TOKEN": 64 * "b", "RAY_gcs_rpc_server_connect_timeout_s": "1"}
    run = [sys.executable, str(script), existing_cluster]
    done = subprocess.run(run, capture_output=True, text=True, timeout=200, env=stranger)
    assert "ClusterError" in done.stderr
    assert "wants its token in RAY_AUTH_TOKEN" in done.stderr
