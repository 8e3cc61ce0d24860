"""The CPU that this process runs on: its name, and how much of it there is."""

from __future__ import annotations

import contextlib
import os
import platform
from dataclasses import dataclass
from pathlib import Path

_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Processor:
    """``cores`` are physical ones and ``logical`` their hyper-threads; ``allowed`` of these may be used (affinity).

    ``governor`` and its ``driver`` choose the clock rate, where the system says.
    """

    name: str
    cores: int
    logical: int
    allowed: int
    governor: str = ""
    driver: str = ""


def processor() -> Processor:
    """The CPU, as far as the system tells."""
    logical = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else logical
    clock = _CPUS / "cpu0" / "cpufreq"
    return Processor(name(), _cores() or logical, logical, allowed, _text(clock / "scaling_governor"), _text(clock / "scaling_driver"))


def name() -> str:
    """The CPU's model, or its architecture where nothing tells it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()  # not Linux, or a CPU that it has no name for


def _cores() -> int:
    """A core is known by the list of its hyper-threads; 0 where the system does not say."""
    return len({text for path in _CPUS.glob("cpu[0-9]*/topology/thread_siblings_list") if (text := _text(path))})


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
