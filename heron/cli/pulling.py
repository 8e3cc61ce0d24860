"""How a pull looks in a terminal, and in a log."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Column

from heron.cli.info import human_bytes, printable
from heron.cli.prompt import note
from heron.hub.pull import Watch

#: Columns that a terminal has for a bar and a speed, too; and those of all figures, without and with these.
_WIDE, _FIGURES, _ALL_FIGURES = 66, 25, 57


class PullBar(Watch):
    """A bar on the terminal's stderr, of all files together; where that is no terminal, a line for each."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        wide = console.width >= _WIDE
        room = Column(no_wrap=True, overflow="ellipsis", max_width=max(8, console.width - (_ALL_FIGURES if wide else _FIGURES)))
        columns: list[ProgressColumn] = [
            TextColumn("{task.description}", markup=False, table_column=room),
            DownloadColumn(binary_units=True),
        ]
        if wide:
            columns[1:1] = [BarColumn(bar_width=20)]
            columns += [TransferSpeedColumn()]
        self._bars = Progress(*columns, TimeRemainingColumn(), console=console)
        self._shown = sys.stderr.isatty()
        self._files = self._begun = 0

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

    def start(self, files: int, bytes: int) -> None:
        self._files = files
        if self._shown:
            self._bars.add_task("", total=bytes)
            self._bars.start()

    def begin(self, name: str, size: int) -> None:
        self._begun += 1
        count = f"{self._begun}/{self._files} " if self._files > 1 else ""
        if self._shown:
            self._bars.update(self._bars.task_ids[0], description=count + printable(name.rpartition("/")[2]))
        else:
            note(f"pulling {count}{printable(name)}, {human_bytes(size)}")

    def advance(self, bytes: int) -> None:
        if self._shown:
            self._bars.advance(self._bars.task_ids[0], bytes)
