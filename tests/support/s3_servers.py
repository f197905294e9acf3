"""S3 servers on loopback, each a process of its own: moto, and rclone, which ignores conditions on writes."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.ray_clusters import free_port

KEY, SECRET = "a-test-key", "a-test-secret"
BUCKET = "studies"
_START_S = 60.0


@dataclass(frozen=True)
class S3Server:
    """A server that runs, with one bucket in it."""

    endpoint: str
    process: subprocess.Popen[bytes]
    key: str = KEY
    secret: str = SECRET

    def environment(self) -> dict[str, str]:
        """Return what a client needs: dummy keys and the endpoint, so that nothing else is ever asked."""
        return {
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
        }

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Make it the server of the test."""
        for name, value in self.environment().items():
            patch.setenv(name, value)


@contextmanager
def moto() -> Iterator[S3Server]:
    """Run moto."""
    port = free_port()
    with _running(_moto_words(port), port) as server:
        make_bucket(server, BUCKET)
        yield server


@contextmanager
def moto_with_a_reader() -> Iterator[S3Server]:
    """Run moto with a user who may list and read the bucket, and nothing else."""
    import boto3

    port, open_calls = free_port(), 4  # before permissions count
    with _running(_moto_words(port), port, INITIAL_NO_AUTH_ACTION_COUNT=str(open_calls)) as server:
        common = {"endpoint_url": server.endpoint, "region_name": "us-east-1"}
        admin = {"aws_access_key_id": KEY, "aws_secret_access_key": SECRET}
        boto3.client("s3", **common, **admin).create_bucket(Bucket=BUCKET)
        iam = boto3.client("iam", **common, **admin)
        iam.create_user(UserName="reader")
        allowed = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:ListBucket"], "Resource": "*"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
        iam.put_user_policy(UserName="reader", PolicyName="read", PolicyDocument=policy)
        made = iam.create_access_key(UserName="reader")["AccessKey"]
        yield S3Server(server.endpoint, server.process, made["AccessKeyId"], made["SecretAccessKey"])


@contextmanager
def rclone(folder: Path) -> Iterator[S3Server]:
    """Run rclone's server over a folder."""
    (folder / BUCKET).mkdir(parents=True)
    port = free_port()
    with _running(_rclone_words(folder, port), port) as server:
        yield server


def _rclone_words(folder: Path, port: int) -> list[str]:
    words = [str(Path(sys.executable).parent / "rclone"), "serve", "s3", "--auth-key", f"{KEY},{SECRET}", "--addr"]
    return [*words, f"127.0.0.1:{port}", "--config", "", "--vfs-cache-mode", "off", str(folder)]


class MortalServer:
    """An rclone over a folder that can be killed, and started again at the same address.

    Args:
        folder: The folder; the bucket in it is made.
    """

    def __init__(self, folder: Path) -> None:
        (folder / BUCKET).mkdir(parents=True)
        self.bucket = folder / BUCKET
        self._port = free_port()
        self._words = _rclone_words(folder, self._port)
        self.start()

    def start(self) -> None:
        """Start it; it must not run."""
        self.server = _start(self._words, self._port)

    def kill(self) -> None:
        """SIGKILL it."""
        self.server.process.kill()
        self.server.process.wait()


def make_bucket(server: S3Server, name: str) -> None:
    """Make a bucket in moto, which asks nobody for a signature."""
    request = urllib.request.Request(f"{server.endpoint}/{name}", method="PUT")
    with urllib.request.urlopen(request, timeout=_START_S):
        pass


def _moto_words(port: int) -> list[str]:
    return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]


@contextmanager
def _running(words: list[str], port: int, **settings: str) -> Iterator[S3Server]:
    server = _start(words, port, **settings)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


def _start(words: list[str], port: int, **settings: str) -> S3Server:
    nothing = subprocess.DEVNULL
    environment = {**os.environ, **settings}
    process = subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing, env=environment)
    try:
        _wait_for(port, process)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return S3Server(f"http://127.0.0.1:{port}", process)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
            assert time.monotonic() < deadline_s, f"{process.args!r} does not listen"
            time.sleep(0.05)
