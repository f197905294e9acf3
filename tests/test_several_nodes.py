"""A study on a cluster of several nodes: they join, differ, break, are cut off and are lost, and so is the driver.

Each node is a host of its own (`support.hosts`). Run by `make test-cluster`, in this order, as each test leaves the
cluster to the next one; minutes long, and left out where the machine permits no namespaces.
"""

import re
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from support.driver_on_host import DriverOnHost, Event
from support.hosts import Host, why_no_hosts
from support.ray_hosts import REPOSITORY, RayHosts, environment, ray_on_hosts, wait_until
from support.reference_study import ReferenceStudy, reference_study

import mnistjobs

pytestmark = [pytest.mark.several_nodes, pytest.mark.ray]
GRID = """
name: several
dataset: digits
grid: {model: [mlp], subset_size: [1200], adaptive_lr: [false, true], seed: [0, 1, 2, 3]}
train: {epochs: 300, batch_size: 32, learning_rate: 0.002}
"""
ONE_LONG_TRIAL = """
name: one
dataset: digits
grid: {model: [mlp], subset_size: [1200], adaptive_lr: [false], seed: [0]}
train: {epochs: 1000, batch_size: 32, learning_rate: 0.002}
retries: 0
resources: {checkpoint_seconds: 1}
"""
JOB_S, JOIN_S, START_S, LOST_S = 600.0, 240.0, 240.0, 120.0  # bounds against hanging, on a machine that may be busy
LOSS_S = 90.0  # within which results go on after a node was cut off


@pytest.fixture(scope="module")
def cluster() -> Iterator[RayHosts]:
    """A head without CPUs, n1; a node, n2; a broken one, n4; an outdated one, n5; and n6, which has another store."""
    if reason := why_no_hosts():
        pytest.skip(reason)
    with ray_on_hosts("n2") as cluster:
        differing = {"n4": break_package, "n5": install_older_numpy, "n6": mount_other_store}
        for number, (name, prepare) in enumerate(differing.items(), 1):
            cluster.add_node(name, prepare=prepare)
            cluster.wait_for_nodes("n2", *list(differing)[:number])
        yield cluster


@pytest.fixture(scope="module")
def grid(cluster: RayHosts) -> Path:
    path = cluster.network.folder / "grid.yaml"
    path.write_text(GRID)
    return path


@pytest.fixture(scope="module")
def expected(grid: Path) -> Iterator[ReferenceStudy]:
    with reference_study(grid, grid.parent / "expected") as study:
        yield study


def break_package(host: Host) -> None:
    broken = host.folder / "broken.py"
    broken.write_text("raise ImportError('libbroken.so: cannot open shared object file')\n")
    host.hide(broken, REPOSITORY / "jobs" / "__init__.py")


def install_older_numpy(host: Host) -> None:
    metadata = Path(np.__file__).parents[1] / f"numpy-{version('numpy')}.dist-info" / "METADATA"
    older = host.folder / "METADATA"
    older.write_text(re.sub(r"(?m)^Version: .*", "Version: 1.26.4", metadata.read_text()))
    host.hide(older, metadata)


def mount_other_store(host: Host) -> None:
    (host.folder / "other").mkdir()
    host.hide(host.folder / "other", host.folder.parent / "store")


def about(kind: str, host: str = "") -> Callable[[Event], bool]:
    """Return whether an event is of a kind, and about a node of a host."""
    return lambda event: event["kind"] == kind and host in ("", event.get("node", "").partition("/")[0])


def test_a_node_that_joins_is_used_and_those_that_differ_are_named(
    cluster: RayHosts, grid: Path, expected: ReferenceStudy
) -> None:
    driver = DriverOnHost(cluster.head, grid, cluster.store, cluster.address)
    reasons = {
        "n4": "mnistjobs 0.2.0, which cannot be imported (ImportError: libbroken.so: cannot open shared object file),",
        "n5": f"numpy 1.26.4 instead of {version('numpy')}",
        "n6": "store not shared (the driver's file in it: No such file or directory) instead of shared (proof ",
    }
    for host, reason in reasons.items():
        refused = driver.wait_for(about("RefuseNode", host), f"{host} is refused", START_S)
        assert refused["reason"].startswith(reason)
    driver.wait_for(about("Started", "n2"), "a trial starts", START_S)
    wait_until(lambda: "1+ pending tasks" in pending_demands(cluster), "an autoscaler sees waiting tasks", START_S)
    cluster.add_node("n3")
    driver.wait_for(about("Started", "n3"), "a trial starts on the node that has joined", JOIN_S)
    end = driver.finish(JOB_S)
    assert (end["kind"], end["state"]) == ("End", "finished")
    assert set(mnistjobs.read_trials(cluster.store, end["job_id"])["host"].to_pylist()) == {"n2", "n3"}
    expected.check_equal(cluster.store, end["job_id"])


def pending_demands(cluster: RayHosts) -> str:
    words = (sys.executable, "-m", "ray.scripts.scripts", "status", "--address", cluster.address)
    return cluster.head.run(*words, env=environment(), timeout_s=START_S).stdout.partition("Pending Demands:")[2]


