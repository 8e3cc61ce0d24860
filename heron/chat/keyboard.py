"""The keyboard while the program works: what is typed is not echoed, and waits for the prompt; Ctrl-C is a wish, Ctrl-Z suspends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

#: What a terminal is told: to hide the cursor and to show it, and to mark what is pasted, and no more.
_HIDE, _SHOW, _MARK, _PLAIN = b"\x1b[?25l", b"\x1b[?25h", b"\x1b[?2004h", b"\x1b[?2004l"


class Interrupts:
    """How often Ctrl-C was pressed."""

    count = 0

    def add(self, signum: int, frame: FrameType | None) -> None:
        self.count += 1


@contextlib.contextmanager
def quiet(again: Callable[[], None]) -> Iterator[Interrupts]:
    """While an answer comes: no cursor, and Ctrl-C is counted. ``again`` is called when the program was suspended and goes on."""
    interrupts = Interrupts()

    def suspend(signum: int, frame: FrameType | None) -> None:
        _tell(_SHOW)
        suspends(signum, frame)
        _tell(_HIDE)
        again()

    before = signal.signal(signal.SIGINT, interrupts.add)
    suspends: Any = signal.getsignal(signal.SIGTSTP) if hasattr(signal, "SIGTSTP") else None
    if callable(suspends):
        signal.signal(signal.SIGTSTP, suspend)
    _tell(_HIDE)
    try:
        yield interrupts
    finally:
        _tell(_SHOW)
        signal.signal(signal.SIGINT, before)
        if callable(suspends):
            signal.signal(signal.SIGTSTP, suspends)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keys are kept as they are, unseen, for the prompt that reads them next; what is pasted comes as one."""
    try:
        import termios
    except ImportError:  # Windows
        yield
        return
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    silent = termios.tcgetattr(keyboard)
    silent[0] &= ~termios.ICRNL  # Enter stays Enter
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    silent[3] |= termios.NOFLSH  # Ctrl-C throws nothing away: neither what was typed nor what is being drawn

    def enter() -> None:
        termios.tcsetattr(keyboard, termios.TCSANOW, silent)
        mark_pastes()

    def leave() -> None:
        _tell(_PLAIN)
        termios.tcsetattr(keyboard, termios.TCSANOW, before)

    def suspend(signum: int, frame: FrameType | None) -> None:
        leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, suspend)  # this is after the shell's fg
        enter()

    suspends = signal.signal(signal.SIGTSTP, suspend)
    enter()
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, suspends)
        leave()


def mark_pastes() -> None:
    """What is pasted comes as one: a prompt that ends has the terminal forget it."""
    _tell(_MARK)


def _tell(command: bytes) -> None:
    """Past the buffers of stdout, in which a signal may have interrupted somebody."""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stdout.fileno(), command)
