"""An HTTP server for one page: on loopback, for those who know its token, and for nothing else."""

import json
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import BoundedSemaphore, Thread
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from jobs.errors import MnistjobsError

_ADDRESS = "127.0.0.1"
_HOSTS = (_ADDRESS, "localhost")  # other names in a request come from a page that has its own name lead here
_MAX_REQUESTS = 8  # at a time; further ones are cut off
_MAX_QUERY = 200  # characters
_TIMEOUT_S = 10.0  # for a client to send its request, or to take the next bytes of the answer
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Pages(Protocol):
    """The page to serve, and the state that its script asks for."""

    def page(self) -> str:
        """Return the page as HTML."""

    def state(self) -> Mapping[str, object]:
        """Return the state from which the page's script learns whether there is a newer page."""


class PageServer(ThreadingHTTPServer):
    """Serve a page at `url`."""

    daemon_threads = True
    request_queue_size = 32
    block_on_close = False

    def __init__(self, pages: Pages) -> None:
        super().__init__((_ADDRESS, 0), _Handler)
        self.pages = pages
        self.token = secrets.token_urlsafe(24)
        self._free = BoundedSemaphore(_MAX_REQUESTS)

    @property
    def url(self) -> str:
        """Where the page is; the token in it is the key."""
        return f"http://{_ADDRESS}:{self.server_port}/?token={self.token}"

    def process_request(self, request: "socket.socket | tuple[bytes, socket.socket]", client_address: Any) -> None:  # noqa: ANN401
        """Answer a request in a thread, unless too many are being answered."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(
        self,
        request: "socket.socket | tuple[bytes, socket.socket]",
        client_address: Any,  # noqa: ANN401
    ) -> None:
        """Answer a request, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Ignore clients that have gone; other errors are mistakes of ours and end in the log."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    timeout = _TIMEOUT_S
    server_version, sys_version = "mnistjobs", ""

    def do_GET(self) -> None:
        status, kind, content = self._answer()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing."""

    def _answer(self) -> tuple[HTTPStatus, str, bytes]:
        try:
            url = urlsplit(self.path)
        except ValueError:  # such as http://[
            return HTTPStatus.BAD_REQUEST, "text/plain", b"That is no address.\n"
        if not self._is_allowed(url.query):
            return HTTPStatus.FORBIDDEN, "text/plain", b"Open the address that the command printed, with its token.\n"
        try:
            if url.path == "/":
                return HTTPStatus.OK, "text/html", self.server.pages.page().encode()
            if url.path == "/state":
                return HTTPStatus.OK, "application/json", json.dumps(self.server.pages.state()).encode()
        except MnistjobsError as error:
            return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", f"{error}\n".encode()
        return HTTPStatus.NOT_FOUND, "text/plain", b"There is nothing else here.\n"

    def _is_allowed(self, query: str) -> bool:
        """Check the host that the request names, and its token."""
        hosts = self.headers.get_all("Host", [])
        tokens = [value for name, value in parse_qsl(query[:_MAX_QUERY]) if name == "token"]
        is_own = len(hosts) == 1 and hosts[0].partition(":")[0].lower() in _HOSTS
        is_known = len(tokens) == 1 and secrets.compare_digest(tokens[0].encode(), self.server.token.encode())
        return is_own and is_known


@contextmanager
def serve(pages: Pages) -> Iterator[PageServer]:
    """Serve a page until the end of the block."""
    with PageServer(pages) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
