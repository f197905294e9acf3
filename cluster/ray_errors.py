"""Translate Ray's exceptions into task failures."""

import re
from contextlib import suppress
from pathlib import Path

from ray.exceptions import (
    NodeDiedError,
    OutOfDiskError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from cluster.failures import FailureKind, TaskFailure

# The first class that matches decides.
_KINDS: tuple[tuple[type[RayError], FailureKind], ...] = (
    (OutOfMemoryError, "out_of_memory"),
    (OutOfDiskError, "storage"),
    (NodeDiedError, "node_lost"),
    (RayTaskError, "raised"),  # raised before our code ran, as on a worker that lacks a package
    (RuntimeEnvSetupError, "raised"),
    (TaskUnschedulableError, "raised"),
    (RayError, "crashed"),
)


def task_failure(error: RayError, oom_kills: int) -> TaskFailure:
    """Describe why a task has no result.

    Args:
        error: What Ray raised for it.
        oom_kills: How many processes this machine's kernel has killed for lack of memory since the task was submitted.
    """
    kind = next(kind for raised, kind in _KINDS if isinstance(error, raised))
    text = str(error).strip()
    if isinstance(error, WorkerCrashedError) and oom_kills:
        return TaskFailure("out_of_memory", "the kernel killed its process for lack of memory", "")
    if kind == "out_of_memory":
        return TaskFailure(kind, f"OutOfMemoryError: {_memory_facts(text)}", "")
    if isinstance(error, RayTaskError):
        return TaskFailure(kind, f"{type(error.cause).__name__}: {error.cause}".splitlines()[0], text)
    # What follows the first sentence refers to Ray's log files, which are not kept.
    return TaskFailure(kind, f"{type(error).__name__}: {text.splitlines()[0].partition('. ')[0]}", "")


def _memory_facts(text: str) -> str:
    """Extract the peak from the page of text that Ray's memory monitor writes when it kills a task."""
    task = re.search(r"actual memory used=([\d.]+ ?\w+)", text)
    node = re.search(r"was ([\d.]+ ?\w+) used / ([\d.]+ ?\w+) limit", text)
    facts = [f"its process had {task[1]}"] if task else []
    facts += [f"its node {node[1]} of {node[2]}"] if node else []
    return f"killed by Ray at {' and '.join(facts)}" if facts else text.splitlines()[0]


def count_oom_kills() -> int:
    """Return how many processes this machine's kernel has killed for lack of memory; 0 where it does not report it."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
