"""A Ray cluster on the hosts of `support.hosts`: a head without CPUs, and nodes that join it, break and are lost."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.hosts import Host, Network, kill, network_of_hosts

PORT, DASHBOARD_PORT = 6379, 8265
START_TIMEOUT_S = 240.0
REPOSITORY = Path(__file__).parents[2]
TOKEN = 64 * "a"
_RAY = (sys.executable, "-m", "ray.scripts.scripts")
# Prints the hosts of the nodes that are alive whenever they change.
_WATCH = """
import sys, time, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
before = None
while True:
    hosts = sorted(node["NodeManagerHostname"] for node in ray.nodes() if node["Alive"])
    if hosts != before:
        print(*hosts, flush=True)
    before = hosts
    time.sleep(0.5)
"""


@dataclass(frozen=True)
class RayHosts:
    """A cluster that runs; its store is a folder that its hosts share."""

    network: Network
    head: Host
    store: Path
    env: dict[str, str]  # of its processes

    @property
    def address(self) -> str:
        return f"{self.head.address}:{PORT}"

    @property
    def job_server(self) -> str:
        return f"http://{self.head.address}:{DASHBOARD_PORT}"

    def add_node(self, name: str, cpus: int = 1, prepare: Callable[[Host], None] = lambda host: None) -> Host:
        """Start a host, change it as asked, and let it join the cluster; return without waiting for that."""
        host = self.network.add_host(name)
        prepare(host)
        self.join(host, cpus)
        return host

    def join(self, host: Host, cpus: int = 1) -> None:
        """Start Ray on a host."""
        _start_ray(host, self.env, f"--address={self.address}", f"--num-cpus={cpus}")

    def wait_for_nodes(self, *names: str) -> None:
        """Wait until the cluster has exactly these nodes, its head aside."""
        expected = " ".join(sorted([*names, self.head.name]))
        watch = self.head.start(sys.executable, "-c", _WATCH, self.address, log="nodes.log", env=environment())
        try:
            wait_until(lambda: self._last_line(self.head, "nodes.log") == expected, expected, START_TIMEOUT_S)
        except AssertionError as error:
            logs = {name: self._last_line(host, "ray.log") for name, host in self.network.hosts.items()}
            raise AssertionError(f"{error}, but {self._last_line(self.head, 'nodes.log')!r}; {logs}") from None
        finally:
            kill(watch)
            (self.head.folder / "nodes.log").unlink()

    def _last_line(self, host: Host, log: str) -> str:
        path = host.folder / log
        return (path.read_text().splitlines() or [""])[-1] if path.exists() else ""


def environment() -> dict[str, str]:
    """Return what a user's environment on every host has in it; nothing of the Ray of this process."""
    ray = {name: "" for name in os.environ if name.startswith("RAY_")}
    python = {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
    token = {"RAY_AUTH_TOKEN": TOKEN, "RAY_AUTH_MODE": "token", "RAY_USAGE_STATS_ENABLED": "0"}
    return {**ray, **python, **token, "MNISTJOBS_STORE": "", "TMPDIR": "/tmp"}


# Ray gives a node 30 seconds to start, which a busy machine may not have.
_TRY_AGAIN = 'for attempt in 1 2 3 4; do "$@" && exit; "$1" "$2" "$3" stop --force; done'


def _start_ray(host: Host, env: Mapping[str, str], *options: str) -> "subprocess.Popen[str]":
    memory = f"--object-store-memory={100 * 2**20}"
    start = (*_RAY, "start", *options, memory, f"--node-ip-address={host.address}", "--block")
    return host.start("bash", "-c", _TRY_AGAIN, "bash", *start, log="ray.log", env=env)


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float) -> None:
    """Wait for a condition, which has to come true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:.0f} s: {what}"
        time.sleep(0.2)


def start_head(network: Network, name: str, *options: str) -> RayHosts:
    """Start the head of a cluster on a new host: a node without CPUs.

    Args:
        network: Where.
        name: Of the host.
        options: Further ones of `ray start`.
    """
    store = network.folder / "store"
    store.mkdir(exist_ok=True)
    cluster = RayHosts(network, network.add_host(name), store, environment())
    _start_ray(cluster.head, cluster.env, "--head", f"--port={PORT}", "--num-cpus=0", *options)
    return cluster


@contextmanager
def ray_on_hosts(*nodes: str) -> Iterator[RayHosts]:
    """Start a cluster: a head without CPUs, n1, and nodes of one CPU each."""
    with network_of_hosts() as network:
        cluster = start_head(network, "n1", "--include-dashboard=false")
        for number, name in enumerate(nodes, 1):
            cluster.add_node(name)
            cluster.wait_for_nodes(*nodes[:number])
        yield cluster
