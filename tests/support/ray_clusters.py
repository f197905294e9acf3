"""Ray clusters of one node on this machine, started as somebody else would start them."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

START = ["-m", "ray.scripts.scripts", "start", "--head", "--num-cpus=2", "--include-dashboard=false", "--block"]


def environment_of(home: Path, **variables: str) -> dict[str, str]:
    """Return this process's environment without what Ray has set in it, with another home and further variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, "HOME": str(home), **variables}


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def cluster(environment: Mapping[str, str], folder: Path, gpus: int = 0) -> Iterator[str]:
    """Start a cluster of two CPUs, and kill it at the end; yield its address.

    Args:
        environment: Of its processes: decides whether it asks for a token.
        folder: The working directory of its processes.
        gpus: GPUs for which Ray takes our word.
    """
    port, quiet = free_port(), subprocess.DEVNULL
    command = [sys.executable, *START, f"--port={port}", f"--num-gpus={gpus}"]
    process = subprocess.Popen(
        command, stdout=quiet, stderr=quiet, start_new_session=True, cwd=folder, env=dict(environment)
    )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.2)
        yield f"127.0.0.1:{port}"
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # SIGTERM would drain the node for half a minute
        process.wait(timeout=30)
