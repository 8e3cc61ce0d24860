"""How much memory there still is, and what of it states need."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from heron.backends.base import Memory
from heron.engine.control_group import allowed


def available_bytes() -> int:
    """Bytes that can be used without swapping: the least of what the system and the process's control groups say."""
    found = []
    if (free := _meminfo("MemAvailable")) is not None:
        found.append(free)
    if math.isfinite(left := allowed().free):
        found.append(int(left))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if not found:
            found.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2)
    return max(0, min(found, default=4 << 30))


def swap_bytes() -> int:
    """Bytes that can be swapped out; none are counted on where a control group limits the memory."""
    return 0 if math.isfinite(allowed().free) else _meminfo("SwapFree") or 0


def _meminfo(name: str) -> int | None:
    """What the system says of its memory, in bytes; None where it does not."""
    with contextlib.suppress(OSError, ValueError, IndexError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1]) * 1024
    return None


@dataclass(frozen=True)
class Demand:
    """Bytes that one memory shall give, and those that it has."""

    need: int
    have: int


def demands(memories: Iterable[Memory], units: Mapping[str, int], soon: int = 0) -> list[Demand]:
    """What so many units of each group demand of each memory. ``soon`` bytes of the machine's own are promised already."""

    def need(memory: Memory) -> int:
        return sum(units[group.name] * group.unit_bytes for group in memory.groups)

    own = [need(memory) for memory in memories if memory.free is None]
    found = [Demand(need(memory), memory.free) for memory in memories if memory.free is not None]
    return [*found, Demand(sum(own), available_bytes() - soon)] if own else found


def peak_bytes() -> int:
    """The most memory this process has held so far; 0 where the system does not say."""
    try:
        import resource
        import sys
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def resident_bytes() -> int:
    """The memory that this process holds now, what it shares with others in proportion; 0 where the system does not say."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("Pss:")).split()[1]) * 1024
    return 0
