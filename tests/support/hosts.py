"""Several hosts on one machine: each has its own network, processes, mounts and name, and all share a folder.

A host is a process and what runs in its namespaces. Ray looks for "its" node among the processes that it sees, so
that namespaces of the network alone do not make hosts. Everything ends with the process that made it, however that
ends: the first process of each host is killed with its parent, and with it go all its processes, mounts and links.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO

import psutil

MAX_HOSTS = 16
START_TIMEOUT_S = 20.0
NETWORK = "10.77.0"
_PARENT, _PREFIX = "/var/tmp", "mnistjobs-hosts-"
# The first process of a host collects the processes whose parents have died.
_INIT = """
set -e
hostname "$1"
mount --make-rprivate /
mkdir -p /tmp/ray "$2/ray" && mount --bind "$2/ray" /tmp/ray
mount -t tmpfs -o size=2g tmpfs /dev/shm
touch "$2/ready"
while :; do sleep 3600 & wait $! || true; done
"""


class HostError(Exception):
    """This machine makes no such host."""


@dataclass(frozen=True)
class Host:
    """A host that runs."""

    name: str
    address: str
    folder: Path  # of its own
    process: "subprocess.Popen[str]"  # the parent of its first process
    first_pid: int
    commands: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self, *words: object, log: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a command on the host; what it prints goes to a file of the host's folder."""
        with (self.folder / log).open("a") as output:
            return self._popen(words, env, stdout=output, stderr=subprocess.STDOUT)

    def start_piped(self, *words: object, log: str, env: Mapping[str, str] | None = None) -> "subprocess.Popen[str]":
        """Start a command on the host with a pipe for its output; its errors go to a file of the host's folder."""
        with (self.folder / log).open("a") as errors:
            return self._popen(words, env, stdout=subprocess.PIPE, stderr=errors)

    def _popen(
        self, words: Sequence[object], env: Mapping[str, str] | None, *, stdout: int | IO[str], stderr: int | IO[str]
    ) -> "subprocess.Popen[str]":
        enter = ["nsenter", "--target", str(self.first_pid), "--net", "--uts", "--pid", "--mount", "--wd=/", "--"]
        environment = {**os.environ, "HOME": str(self.folder), **(env or {})}
        command = [*enter, *map(str, words)]
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, text=True, env=environment)
        self.commands.append(process)
        return process

    def run(
        self, *words: object, env: Mapping[str, str] | None = None, timeout_s: float = 60.0
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command on the host to its end."""
        process = self._popen(words, env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            kill(process)
            process.communicate()
            raise
        return subprocess.CompletedProcess(list(map(str, words)), process.returncode, out, err)

    def hide(self, source: Path, target: Path) -> None:
        """Let this host, and no other one, see something else at a path."""
        done = self.run("mount", "--bind", source, target)
        if done.returncode:
            raise HostError(f"mount {target}: {done.stderr.strip()}")

    def lose_way_to(self, other: "Host") -> None:
        """Let nothing that this host sends reach another one, as with a firewall between them; no error tells it so."""
        nobody = ("lladdr", "02:00:00:00:00:99", "dev", "eth0", "nud", "permanent")
        done = self.run("ip", "neigh", "replace", other.address, *nobody)
        if done.returncode:
            raise HostError(f"ip neigh: {done.stderr.strip()}")

    def die(self) -> None:
        """Kill everything that runs on the host at once, as if it had lost its power."""
        self.process.send_signal(signal.SIGKILL)  # its first process is killed with it
        self.process.communicate(timeout=START_TIMEOUT_S)
        for command in self.commands:
            command.kill()
            command.wait(START_TIMEOUT_S)


class Network:
    """Hosts that reach each other; the machine itself, and everything beyond it, they do not reach."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder  # on every host at the same path
        self.hosts: dict[str, Host] = {}
        self._count = 0
        self._switch = _start_namespaces("--net", "sleep", "infinity")
        self._on_switch("ip", "link", "add", "bridge", "type", "bridge")
        self._on_switch("ip", "link", "set", "bridge", "up")

    def add_host(self, name: str) -> Host:
        """Start a host and connect it."""
        self._count += 1
        if self._count > MAX_HOSTS:
            raise HostError(f"more than {MAX_HOSTS} hosts")
        own = self.folder / name
        own.mkdir()
        process = _start_namespaces(
            "--net", "--uts", "--mount", "--mount-proc", "--pid", "bash", "-c", _INIT, "init", name, str(own)
        )
        _wait_for(own / "ready", process)
        host = Host(name, f"{NETWORK}.{self._count}", own, process, _first_pid(process))
        self._connect(host)
        self.hosts[name] = host
        return host

    def _connect(self, host: Host) -> None:
        link = f"to-{host.name}"
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(host.first_pid))
        self._on_switch("ip", "link", "add", link, *peer)
        self._on_switch("ip", "link", "set", link, "master", "bridge", "up")
        for words in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{host.address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("route", "add", "default", "via", f"{NETWORK}.254"),  # Ray takes its own address from this route
        ):
            done = host.run("ip", *words)
            if done.returncode:
                raise HostError(f"ip {' '.join(words)}: {done.stderr}")

    def cut(self, host: Host) -> None:
        """Let no packet reach a host or leave it any longer; its processes go on."""
        self._on_switch("ip", "link", "set", f"to-{host.name}", "down")

    def mend(self, host: Host) -> None:
        """Undo `cut`."""
        self._on_switch("ip", "link", "set", f"to-{host.name}", "up")

    def remove(self, host: Host) -> None:
        """Kill a host; its link goes with it."""
        del self.hosts[host.name]
        host.die()

    def close(self) -> None:
        """Kill every host and the network."""
        for host in list(self.hosts.values()):
            self.remove(host)
        self._switch.kill()
        self._switch.communicate(timeout=START_TIMEOUT_S)

    def _on_switch(self, *words: str) -> None:
        enter = ["nsenter", "--target", str(_first_pid(self._switch)), "--net", "--"]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=START_TIMEOUT_S)
        if done.returncode:
            raise HostError(f"{' '.join(words)}: {done.stderr.strip()}")


