"""The address of a cluster's job server: whatever else answers there is named in one line, within seconds."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cluster import AddressError, UnauthenticatedError, is_url
from cluster.job_server import find_job_server, is_loopback, normalize

VERSION = b'{"version": "4", "ray_version": "2.60.0"}'
OTHERS = {  # status, body and headers of an answer, and what is said of it
    "html": (200, b"<!doctype html><title>Sign in</title>", {}, "or a proxy answers there (HTTP 200)"),
    "json": (200, b'{"version": "1"}', {}, "or a proxy answers there (HTTP 200)"),
    "list": (200, b"[1]", {}, "or a proxy answers there (HTTP 200)"),
    "not found": (404, b"Not Found", {}, "or a proxy answers there (HTTP 404)"),
    "proxy": (403, b"<html>denied</html>", {}, "or a proxy answers there (HTTP 403)"),
    "bad gateway": (502, b"", {}, "or a proxy answers there (HTTP 502)"),
    "basic auth": (401, b"who are you?", {"WWW-Authenticate": "Basic"}, "or a proxy answers there (HTTP 401)"),
    "login page": (302, b"", {"Location": "/login"}, "or a proxy answers there (HTTP 302)"),
}


@contextmanager
def server(status: int, body: bytes, headers: dict[str, str]) -> Iterator[str]:
    """Serve one answer to every request; yield the address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/login" else status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as listening:
        thread = threading.Thread(target=listening.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def test_a_job_server_is_known_by_its_answer_and_needs_no_scheme() -> None:
    with server(200, VERSION, {}) as url:
        found = find_job_server(url.removeprefix("http://") + "/")
    assert (found.url, found.mode, found.ray_version) == (url, "disabled", "2.60.0")
    with server(401, b"Unauthorized: Missing authentication token", {}) as url:
        assert find_job_server(url).mode == "token"


@pytest.mark.parametrize("name", OTHERS)
def test_another_web_server_is_named(name: str) -> None:
    status, body, headers, message = OTHERS[name]
    message = "sends on to http://127.0.0.1" if name == "login page" else message
    with server(status, body, headers) as url, pytest.raises(AddressError) as refusal:
        find_job_server(url)
    assert message in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_silent_port_and_one_without_http_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.job_server._TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(AddressError, match=r"is silent for|cannot be reached \(timed out\)"):
            find_job_server(address)
        listening.accept()[0].close()
    with pytest.raises(AddressError, match=r"cannot be reached \(\[Errno \d+\] Connection refused\)"):
        find_job_server(address)


@pytest.mark.parametrize(
    "address", ["http://", "ray://x:1", "http://x:99999", "http://x:y", "http://x/?a", "", "http://x:0"]
)
def test_a_text_that_is_no_web_address_is_refused(address: str) -> None:
    with pytest.raises(AddressError, match="is not a web address"):
        normalize(address)


def test_a_password_in_an_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(AddressError, match="user's name or password") as refusal:
        normalize("https://me:secret@ray.example.org/x")
    assert "secret" not in str(refusal.value)
    assert "https://ray.example.org/x" in str(refusal.value)


def test_a_server_without_authentication_is_used_on_this_machine_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "localhost", "[::1]", "192.0.2.1", "no.such.host.invalid")] == [
        *(True, True, True, False, False)
    ]
    with server(200, VERSION, {}) as url:
        monkeypatch.setenv("http_proxy", url)  # so that it seems to be on another machine
        monkeypatch.setenv("no_proxy", "")
        with pytest.raises(UnauthenticatedError, match="works without authentication: whoever"):
            find_job_server("http://192.0.2.1:8265")
        assert find_job_server("http://192.0.2.1:8265", allow_unauthenticated=True).mode == "disabled"


def test_only_web_addresses_lead_to_a_job_server() -> None:
    addresses = ("http://head:8265", "HTTPS://head", "10.0.0.1:6379", "auto", "local", None, "ray://head:10001")
    assert [is_url(address) for address in addresses] == [True, True, False, False, False, False, False]
