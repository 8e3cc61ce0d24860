"""Engines that take turns: workers (worker.py), what they are measured beside, and the figures' table."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

WORKER = Path(__file__).with_name("worker.py")


class Worker:
    """An engine in a process of its own. ``seconds`` is the time from the process's start to its first answer.

    ``others`` is the part of the machine's CPU time that other processes took while it made its last answer: a round in which it
    is not near 0 was disturbed. With ``watch`` its memory is looked at all the while, which takes a little time from it.
    """

    def __init__(self, python: str, engine: str, model: str, watch: bool = False, **options: int) -> None:
        given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self.engine = engine
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        begin, used = time.perf_counter(), _used()
        command = [python, str(WORKER), engine, model, *given]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.peak = _Peak(self.process.pid)
        if watch:
            self.peak.start()
        self.first = self._answer()
        self.seconds = time.perf_counter() - begin
        self.others = _share(_used(self.process.pid) - used, self.seconds)

    def _answer(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self._errors.seek(0)
            sys.exit(f"{' '.join(map(str, self.process.args))} ended:\n{self._errors.read()[-2000:]}")  # type: ignore[arg-type]
        answer: dict[str, float] = json.loads(line)
        return answer

    def time(self, prompt: int, generate: int, sequences: int = 1, keep: bool = False) -> dict[str, float]:
        assert self.process.stdin is not None
        asked = {"prompt": prompt, "generate": generate, "sequences": sequences, "keep": keep}
        begin, used = time.perf_counter(), _used(self.process.pid)
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        answer = self._answer()
        self.others = _share(_used(self.process.pid) - used, time.perf_counter() - begin)
        return answer

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def _used(pid: int | None = None) -> float:
    """Seconds of CPU that the machine has spent since it started, its host's other guests included, but for those of the process."""
    user, nice, system, _, _, irq, soft, steal = map(int, Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9])
    ticks = user + nice + system + irq + soft + steal
    if pid is not None:
        ticks -= sum(map(int, Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _share(spent: float, seconds: float) -> float:
    return min(1.0, max(0.0, spent) / seconds / (os.cpu_count() or 1))  # the system counts in ticks


class _Peak(threading.Thread):
    """The most memory of a process, as the proportional share of its pages (PSS), looked at 50 times a second once started."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._file = Path(f"/proc/{pid}/smaps_rollup")
        self.bytes = 0

    def run(self) -> None:
        while True:
            try:
                lines = self._file.read_text().splitlines()
            except OSError:  # it ended
                return
            self.bytes = max(self.bytes, *(1024 * int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
            time.sleep(0.02)


@contextmanager
def busy_neighbour() -> Iterator[None]:
    """Another process that computes all the while."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def forget(path: str) -> None:
    """Take the file out of the page cache, as far as the system lets us."""
    with open(path, "rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass
class Row:
    """What was measured of both engines, once a round.

    ``limit`` is Heron's part of what the machine (or another figure) allows, ``others`` what other processes took of the CPUs.
    """

    label: str
    digits: int = 1
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)
    tiles: list[float] = field(default_factory=list)  #: the same, of what AMX's tiles allow
    others: list[float] = field(default_factory=list)

    def note(self, worker: Worker, value: float) -> None:
        (self.ours if worker.engine == "heron" else self.theirs).append(value)
        self.others.append(worker.others)

    def cells(self) -> list[str]:
        """A ratio is taken within its round."""
        ratio = [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=False)]
        return [
            shown(self.ours, self.digits),
            shown(self.theirs, self.digits),
            shown(ratio, 2),
            shown(self.limit, 2) + (f"; tiles {shown(self.tiles, 2)}" if self.tiles else ""),
            f"{max(self.others):.2f}",
        ]


def shown(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def markdown(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"
