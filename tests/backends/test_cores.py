"""How many threads are used unless told otherwise: the physical cores that affinity and control groups leave, on machines made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

_core = pytest.importorskip("heron._core")

GROUPS = "sys/fs/cgroup"


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Four cores of two hyper-threads: CPU n and CPU n + 4 are one core."""
    for cpu in range(8):
        write(tmp_path, f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("cpus", "cores"), [(range(8), 4), (range(4), 4), ([0, 4], 1), ([3], 1), ([0, 1, 5], 2), ([100, 101], 2), ([], 0)], ids=str
)
def test_hyper_threads_of_a_core_are_counted_once(machine: Path, cpus: range | list[int], cores: int) -> None:
    assert _core.cores_of(list(cpus), str(machine)) == cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("max 100000", 4), ("200000 100000", 2), ("150000 100000", 2), ("20000 100000", 1), ("800000 100000", 4), ("", 4)]
)
def test_the_quota_of_the_second_version_of_control_groups(machine: Path, quota: str, cores: int) -> None:
    write(machine, f"{GROUPS}/cpu.max", quota + "\n")
    assert _core.cores_of(range(8), str(machine)) == cores


@pytest.mark.parametrize(("quota", "cores"), [("-1", 4), ("300000", 3), ("110000", 2), ("1000", 1)])
@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
def test_the_quota_of_the_first_version_of_control_groups(machine: Path, controllers: str, quota: str, cores: int) -> None:
    write(machine, "proc/self/cgroup", f"4:memory:/\n3:{controllers}:/box\n2:cpuset,cpuacct:/other\n")
    write(machine, f"{GROUPS}/{controllers}/box/cpu.cfs_quota_us", quota + "\n")
    write(machine, f"{GROUPS}/{controllers}/box/cpu.cfs_period_us", "100000\n")
    assert _core.cores_of(range(8), str(machine)) == cores


@pytest.mark.parametrize("mount", ["", "/unified"])
@pytest.mark.parametrize(("outer", "inner", "cores"), [("300000", "max", 3), ("max", "200000", 2), ("100000", "200000", 1)])
def test_a_group_has_no_more_than_those_around_it(machine: Path, mount: str, outer: str, inner: str, cores: int) -> None:
    write(machine, "proc/self/cgroup", "0::/user.slice/session:1\n")
    write(machine, f"{GROUPS}{mount}/user.slice/cpu.max", f"{outer} 100000\n")
    write(machine, f"{GROUPS}{mount}/user.slice/session:1/cpu.max", f"{inner} 100000\n")
    assert _core.cores_of(range(8), str(machine)) == cores


@pytest.mark.parametrize("line", ["0::/host/path/of/the/container", "5:cpu,cpuacct:/docker/1f2e"])
def test_in_a_container_its_own_group_is_the_outermost_that_it_sees(machine: Path, line: str) -> None:
    write(machine, "proc/self/cgroup", line + "\n")
    if line.startswith("0"):
        write(machine, f"{GROUPS}/cpu.max", "200000 100000\n")
    else:
        write(machine, f"{GROUPS}/cpu,cpuacct/cpu.cfs_quota_us", "200000\n")
        write(machine, f"{GROUPS}/cpu,cpuacct/cpu.cfs_period_us", "100000\n")
    assert _core.cores_of(range(8), str(machine)) == 2


def test_a_machine_that_tells_nothing_has_a_core_for_each_cpu(tmp_path: Path) -> None:
    assert _core.cores_of(range(8), str(tmp_path)) == 8
