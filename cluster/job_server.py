"""The job server of a Ray cluster, found and checked over HTTP before Ray's own client talks to it.

That client waits for ever for a server that is silent, and takes an address without a scheme for another kind.
"""

import ipaddress
import json
import os
import socket
import ssl
from dataclasses import dataclass
from http.client import HTTPException
from typing import Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPSHandler, Request, build_opener

from cluster.interface import AddressError, UnauthenticatedError, is_url

_FORM = "http://HOST:8265, where the cluster's dashboard listens"
_CERTIFICATES = "REQUESTS_CA_BUNDLE"
UNTRUSTED = f"its certificate is not trusted; allowed: {_CERTIFICATES} with the path of one that is"
_TIMEOUT_S = 5.0
_MAX_BYTES = 10_000  # of an answer
_ASKS_FOR_TOKEN = "authentication token"  # in what Ray answers to a request without one


@dataclass(frozen=True)
class JobServer:
    """A job server that answers."""

    url: str
    mode: Literal["disabled", "token"]  # its RAY_AUTH_MODE
    ray_version: str  # "" where only those who have a token learn it

    @property
    def where(self) -> str:
        """The server, as messages name it."""
        return describe(self.url)


def describe(url: str) -> str:
    """Name a job server in a message."""
    return f"Ray's job server at {url!r}"


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, reached without a network."""
    try:
        found = {info[4][0] for info in socket.getaddrinfo(host.strip("[]"), None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback for each in found)


def find_job_server(address: str, *, allow_unauthenticated: bool = False) -> JobServer:
    """Find the job server at an address, and whether it needs a token.

    Args:
        address: http://HOST:PORT or https://HOST; without a scheme http:// is meant.
        allow_unauthenticated: Whether to accept a cluster that lets anybody on its network run programs.

    Raises:
        AddressError: There is no job server at the address.
        UnauthenticatedError: It works without tokens, and is on another machine.
    """
    url = normalize(address)
    server = _identify(url)
    host = urlsplit(url).hostname or ""
    if server.mode == "disabled" and not allow_unauthenticated and not is_loopback(host):
        raise UnauthenticatedError(server.where)
    return server


def normalize(address: str) -> str:
    """Return the address as Ray's client takes it: with a scheme, and without a slash at its end.

    Raises:
        AddressError: It is no address of a web server, or has a password in it.
    """
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # the port is not a number, or too large
        has_host = False
    if not is_url(url) or not has_host or parts.query or parts.fragment:
        raise AddressError(f"{describe(address)}: is not a web address; allowed: {_FORM}")
    if "@" in parts.netloc:
        shown = url.replace(parts.netloc, parts.netloc.rpartition("@")[2])
        raise AddressError(f"{describe(shown)}: has a user's name or password in front of it; allowed: {_FORM}")
    return url


def _identify(url: str) -> JobServer:
    status, body, location = _get(f"{url}/api/version", describe(url))
    text = body.decode(errors="replace")
    if status == 401 and _ASKS_FOR_TOKEN in text:
        return JobServer(url, "token", "")
    if status == 200 and location == f"{url}/api/version" and (version := _ray_version(text)):
        return JobServer(url, "disabled", version)
    if location != f"{url}/api/version":
        target = urlsplit(location)
        raise AddressError(
            f"{describe(url)}: the server there sends on to {target.scheme}://{target.netloc}; allowed: {_FORM}"
        )
    raise AddressError(
        f"{describe(url)}: another web server or a proxy answers there (HTTP {status}); allowed: {_FORM}"
    )


def _get(url: str, where: str) -> tuple[int, bytes, str]:
    """Return the status, the beginning of the body and the address, which a redirection changes."""
    try:
        request = Request(url, headers={"Accept": "application/json"})
        opener = build_opener(HTTPSHandler(context=_trusted()))  # through the proxy of the environment, if any
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return answer.status, answer.read(_MAX_BYTES), answer.url
    except HTTPError as error:
        with error:
            return error.code, error.read(_MAX_BYTES), str(error.url)
    except TimeoutError as error:
        raise AddressError(f"{where}: is silent for {_TIMEOUT_S:.0f} s; allowed: {_FORM}") from error
    except URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise AddressError(f"{where}: {UNTRUSTED}") from error
        raise AddressError(f"{where}: cannot be reached ({error.reason}); allowed: {_FORM}") from error
    except (OSError, HTTPException, ValueError) as error:
        message = f"{where}: another service answers there ({type(error).__name__}); allowed: {_FORM}"
        raise AddressError(message) from error


def _trusted() -> ssl.SSLContext:
    """Trust the certificates that Ray's client trusts."""
    return ssl.create_default_context(cafile=os.environ.get(_CERTIFICATES) or None)


def _ray_version(text: str) -> str:
    try:
        answer = json.loads(text)
    except ValueError:
        return ""
    return str(answer.get("ray_version", "")) if isinstance(answer, dict) else ""
