"""Ray's token authentication: a Ray started here has a token of its own, for a cluster the user's is looked up.

A token of our own is in RAY_AUTH_TOKEN of its processes alone. In a file it would turn authentication on for whatever
this user connects to next.
"""

import os
import secrets
from pathlib import Path
from typing import Any

from ray import _raylet

from cluster.interface import AddressError

TOKEN_SOURCES = "RAY_AUTH_TOKEN, the file in RAY_AUTH_TOKEN_PATH or ~/.ray/auth_token"


def new_token() -> str:
    """Return a token for a Ray that lives as long as this process."""
    return secrets.token_hex(32)


def find_token() -> str:
    """Return the name of the place that Ray reads this user's token from, or "" where there is none.

    Raises:
        AddressError: RAY_AUTH_TOKEN_PATH leads to no token: Ray would end this process.
    """
    if os.environ.get("RAY_AUTH_TOKEN", "").strip():
        return "RAY_AUTH_TOKEN"
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        if not _holds_token(path):
            raise AddressError(f"RAY_AUTH_TOKEN_PATH {path!r}: there is no token; allowed: a file with one")
        return f"RAY_AUTH_TOKEN_PATH ({path})"
    default = os.path.join(os.environ.get("HOME", "."), ".ray", "auth_token")  # where Ray looks for it
    return default if _holds_token(default) else ""


def _holds_token(path: str) -> bool:
    try:
        return bool(Path(path).read_text(errors="replace").strip())
    except OSError:
        return False


def read_authentication() -> None:
    """Have Ray read the mode of authentication and the token from the environment again: it keeps what it has read."""
    raylet: Any = _raylet  # Ray's types leave most of it out
    raylet.Config.initialize("")
    raylet.AuthenticationTokenLoader.instance().reset_cache()
