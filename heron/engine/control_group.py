"""What the control groups of this process leave it, as containers and systemd set them: processor time and memory (Linux)."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: What version 1 writes for no limit is the largest number of pages that there can be.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Allowed:
    """``cores`` of processor time, ``memory`` in bytes, and what of it is ``free``; infinity where there is no limit."""

    cores: float = math.inf
    memory: float = math.inf
    free: float = math.inf


def allowed(root: Path = Path("/")) -> Allowed:
    """The least that any group around this process says. A group that a container cannot see has no file, and says nothing."""
    cores = min((_cores(folder) for folder in _folders(root, "cpu")), default=math.inf)
    memory = [_memory(folder) for folder in _folders(root, "memory")]
    return Allowed(cores, min((limit for limit, _ in memory), default=math.inf), min((free for _, free in memory), default=math.inf))


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups, the process's own and those around it, in both versions of control groups.

    A line of /proc/self/cgroup is "number:controllers:group", without controllers for version 2.
    """
    mount = root / "sys/fs/cgroup"
    yield mount  # a container's own group
    yield mount / controller
    with contextlib.suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            names = controllers.split(",") if controllers else []
            bases = (mount / controllers, mount / controller) if controller in names else () if names else (mount, mount / "unified")
            parts = [part for part in group.split("/") if part]
            yield from (base.joinpath(*parts[:depth]) for base in bases for depth in range(1, len(parts) + 1))


def _cores(folder: Path) -> float:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return math.inf if quota == "max" else int(quota) / int(period)
    with contextlib.suppress(OSError, ValueError):
        time = int((folder / "cpu.cfs_quota_us").read_text())
        return math.inf if time <= 0 else time / int((folder / "cpu.cfs_period_us").read_text())
    return math.inf


def _memory(folder: Path) -> tuple[float, float]:
    """The limit, and what is left of it. Files that were read lie in the group's memory too, and give way: they count as free."""
    for limit, used, prefix in (("memory.max", "memory.current", ""), ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_")):
        with contextlib.suppress(OSError, ValueError):
            most = int((folder / limit).read_text())  # "max" is no number
            if most >= _UNLIMITED:
                continue
            taken = int((folder / used).read_text())
            with contextlib.suppress(OSError, ValueError):
                lines = dict(line.split(maxsplit=1) for line in (folder / "memory.stat").read_text().splitlines())
                taken -= sum(int(lines.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
            return most, max(0, most - max(0, taken))
    return math.inf, math.inf
