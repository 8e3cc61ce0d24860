"""The end of the screen, drawn again while it changes. What has scrolled out of reach, or is done, is never touched again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import IO

from heron.chat.lines import Line

Size = Callable[[], os.terminal_size]


class Tail:
    """Lines of one block at the end of ``out``. The cursor stands below them.

    A terminal that is made narrower wraps its lines, so that they are counted by its width at the time; those that left at the top
    stay in its scrollback as they were.
    """

    def __init__(self, out: IO[str], size: Size) -> None:
        self._out, self._size = out, size
        self._live: list[Line] = []  # on the screen, and within reach
        self._fixed = 0  # lines of this block that are out of reach
        self._lost = False

    @property
    def begun(self) -> bool:
        """Whether a part of the block is fixed already: its layout must stay."""
        return self._fixed > 0

    def show(self, lines: Sequence[Line]) -> None:
        """``lines`` are the whole block as it is now."""
        if self._lost:
            self._live, self._lost = [], False
        self._let_go()
        new = list(lines[self._fixed :])
        same = next((at for at, (a, b) in enumerate(zip(self._live, new, strict=False)) if a != b), min(len(self._live), len(new)))
        up = sum(map(self._rows, self._live[same:]))
        if up or len(new) > same:
            erase = (f"\x1b[{up}A" if up else "") + "\r\x1b[J"
            self._out.write(erase + "".join(line.text + "\n" for line in new[same:]))
            self._out.flush()
        self._live = new
        self._let_go()

    def forget(self) -> None:
        """Somebody else has written below: what is live is drawn anew."""
        self._lost = True

    def settle(self) -> None:
        """The block is as it will stay."""
        self._live, self._fixed = [], 0

    def _let_go(self) -> None:
        """Of lines that the cursor cannot reach any more."""
        reach = self._size().lines - 1
        while sum(map(self._rows, self._live)) > reach:
            self._live.pop(0)
            self._fixed += 1

    def _rows(self, line: Line) -> int:
        return line.rows(self._size().columns)