def test_a_node_that_is_cut_off_is_lost_in_time_and_the_others_go_on(
    cluster: RayHosts, grid: Path, expected: ReferenceStudy
) -> None:
    store = cluster.network.folder / "partition"
    driver = DriverOnHost(cluster.head, grid, store, cluster.address)
    lost = driver.wait_for(about("Started", "n3"), "a trial starts", START_S)
    cluster.network.cut(cluster.network.hosts["n3"])
    retry = driver.wait_for(about("Retry"), "the trial is tried again", LOSS_S)
    assert (retry["failure"], retry["trials"]) == ("node_lost", lost["trials"])
    end = driver.finish(JOB_S)
    assert (end["kind"], end["state"]) == ("End", "finished")
    expected.check_equal(store, end["job_id"])
    cluster.network.remove(cluster.network.hosts["n3"])


def test_a_trial_whose_node_is_lost_five_times_finishes(cluster: RayHosts, grid: Path) -> None:
    path = grid.with_name("one.yaml")
    path.write_text(ONE_LONG_TRIAL)
    driver = DriverOnHost(cluster.head, path, cluster.store, cluster.address)
    seen = 0
    for number in range(5):
        cluster.add_node(f"spare{number}")
        started = driver.wait_for(about("Started"), f"attempt {number + 1} starts", START_S, seen)
        seen = driver.events.index(started) + 1
        cluster.network.remove(cluster.network.hosts[started["node"].partition("/")[0]])
    end = driver.finish(JOB_S)
    assert (end["kind"], end["state"]) == ("End", "finished")
    assert [event["failure"] for event in driver.of_kind("Retry")] == 5 * ["node_lost"]


def test_a_killed_driver_is_not_believed_and_its_study_goes_on_elsewhere(
    cluster: RayHosts, grid: Path, expected: ReferenceStudy
) -> None:
    store = cluster.network.folder / "killed"
    driver = DriverOnHost(cluster.head, grid, store, cluster.address)
    driver.wait_for(about("Done"), "a trial ends", JOB_S)
    driver.kill()
    node = next(host for name, host in cluster.network.hosts.items() if name.startswith(("n2", "spare")))
    listing = (sys.executable, "-m", "mnistjobs", "list", "--store", store)
    killed_s = time.monotonic()
    while "running on n1" in (listed := node.run(*listing, env=environment(), timeout_s=START_S)).stdout:
        assert time.monotonic() - killed_s < LOST_S
    assert re.search("lost, last sign of life [34][0-9] s ago", listed.stdout)
    end = DriverOnHost(node, grid, store, cluster.address).finish(JOB_S)
    assert (end["kind"], end["state"]) == ("End", "finished")
    expected.check_equal(store, end["job_id"])


def test_a_driver_that_is_not_on_a_node_learns_so_at_once(cluster: RayHosts, grid: Path) -> None:
    outside = cluster.network.add_host("outside")
    words = ("submit", grid, "--store", cluster.network.folder / "outside-store", "--address", cluster.address)
    done = outside.run(sys.executable, "-m", "mnistjobs", *words, env=environment(), timeout_s=START_S)
    assert done.returncode == 2
    (message,) = done.stderr.splitlines()
    assert f"this machine is not one of its nodes ({cluster.head.address}, " in message
    assert "; run this on one of them" in message


def test_a_cluster_without_a_node_that_can_be_used_is_refused_in_one_message(cluster: RayHosts, grid: Path) -> None:
    for name in [name for name in cluster.network.hosts if name.startswith(("n2", "n3", "spare"))]:
        cluster.network.remove(cluster.network.hosts[name])
    cluster.wait_for_nodes("n4", "n5", "n6")
    store = cluster.store
    words = ("submit", grid, "--store", store, "--address", cluster.address)
    before = mnistjobs.list_jobs(store)
    grid.write_text(GRID.replace("epochs: 300", "epochs: 301"))
    done = cluster.head.run(sys.executable, "-m", "mnistjobs", *words, env=environment(), timeout_s=START_S)
    assert done.returncode == 2
    assert mnistjobs.list_jobs(store) == before
    (message,) = [line for line in done.stderr.splitlines() if "no node of the cluster can be used" in line]
    assert [host for host in ("n4/", "n5/", "n6/") if host in message] == ["n4/", "n5/", "n6/"]
    assert "numpy 1.26.4 instead of" in message


def test_a_driver_behind_a_firewall_is_told_so(cluster: RayHosts, grid: Path) -> None:
    walled = cluster.add_node("walled", cpus=0)
    cluster.wait_for_nodes("n4", "n5", "n6", "walled")
    for name in ("n4", "n5", "n6"):
        cluster.network.hosts[name].lose_way_to(walled)
    words = ("submit", grid, "--store", cluster.store, "--address", cluster.address)
    done = walled.run(sys.executable, "-m", "mnistjobs", *words, env=environment(), timeout_s=START_S)
    assert done.returncode == 2
    (message,) = [line for line in done.stderr.splitlines() if "no node of the cluster can be used" in line]
    assert message.count("it has not answered for 60 s") == 3
    assert message.endswith("firewalls have to let all ports pass between the nodes")
