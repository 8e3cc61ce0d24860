"""An answer on the screen as it comes: what is waited for, what the model thinks, what it says."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import IO

from rich.console import Console

from heron.chat.blocks import first_block, first_line
from heron.chat.clean import inert
from heron.chat.lines import EMPTY, Line, styled
from heron.chat.markdown import markdown, thoughts
from heron.chat.tail import Size, Tail
from heron.text.reasoning import Part

#: Seconds from one drawing to the next, at least; and drawing takes no more than this share of the time.
_EVERY, _SHARE = 0.05, 0.1

#: Columns that text fills at most: longer lines are hard to read.
_WIDEST = 100

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

_DIM = "dim"

Render = Callable[[Console, str, int], list[Line]]


class Flow:
    """Text that grows: a block that is whole is drawn a last time, the one after it again and again."""

    def __init__(self, console: Console, tail: Tail, size: Size, render: Render, first: Callable[[str], int], gap: bool) -> None:
        """``first`` says how long the first whole block of a text is; ``gap`` puts an empty line between blocks."""
        self._console, self._tail, self._size = console, tail, size
        self._render, self._first, self._gap = render, first, gap
        self._text, self._begun, self._width = "", False, 0

    def push(self, text: str) -> None:
        self._text += text

    def draw(self) -> None:
        while count := self._first(self._text):
            self._settle(count)
        self._show(self._text)

    def end(self) -> None:
        self.draw()
        self._settle(len(self._text))

    def _settle(self, count: int) -> None:
        self._show(self._text[:count])
        self._begun |= bool(self._text[:count].strip())
        self._tail.settle()
        self._text = self._text[count:]

    def _show(self, text: str) -> None:
        if not self._tail.begun:  # else lines that are out of reach have been laid out
            self._width = min(_WIDEST, max(16, self._size().columns - 1))
        if text.strip() or (text and not self._gap):
            gap = [EMPTY] if self._gap and self._begun else []
            self._tail.show([*gap, *self._render(self._console, text, self._width)])


class Verbatim:
    """Text as it is, wrapped by the terminal."""

    def __init__(self, out: IO[str]) -> None:
        self._out, self._text, self._ended = out, "", True

    def push(self, text: str) -> None:
        self._text += text

    def draw(self) -> None:
        if self._text:
            self._out.write(self._text)
            self._out.flush()
            self._ended, self._text = self._text.endswith("\n"), ""

    def end(self) -> None:
        self.draw()
        if not self._ended:
            self._out.write("\n")


class View:
    """One answer. ``take`` what came, ``draw`` from time to time, ``end`` it; ``again`` when others have written on the screen."""

    def __init__(self, console: Console, size: Size, markdown: bool, hide_reasoning: bool) -> None:
        self._console, self._size, self._markdown, self._hide = console, size, markdown, hide_reasoning
        self._tail = Tail(console.file, size)
        self.again = self._tail.forget
        self._flow: Flow | Verbatim | None = None
        self._thinks = False  # what was said last is reasoning
        self._begun = self._since = time.monotonic()
        self._next = 0.0

    def take(self, parts: list[Part]) -> None:
        for part in parts:
            if self._flow is None or part.reasoning != self._thinks:
                self._turn(part.reasoning)
            if self._flow is not None:
                self._flow.push(inert(part.text))

    def draw(self) -> None:
        """If it is time."""
        now = time.monotonic()
        if now < self._next:
            return
        if self._flow is not None:
            self._flow.draw()
        else:
            self._spin(now)
        spent = time.monotonic() - now
        self._next = now + max(_EVERY, spent / _SHARE)

    def end(self) -> None:
        self._close()

    def _turn(self, reasoning: bool) -> None:
        """From waiting to reasoning or an answer, or from one of these to the other."""
        again = self._flow is not None or self._thinks
        self._close()
        self._thinks, self._since = reasoning, time.monotonic()
        if reasoning and self._hide:
            return
        if again:
            self._console.file.write("\n")
        if reasoning:
            self._flow = Flow(self._console, self._tail, self._size, thoughts, first_line, gap=False)
        elif self._markdown:
            self._flow = Flow(self._console, self._tail, self._size, markdown, first_block, gap=True)
        else:
            self._flow = Verbatim(self._console.file)

    def _close(self) -> None:
        """What is under way."""
        if self._flow is not None:
            self._flow.end()
        elif self._thinks:
            self._tail.show([styled(self._console, f"thought for {time.monotonic() - self._since:.1f} s", _DIM)])
        else:
            self._tail.show([])
        self._tail.settle()
        self._flow = None

    def _spin(self, now: float) -> None:
        what = "thinking" if self._thinks else "reading"
        wheel = _SPINNER[int((now - self._begun) * 10) % len(_SPINNER)]
        seconds = now - self._since
        told = f"{wheel} {what}" + (f" {seconds:.0f} s" if seconds >= 2 else "")
        self._tail.show([styled(self._console, told, _DIM)])
