"""How many CPUs this process may use: fewer than the machine has in a container, a Slurm job or under taskset."""

import os
from contextlib import suppress
from pathlib import Path

_GROUPS = Path("/proc/self/cgroup")
_MOUNT = Path("/sys/fs/cgroup")


def usable_cpus() -> int:
    """Return the number of CPUs that this process may use, at least 1: the smallest of its affinity and its quotas."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(allowed, *quotas(_GROUPS, _MOUNT))))


def quotas(groups: Path, mount: Path) -> list[float]:
    """Return the CPUs that each control group of a process grants; a group is limited by all those above it too.

    Args:
        groups: The file that names the process's groups, such as /proc/self/cgroup.
        mount: Where the control groups are mounted.
    """
    found = [float("inf")]
    with suppress(OSError, ValueError):
        for line in groups.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:  # version 2
                found += [_quota_v2(folder) for folder in _upwards(mount, path)]
            elif "cpu" in controllers.split(","):
                for root in (mount / controllers, mount / "cpu"):
                    found += [_quota_v1(folder) for folder in _upwards(root, path)]
    return found


def _upwards(root: Path, path: str) -> list[Path]:
    """Return a group's folder and all above it; in a container only the root may be there."""
    folder = root / path.lstrip("/")
    return [each for each in (folder, *folder.parents) if each.is_relative_to(root)]


def _quota_v2(folder: Path) -> float:
    with suppress(OSError, ValueError):  # there is no limit, which is the word max, or no such file
        quota, period = (folder / "cpu.max").read_text().split()
        return int(quota) / int(period)
    return float("inf")


def _quota_v1(folder: Path) -> float:
    with suppress(OSError, ValueError):
        quota, period = (int((folder / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return quota / period if quota > 0 else float("inf")
    return float("inf")
