"""Ray's token authentication: must be settled before `import ray`, which reads the mode once and for all."""

import os
from pathlib import Path

_DEFAULT_PATH = Path.home() / ".ray" / "auth_token"


def use_token() -> None:
    """Turn token authentication on where a token can be found and RAY_AUTH_MODE says nothing.

    `ray start` does the same for the cluster, but ray.init does not when it connects to one, and is then turned away.
    """
    if "RAY_AUTH_MODE" not in os.environ and _has_token():
        os.environ["RAY_AUTH_MODE"] = "token"


def protect_token() -> None:
    """Let nobody else read the token that Ray makes: it leaves that to the umask."""
    if os.path.isfile(_DEFAULT_PATH) and os.stat(_DEFAULT_PATH).st_uid == os.getuid():
        os.chmod(_DEFAULT_PATH, 0o600)


def _has_token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or _DEFAULT_PATH
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or os.path.isfile(path)
