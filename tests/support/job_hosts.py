"""The cluster of docs/cluster.md on hosts of this machine, started by the page's own commands, and a laptop beside it.

The nodes have everything that is needed but mnistjobs. The laptop is no node: it reaches the head's port and the store,
which is a folder that all hosts share, or a bucket on a host of its own.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import files
from pathlib import Path
from typing import Any

from support.cluster_page import blocks
from support.hosts import NETWORK, Host, Network
from support.ray_hosts import REPOSITORY, wait_until

START_TIMEOUT_S = 240.0
STORAGE, STORAGE_PORT = f"{NETWORK}.1", 9000  # the first host of its network
BUCKET = "s3://studies/lab"
_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "a-test-key",
    "AWS_SECRET_ACCESS_KEY": "a-test-secret",
    "AWS_REGION": "us-east-1",
    "AWS_ENDPOINT_URL": f"http://{STORAGE}:{STORAGE_PORT}",
}
_MAKE_BUCKET = "import urllib.request as r, sys; r.urlopen(r.Request(sys.argv[1], method='PUT'), timeout=5)"
# What the commands of the page leave to the machine: addresses and sizes that suit a host which is a namespace. Ray
# gives a node 30 seconds to start, which a busy machine may not have.
_PRELUDE = """
set -e
ray() {
  test "$1" = start || { "$RAY" "$@"; return; }
  for attempt in 1 2 3 4; do
    "$RAY" "$@" --num-cpus=$CPUS --object-store-memory=100000000 --node-ip-address=$IP && return
    "$RAY" stop --force
  done
  return 1
}
"""


_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PROGRAMS = Path(sys.executable).parent


def environment(**variables: str) -> dict[str, str]:
    """Return the environment of a user on a host: no Ray and no mnistjobs of this process, and no python with Ray."""
    own = {name: "" for name in os.environ if name.startswith(("RAY_", "MNISTJOBS_", "PYTHON"))}
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "TMPDIR": "/tmp"}
    return {**own, **_CREDENTIALS, **quiet, "PATH": _SYSTEM_PATH, **variables}


def laptop_environment(**variables: str) -> dict[str, str]:
    """Return the environment of the user whose laptop has mnistjobs."""
    return environment(PATH=f"{_PROGRAMS}:{_SYSTEM_PATH}", PYTHONPATH=str(REPOSITORY), **variables)


@dataclass(frozen=True)
class JobHosts:
    """A cluster whose head has no CPUs, and its nodes of one CPU each."""

    head: Host
    nodes: tuple[Host, ...]

    @property
    def address(self) -> str:
        return f"http://{self.head.address}:8265"


def start_storage(network: Network) -> Host:
    """Start a server of S3 on the first host of a network, and make the bucket."""
    host = network.add_host("storage")
    assert host.address == STORAGE
    host.start(sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", STORAGE_PORT, log="moto.log")
    make = (sys.executable, "-c", _MAKE_BUCKET, f"http://{STORAGE}:{STORAGE_PORT}/studies")
    wait_until(lambda: host.run(*make).returncode == 0, "the bucket is there", START_TIMEOUT_S)
    return host


def start_cluster(network: Network, head: str, *nodes: str) -> JobHosts:
    """Start a cluster as the page says, on new hosts, and wait until all nodes have joined."""
    hosts = [network.add_host(name) for name in (head, *nodes)]
    for host in hosts:
        _uninstall(host)
    cluster = JobHosts(hosts[0], tuple(hosts[1:]))
    _run_page("head", cluster.head, cluster.head, cpus=0)
    for host in cluster.nodes:
        give_token(cluster.head, host)
    _run_page("node", cluster.head, *cluster.nodes, cpus=1)
    return cluster


def give_token(head: Host, host: Host) -> None:
    """Copy the token of a head to the home folder of a user on another host."""
    shutil.copytree(head.folder / ".ray", host.folder / ".ray", dirs_exist_ok=True)


def _run_page(name: str, head: Host, *hosts: Host, cpus: int) -> None:
    """Run a block of the page on some hosts at the same time."""
    (text,) = blocks(name)
    script, log = _PRELUDE + text.replace("HEAD", head.address), f"start-{name}.log"
    for host in hosts:
        host.start(
            "bash", "-c", script, log=log, env=environment(IP=host.address, CPUS=str(cpus), RAY=str(_PROGRAMS / "ray"))
        )
    for host in hosts:
        host.commands[-1].wait(START_TIMEOUT_S)
        assert host.commands[-1].returncode == 0, (host.folder / log).read_text()[-2000:]


def _uninstall(host: Host) -> None:
    """Let a host, and no other one, have no mnistjobs."""
    nothing, empty = host.folder / "nothing", host.folder / "empty.pth"
    nothing.mkdir()
    empty.touch()
    for file in files("mnistjobs") or ():
        path = Path(str(file.locate()))
        if path.name == "METADATA":
            host.hide(nothing, path.parent)
        elif path.suffix == ".pth":
            host.hide(empty, path)


@dataclass(frozen=True)
class Laptop:
    """A host with mnistjobs that is no node."""

    host: Host
    store: Path | str

    def run(self, *words: object, timeout_s: float = 120.0, **variables: str) -> "subprocess.CompletedProcess[str]":
        """Run mnistjobs on the store."""
        command = ("mnistjobs", *words, "--store", self.store)
        return self.host.run(*command, env=laptop_environment(**variables), timeout_s=timeout_s)

    def status(self, job_id: str) -> dict[str, Any]:
        """Return what `status --json` tells."""
        done = self.run("status", job_id, "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def wait_for(
        self, job_id: str, condition: Callable[[dict[str, Any]], bool], what: str, timeout_s: float
    ) -> dict[str, Any]:
        """Wait until the status of a job meets a condition; each look takes a second of one CPU."""
        deadline = time.monotonic() + timeout_s
        while not condition(status := self.status(job_id)):
            log = self.run("logs", job_id).stdout[-3000:] if time.monotonic() > deadline else ""
            assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}; {status}; {log}"
            time.sleep(2)
        return status
