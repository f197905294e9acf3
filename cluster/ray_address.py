"""The address of a Ray cluster, checked before Ray itself connects: it takes minutes, or for ever, to give up."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray._private import services

from cluster.interface import AddressError, UnauthenticatedError
from cluster.job_server import is_loopback
from cluster.ray_environment import python_environment
from cluster.ray_token import TOKEN_SOURCES, find_token

_ADDRESSES = "HOST:PORT of a running cluster, auto for the one on this machine, or local to start one"
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 50.0  # a node of the cluster has to start its first workers before it accepts a driver
# What would change how a driver connects: another address, and code of others that may upload the working directory.
NOT_FOR_CLUSTERS = ("RAY_ADDRESS", "RAY_RUNTIME_ENV_HOOK")
# Every gRPC server answers this, the beginning of HTTP/2, with its settings.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS_FRAME = 4


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that answers, and accepts this user."""

    address: str  # HOST:PORT of its head
    mode: str  # its RAY_AUTH_MODE


def check_cluster(address: str, *, allow_unauthenticated: bool = False) -> Cluster:
    """Find out how to connect to a cluster.

    Args:
        address: HOST:PORT, or `auto` for the cluster of this machine.
        allow_unauthenticated: Whether to accept a cluster that lets anybody on its network run programs.

    Raises:
        AddressError: There is no cluster, it refuses this user's token, or this machine is not one of its nodes.
        UnauthenticatedError: It works without tokens, and other machines can reach it.
    """
    check_form(address)
    where = _describe(address)
    head = _running_here(where) if address == "auto" else address
    _check_listens(head, where)
    cluster = _ask_head(head, where)
    if cluster.mode == "disabled" and not allow_unauthenticated and not is_loopback(head.rpartition(":")[0]):
        raise UnauthenticatedError(where)
    return cluster


def check_form(address: str) -> None:
    """Raise AddressError unless the address is HOST:PORT, `auto` or `local`."""
    host, _, port = address.rpartition(":")
    if address not in ("auto", "local") and (not host or not port.isdecimal() or "/" in host):
        raise AddressError(f"{_describe(address)}: not HOST:PORT; allowed: {_ADDRESSES}")


def _describe(address: str) -> str:
    return f"Ray at {address!r}{' (from RAY_ADDRESS)' if address == os.environ.get('RAY_ADDRESS') else ''}"


def _running_here(where: str) -> str:
    """Return the address of the cluster that `ray start` made last on this machine, else of any that runs here."""
    find: Any = services.find_gcs_addresses
    find.cache_clear()
    running: list[str] = sorted(find())
    latest = services.find_bootstrap_address(None)
    if not running:
        raise AddressError(f"{where}: no Ray runs on this machine; allowed: {_ADDRESSES}")
    return latest if latest in running else running[0]


def _check_listens(address: str, where: str) -> None:
    """Raise AddressError unless a gRPC server listens at the address."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
                _check_speaks_grpc(connection, where)
    except (OSError, OverflowError) as error:
        raise AddressError(f"{where}: nothing answers ({error}); allowed: {_ADDRESSES}") from error


def _check_speaks_grpc(connection: socket.socket, where: str) -> None:
    connection.sendall(_GREETING)
    connection.settimeout(_ANSWER_TIMEOUT_S)
    try:
        answer = connection.recv(9)
    except OSError:  # it is silent, or has closed the connection
        answer = b""
    if answer.startswith(b"HTTP/1."):
        raise AddressError(
            f"{where}: a web server listens there; http:// in front means Ray's job server, on port 8265"
        )
    if len(answer) < 4 or answer[3] != _SETTINGS_FRAME:
        raise AddressError(f"{where}: another service than Ray's head listens there; its port is 6379 by default")


def _ask_head(address: str, where: str) -> Cluster:
    """Return the cluster; raise AddressError where its head refuses this user, or this machine is none of its nodes."""
    token = find_token()
    answer = _probe(address, ["disabled", *(["token"] if token else [])])
    if "refused" in answer:
        reason = f"refuses the token in {token}" if token else "needs a token, and there is none"
        raise AddressError(f"{where}: {reason}; allowed: the token of that cluster in {TOKEN_SOURCES}")
    if "mode" not in answer:
        raise AddressError(f"{where}: does not answer as Ray's head does ({answer['error']}); allowed: {_ADDRESSES}")
    if answer["mode"] == "disabled" and os.environ.get("RAY_AUTH_MODE", "").lower() == "token":
        raise AddressError(f"{where}: works without tokens, but RAY_AUTH_MODE is token; unset RAY_AUTH_MODE")
    if not answer["is_node"]:
        nodes = ", ".join(answer["nodes"]) or "none"
        join = f"`ray start --address={address} --num-cpus=0`"
        raise AddressError(
            f"{where}: this machine is not one of its nodes ({nodes}); run this on one of them, or make it one: {join}"
        )
    if "connected" not in answer:
        reason = answer.get("error", "its connection ends")
        raise AddressError(f"{where}: accepts no driver ({reason}); see whether its node here can start workers")
    return Cluster(address, str(answer["mode"]))


def _probe(address: str, modes: list[str]) -> dict[str, Any]:
    """Ask and connect in a process of its own, whose log lines are not shown; return its answers in one."""
    script = str(Path(__file__).with_name("ray_probe.py"))
    command = [sys.executable, "-P", script, address, f"{_ANSWER_TIMEOUT_S:.0f}", *modes]
    variables = {name: value for name, value in python_environment().items() if name not in NOT_FOR_CLUSTERS}
    variables |= {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
    answer: dict[str, Any] = {}
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=variables
    ) as process:
        try:
            output, errors = process.communicate(timeout=_PROBE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            answer["error"] = f"it is silent for {_PROBE_TIMEOUT_S:.0f} s"
        except BaseException:  # Ctrl-C
            process.kill()
            raise
    for line in output.splitlines():
        answer |= json.loads(line)
    if not output:  # Ray has ended the process
        answer.setdefault("error", (errors.strip().splitlines() or [f"exit code {process.returncode}"])[-1])
    return answer
