"""How a pull looks in a terminal, and in a log."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from heron.cli.info import human_bytes, printable
from heron.cli.prompt import note
from heron.hub.pull import Watch


class PullBar(Watch):
    """A bar for each file on the terminal's stderr; where that is none, a line for each."""

    def __init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
        self._bars = Progress(*columns, console=Console(stderr=True))
        self._shown = sys.stderr.isatty()
        self._task = TaskID(0)

    def __enter__(self) -> PullBar:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars.live.is_started:  # stopping what was not begun prints an empty line
            self._bars.stop()
        if kind is KeyboardInterrupt:
            note("stopped; the next pull goes on from here")

    def say(self, text: str) -> None:
        if self._shown:
            self._bars.console.print(f"heron: {text}", markup=False, highlight=False)
        else:
            note(text)

    def begin(self, name: str, size: int) -> None:
        if not self._shown:
            note(f"pulling {printable(name)}, {human_bytes(size)}")
            return
        self._bars.start()
        self._task = self._bars.add_task(printable(name).replace("[", r"\["), total=size)

    def advance(self, bytes: int) -> None:
        if self._shown:
            self._bars.advance(self._task, bytes)
