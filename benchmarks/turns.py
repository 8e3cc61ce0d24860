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

    With ``watch`` its memory is looked at all the while, which takes a little time from it.
    """

    def __init__(self, python: str, engine: str, model: str, watch: bool = False, **options: int) -> None:
        given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        begin = time.perf_counter()
        command = [python, str(WORKER), engine, model, *given]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True)
        self.peak = _Peak(self.process.pid)
        if watch:
            self.peak.start()
        self.first = self._answer()
        self.seconds = time.perf_counter() - begin

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
        print(json.dumps(asked), file=self.process.stdin, flush=True)
        return self._answer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


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
    """What was measured of both engines, once a round; ``limit`` is Heron's part of what the machine (or another figure) allows."""

    label: str
    digits: int = 1
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)
    limit: list[float] = field(default_factory=list)

    def note(self, engine: str, value: float) -> None:
        (self.ours if engine == "heron" else self.theirs).append(value)

    def cells(self) -> list[str]:
        """A ratio is taken within its round."""
        ratio = [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=False)]
        return [shown(self.ours, self.digits), shown(self.theirs, self.digits), shown(ratio, 2), shown(self.limit, 2)]


def shown(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    middle = f"{statistics.median(values):.{digits}f}"
    return middle if len(values) == 1 else f"{middle} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def markdown(*cells: Any) -> str:
    return f"| {' | '.join(map(str, cells))} |"
