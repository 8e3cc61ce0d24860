"""What control groups allow, from files as the kernel writes them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from heron.engine.control_group import Allowed, allowed

GIB = 1 << 30


def system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


CASES = {
    "nothing": ({}, Allowed()),
    "a container of version 2": (
        {
            "proc/self/cgroup": "0::/",
            "sys/fs/cgroup/cpu.max": "150000 100000",
            "sys/fs/cgroup/memory.max": str(4 * GIB),
            "sys/fs/cgroup/memory.current": str(3 * GIB),
            "sys/fs/cgroup/memory.stat": f"anon {GIB}\nactive_file {GIB}\ninactive_file {GIB // 2}",
        },
        Allowed(1.5, 4 * GIB, 2.5 * GIB),
    ),
    "a unit of systemd, whose slice allows less": (
        {
            "proc/self/cgroup": "0::/system.slice/heron.service",
            "sys/fs/cgroup/system.slice/heron.service/memory.max": str(8 * GIB),
            "sys/fs/cgroup/system.slice/heron.service/memory.current": str(GIB),
            "sys/fs/cgroup/system.slice/memory.max": str(6 * GIB),
            "sys/fs/cgroup/system.slice/memory.current": str(GIB),
            "sys/fs/cgroup/system.slice/heron.service/cpu.max": "max 100000",
        },
        Allowed(math.inf, 6 * GIB, 5 * GIB),
    ),
    "version 1": (
        {
            "proc/self/cgroup": "4:memory:/a/b\n1:cpu,cpuacct:/a",
            "sys/fs/cgroup/memory/a/b/memory.limit_in_bytes": str(2 * GIB),
            "sys/fs/cgroup/memory/a/b/memory.usage_in_bytes": str(3 * GIB),
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "1",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
        },
        Allowed(0.5, 2 * GIB, 0),
    ),
    "no limits": (
        {"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "max", "sys/fs/cgroup/a/cpu.max": "max 100000"},
        Allowed(),
    ),
    "a group that cannot be seen": ({"proc/self/cgroup": "0::/../../other"}, Allowed()),
}


@pytest.mark.parametrize("case", CASES)
def test_the_least_that_any_group_says(tmp_path: Path, case: str) -> None:
    files, expected = CASES[case]
    assert allowed(system(tmp_path, files)) == expected


def test_this_process_has_some() -> None:
    assert allowed().cores > 0 and allowed().free > 0
