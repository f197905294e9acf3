"""How many CPUs a process may use."""

import os
from pathlib import Path

import pytest

from cluster.cpus import quotas, usable_cpus


def test_no_more_cpus_are_usable_than_the_affinity_allows() -> None:
    assert 1 <= usable_cpus() <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        ("0::/job/step\n", {"job/cpu.max": "150000 100000", "job/step/cpu.max": "max 100000"}, [1.5]),
        ("0::/\n", {"cpu.max": "400000 100000"}, [4.0]),
        ("4:cpu,cpuacct:/job\n1:cpuset:/x\n", {"cpu,cpuacct/job/cpu.cfs_quota_us": "50000"}, [0.5]),
        ("4:cpu,cpuacct:/job\n", {"cpu,cpuacct/job/cpu.cfs_quota_us": "-1"}, []),
        ("nonsense\n", {}, []),
    ],
)
def test_quotas_of_control_groups_are_read(
    groups: str, limits: dict[str, str], expected: list[float], tmp_path: Path
) -> None:
    (tmp_path / "cgroup").write_text(groups)
    for name, limit in limits.items():
        file = tmp_path / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{limit}\n")
        file.with_name("cpu.cfs_period_us").write_text("100000\n")
    found = quotas(tmp_path / "cgroup", tmp_path / "mount")
    assert [each for each in found if each != float("inf")] == expected
