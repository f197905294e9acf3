"""Ray's token authentication: must be settled before `import ray`, which reads the mode once and for all."""

import os
from pathlib import Path

_DEFAULT_PATH = Path.home() / ".ray" / "auth_token"


def enable_token() -> None:
    """Turn token authentication on where a token is available and RAY_AUTH_MODE is not set.

    `ray start` does the same for the cluster. ray.init does not when it connects to one, and is then rejected.
    """
    if "RAY_AUTH_MODE" not in os.environ and _has_token():
        os.environ["RAY_AUTH_MODE"] = "token"


def protect_token() -> None:
    """Make the token that Ray has generated readable by its owner only: Ray leaves that to the umask."""
    if os.path.isfile(_DEFAULT_PATH) and os.stat(_DEFAULT_PATH).st_uid == os.getuid():
        os.chmod(_DEFAULT_PATH, 0o600)


def _has_token() -> bool:
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or _DEFAULT_PATH
    return bool(os.environ.get("RAY_AUTH_TOKEN")) or os.path.isfile(path)
