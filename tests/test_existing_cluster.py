"""Sessions on a Ray cluster that somebody else has started: its resources, its other users and its token."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray._private import services
from support.ray_clusters import cluster, environment_of

CLUSTER_SCRIPT = """
import sys, tempfile
from cluster import ClusterError, Done
from cluster.ray_session import ray_session

def results(session, task, items, shared=None):
    executor = session.executor(task, shared)
    for item in items:
        executor.submit(item)
    found = []
    while len(found) < len(items):
        if isinstance(event := executor.next_event(1.0), Done):
            found.append(event.result)
    return found

def slots(session):
    return sum(node.slots for node in session.nodes)

def threads(item, shared):
    import os
    return os.environ["OMP_NUM_THREADS"]
    yield

def process(item, shared):
    # Each keeps its slot until as many processes have begun as there shall be.
    import os, time
    folder, processes = shared
    open(f"{folder}/{os.getpid()}", "w").close()
    while len(os.listdir(folder)) < processes:
        time.sleep(0.01)
    return os.getpid()
    yield

address = sys.argv[1]
"""
NEEDS_SCRIPT = """
with ray_session(address=address, cpus=2) as session:
    print(slots(session), session.device, results(session, threads, [1]))
for gpus in (1, 0.5):
    with ray_session(address=address, device="auto", gpus=gpus) as session:
        shared = tempfile.mkdtemp(), slots(session)
        print(slots(session), session.device, len(set(results(session, process, range(4), shared))))
for device in ("cpu", "cuda"):
    try:
        with ray_session(address=address, cpus=64, device=device):
            pass
    except ClusterError as error:
        print(error)
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a user who has a token; nothing that Ray has set in this process."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ray").mkdir()
    (home / ".ray" / "auth_token").write_text(64 * "a")
    return environment_of(home)


@pytest.fixture(scope="module")
def existing_cluster(elsewhere: dict[str, str]) -> Iterator[str]:
    """A cluster of one node with a GPU, started as that user would start it: with token authentication."""
    with cluster(elsewhere, Path(elsewhere["HOME"]), gpus=1) as address:
        yield address


@pytest.mark.ray
def test_an_existing_cluster_runs_tasks_that_fit_and_refuses_others(
    existing_cluster: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(CLUSTER_SCRIPT + NEEDS_SCRIPT)
    run = [sys.executable, str(script), existing_cluster]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, env=elsewhere)
    assert done.stdout.splitlines() == [
        "1 cpu ['2']",
        "1 cuda 1",  # task after task in the same process
        "2 cuda 2",
        "64: no node has as many CPUs; allowed: up to 2",
        "64: no node with a GPU has as many CPUs; allowed: up to 2",
    ], done.stderr


SEVERAL_GPUS_SCRIPT = """
from cluster import UnauthenticatedError
try:
    with ray_session(address=address):
        print("let in")
except UnauthenticatedError as error:
    print(error)
with ray_session(address=address, allow_unauthenticated=True, device="cuda") as session:
    print(len(set(results(session, process, range(3), (tempfile.mkdtemp(), 1)))))
"""


@pytest.mark.ray
@pytest.mark.slow
def test_where_a_node_has_several_gpus_no_worker_gets_one_after_another(
    elsewhere: dict[str, str], tmp_path: Path
) -> None:
    """Also that its cluster, which asks nobody for a token, is used only where that is allowed."""
    script = tmp_path / "script.py"
    script.write_text(CLUSTER_SCRIPT + SEVERAL_GPUS_SCRIPT)
    with cluster(elsewhere | {"RAY_AUTH_MODE": "disabled"}, tmp_path, gpus=2) as address:
        own_address: Any = services.get_node_ip_address  # Ray's types leave it out
        run = [sys.executable, str(script), address.replace("127.0.0.1", own_address())]
        done = subprocess.run(run, capture_output=True, text=True, timeout=240, env=elsewhere)
    refusal, count = done.stdout.splitlines()
    assert ("works without authentication" in refusal, count) == (True, "3"), done.stderr


BUSY_SCRIPT = """
import sys, time
from cluster import Done
from cluster.ray_session import ray_session

def stay(item, shared):
    yield "there"
    time.sleep(1000)

def go(item, shared):
    return "gone"
    yield

with ray_session(address=sys.argv[1], cpus=2) as session:
    executor = session.executor(stay if sys.argv[2] == "stay" else go, None)
    executor.submit(1)
    event = None
    while not isinstance(event, Done):
        if (event := executor.next_event(1.0)) is not None:
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
        assert "Started" in first.stdout.readline()
        assert "there" in first.stdout.readline()
        with subprocess.Popen(starts[1], stdout=subprocess.PIPE, text=True, env=elsewhere) as second:
            assert second.stdout
            assert "no task has started yet: 0 of 2 CPUs of the cluster are free" in second.stdout.readline()
            first.kill()
            assert "gone" in second.stdout.read()


@pytest.mark.ray
def test_a_cluster_turns_away_whoever_has_another_token_and_the_message_says_so(
    existing_cluster: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(CLUSTER_SCRIPT + NEEDS_SCRIPT)
    stranger = elsewhere | {"RAY_AUTH_TOKEN": 64 * "b"}
    run = [sys.executable, str(script), existing_cluster]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, env=stranger)
    assert done.stderr.splitlines()[-1] == (
        f"cluster.interface.AddressError: Ray at '{existing_cluster}': refuses the token in RAY_AUTH_TOKEN; allowed: "
        "the token of that cluster in RAY_AUTH_TOKEN, the file in RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"
    )
