"""Ask the head of a Ray cluster for the facts that a driver needs, and try to connect as a driver.

Run in a process of its own by `cluster.ray_address`: Ray writes log lines to the terminal, waits for ever for a node
that starts no workers, and ends its process where it gives up. Prints a line of JSON after each step: `mode`, `nodes`
and `is_node`, or `refused`, or `error`; then `connected`, or `error`.
"""

import json
import os
import sys
import time
from collections.abc import Sequence
from typing import Any

import ray
from ray import _raylet
from ray._private import services
from ray.exceptions import AuthenticationError, RayError

raylet: Any = _raylet  # Ray's types leave most of it out
find_node_ids: Any = services.find_node_ids
_ALIVE = 0
_STARTING_S = 30.0  # for which a node that has just been started may be unknown to the head


def main(address: str, timeout_s: int, modes: Sequence[str]) -> None:
    """Try the modes of authentication in turn, and connect with the first that the head accepts.

    Args:
        address: HOST:PORT of the head.
        timeout_s: How long the head may take to answer.
        modes: Values of RAY_AUTH_MODE.
    """
    answer: dict[str, object] = {}
    for mode in modes:
        os.environ["RAY_AUTH_MODE"] = mode
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
        try:
            answer = {"mode": mode, **_ask(address, timeout_s)}
            break
        except AuthenticationError:
            answer = {"refused": mode}
        except RayError as error:
            answer = {"error": _one_line(error)}
            break
    _tell(answer)
    if answer.get("is_node"):
        try:
            ray.init(address=address, log_to_driver=False)
            _tell({"connected": True})
        except Exception as error:  # Ray raises exceptions of many classes
            _tell({"error": _one_line(error)})


def _tell(answer: dict[str, object]) -> None:
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


def _ask(address: str, timeout_s: int) -> dict[str, object]:
    """Return the alive nodes, once this machine is one of them, or cannot become one any more."""
    client = raylet.InnerGcsClient.standalone(address, None, timeout_s * 1000)
    until_s = time.monotonic() + _STARTING_S
    while True:
        alive = [node for node in client.get_all_node_info(timeout=timeout_s).values() if node.state == _ALIVE]
        here: set[str] = find_node_ids()  # as Ray finds the node that a driver belongs to
        is_node = bool({node.node_id.hex() for node in alive} & here)
        if is_node or (alive and not here) or time.monotonic() > until_s:
            return {"nodes": sorted(node.node_manager_address for node in alive), "is_node": is_node}
        time.sleep(0.5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
