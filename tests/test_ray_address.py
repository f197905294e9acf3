"""The address of a cluster is checked before Ray connects, which takes minutes to give up."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.ray_clusters import free_port

from cluster import AddressError
from cluster.ray_address import check_cluster
from cluster.ray_token import find_token

BOUND_S = 60.0


@pytest.mark.parametrize(
    "address", ["nonsense", "ray://127.0.0.1:1", "http://127.0.0.1:8265", "127.0.0.1:70000", ":1", "127.0.0.1:x"]
)
def test_an_address_that_is_none_is_refused_at_once(address: str) -> None:
    with pytest.raises(AddressError, match="allowed: HOST:PORT"):
        check_cluster(address)


def test_an_address_where_nothing_listens_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(AddressError, match=f"Ray at '{address}': nothing answers"):
        check_cluster(address)
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(AddressError, match=rf"Ray at '{address}' \(from RAY_ADDRESS\): nothing answers"):
        check_cluster(address)


@contextmanager
def server(answer: bytes) -> Iterator[str]:
    """Run a server that answers whatever it is sent with the same bytes; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(100)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listening.getsockname()[1]}"
        thread.join(BOUND_S)


# What a web server says to a greeting in HTTP/2, and how a server of gRPC that then falls silent begins.
WEB_SERVER = b"HTTP/1.0 400 Bad Request\r\n\r\n"
SILENT_SERVER = bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])


def test_the_port_of_a_web_server_is_found_out() -> None:
    with (
        server(WEB_SERVER) as address,
        pytest.raises(AddressError, match="a web server listens there; http:// in front"),
    ):
        check_cluster(address)


@pytest.mark.ray
def test_the_port_of_a_silent_server_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.ray_address._ANSWER_TIMEOUT_S", 1.0)
    with server(SILENT_SERVER) as address, pytest.raises(AddressError, match="does not answer as Ray's head does"):
        check_cluster(address)


def test_a_path_to_a_token_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "absent"))
    with pytest.raises(AddressError, match="absent': there is no token"):
        find_token()