def kill(command: "subprocess.Popen[str]") -> None:
    """Kill a command on a host: nsenter, which is killed with it, is only the parent of its process."""
    with suppress(psutil.NoSuchProcess):
        for child in psutil.Process(command.pid).children(recursive=True):
            child.kill()
    command.kill()
    command.wait(START_TIMEOUT_S)


@contextmanager
def network_of_hosts() -> Iterator[Network]:
    """Make a network without hosts, and a folder that all hosts see at the same path."""
    if reason := why_no_hosts():
        raise HostError(reason)
    with ExitStack() as stack:
        # Not in /tmp/ray nor /dev/shm, of which each host has its own.
        _remove_leftovers()
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_PARENT))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        network = Network(folder)
        stack.callback(network.close)
        yield network


@cache
def why_no_hosts() -> str:
    """Return why this machine cannot make hosts; "" where it can."""
    for program in ("ip", "unshare", "nsenter", "setpriv"):
        if not shutil.which(program):
            return f"{program} is not installed (Debian: iproute2, util-linux)"
    try:
        with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", dir=_PARENT) as folder:
            network = Network(Path(folder))
            try:
                network.add_host("probe")
            finally:
                network.close()
    except (HostError, OSError, subprocess.SubprocessError) as error:
        return f"this machine permits no namespaces: {error}"
    return ""


def _remove_leftovers() -> None:
    """Remove the folders of processes that were killed; all else has ended with them."""
    for path in Path(_PARENT).glob(f"{_PREFIX}*-*"):
        pid = path.name.removeprefix(_PREFIX).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _start_namespaces(*words: str) -> "subprocess.Popen[str]":
    """Start a command in new namespaces, as the child of a process that it dies with, and that dies with this one."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--fork", "--kill-child=KILL", *_flags_first(words)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise HostError(f"unshare: {process.communicate()[1].strip()}")
        if psutil.Process(process.pid).children():
            return process
        time.sleep(0.01)
    process.kill()
    process.communicate()
    raise HostError(f"unshare: no child after {START_TIMEOUT_S:.0f} s")


def _flags_first(words: Sequence[str]) -> list[str]:
    flags = [word for word in words if word.startswith("--")]
    return [*flags, "--", *words[len(flags) :]]


def _first_pid(process: "subprocess.Popen[str]") -> int:
    (child,) = psutil.Process(process.pid).children()
    return int(child.pid)


def _wait_for(path: Path, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not path.exists():
        if process.poll() is not None:
            raise HostError(f"a host did not start: {process.communicate()[1].strip()}")
        if time.monotonic() > deadline:
            process.kill()
            process.communicate()
            raise HostError(f"a host did not start within {START_TIMEOUT_S:.0f} s")
        time.sleep(0.01)
