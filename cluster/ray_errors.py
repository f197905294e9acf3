"""What Ray raises for a task, in the words of cluster.failures."""

import re
from contextlib import suppress
from pathlib import Path

from ray.exceptions import (
    OutOfDiskError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskUnschedulableError,
    WorkerCrashedError,
)

from cluster.failures import Failure, Kind

# The first that fits.
_KINDS: tuple[tuple[type[RayError], Kind], ...] = (
    (OutOfMemoryError, "out_of_memory"),
    (OutOfDiskError, "storage"),
    (RayTaskError, "raised"),  # before it came to our code: a worker that lacks a package
    (RuntimeEnvSetupError, "raised"),
    (TaskUnschedulableError, "raised"),
    (RayError, "crashed"),
)


def failure_of(error: RayError, killed_by_kernel: int) -> Failure:
    """Say why a task has no result, given how many processes of this machine ran out of memory meanwhile."""
    kind = next(kind for raised, kind in _KINDS if isinstance(error, raised))
    text = str(error).strip()
    if isinstance(error, WorkerCrashedError) and killed_by_kernel:
        return Failure("out_of_memory", "the kernel killed its process, as it had no memory left", "")
    if kind == "out_of_memory":
        return Failure(kind, f"OutOfMemoryError: {_memory_facts(text)}", "")
    if isinstance(error, RayTaskError):
        return Failure(kind, f"{type(error.cause).__name__}: {error.cause}".splitlines()[0], text)
    # What stands behind the first sentence points to files of Ray's that are not kept.
    return Failure(kind, f"{type(error).__name__}: {text.splitlines()[0].partition('. ')[0]}", "")


def _memory_facts(text: str) -> str:
    """Take the peak out of the page that Ray writes when its monitor of memory kills a task."""
    task = re.search(r"actual memory used=([\d.]+ ?\w+)", text)
    node = re.search(r"was ([\d.]+ ?\w+) used / ([\d.]+ ?\w+) limit", text)
    facts = [f"its process had {task[1]}"] if task else []
    facts += [f"its node {node[1]} of {node[2]}"] if node else []
    return f"killed by Ray at {' and '.join(facts)}" if facts else text.splitlines()[0]


def kernel_kills() -> int:
    """Count the processes that this machine's kernel has killed for want of memory; 0 where it does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            name, _, count = line.partition(" ")
            if name == "oom_kill":
                return int(count)
    return 0
