"""The keyboard while the program works: what is typed is not echoed, and waits for the prompt; Ctrl-C is a wish to stop the answer."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def quiet(stop: Callable[[], None]) -> Iterator[None]:
    """While an answer comes: no cursor, and ``stop`` is called at Ctrl-C; a second one is a KeyboardInterrupt."""

    def interrupt(signum: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        stop()

    before = signal.signal(signal.SIGINT, interrupt)
    sys.stdout.write("\x1b[?25l")
    try:
        yield
    finally:
        sys.stdout.write("\x1b[?25h")
        sys.stdout.flush()
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Keys are kept as they are, unseen, for the prompt that reads them next."""
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
    termios.tcsetattr(keyboard, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSANOW, before)
