"""What a template may spend: time, output, and characters of work. Spending more is a TemplateError."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from heron.errors import TemplateError


@dataclass(frozen=True)
class Limits:
    """seconds of running; characters of output; characters and list entries that expressions may make on the way;
    entries of a range, width of a padding."""

    seconds: float = 1.0
    output: int = 1 << 24
    work: int = 1 << 27
    items: int = 100_000


class Budget:
    """What one rendering has spent."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self._output = self._work = 0

    def tick(self) -> None:
        """Called at least once in every turn of a loop and every call."""
        if time.monotonic() > self._deadline:
            raise TemplateError(f"the chat template ran for more than {self._limits.seconds:g} s and was stopped; use another template")

    def emit(self, characters: int) -> None:
        self.tick()
        self._output += characters
        if self._output > self._limits.output:
            raise TemplateError(f"the chat template wrote more than {self._limits.output} characters and was stopped; use another template")

    def charge(self, characters: int) -> None:
        """Called before characters or list entries are made, with how many it will be at most."""
        self.tick()
        self._work += max(0, characters)
        if self._work > self._limits.work:
            raise TemplateError(f"the chat template builds more than {self._limits.work} characters of text; use another template")

    def width(self, *numbers: Any) -> None:
        """Refuses sizes that no conversation needs."""
        if any(isinstance(number, int) and abs(number) > self._limits.items for number in numbers):
            raise TemplateError(f"the chat template asks for a size beyond {self._limits.items}; use another template")

    def measure(self, value: Any) -> tuple[int, int]:
        """(entries, depth) of nested data, charging for all that writing it out takes: shared parts as often as they occur."""
        if isinstance(value, (str, bytes)):
            self.charge(len(value))
            return 1, 0
        if not isinstance(value, (list, tuple, dict, set, frozenset)):
            self.charge(8)
            return 1, 0
        self.charge(8 * len(value))
        parts: Iterable[Any] = [*value.keys(), *value.values()] if isinstance(value, dict) else value
        entries, depth = 1, 0
        for part in parts:
            below, deep = self.measure(part)
            entries, depth = entries + below, max(depth, deep)
        return entries, depth + 1


_current: ContextVar[Budget] = ContextVar("template budget")


def current() -> Budget:
    """The budget of the rendering that is under way in this thread."""
    return _current.get()


def begin(limits: Limits) -> Budget:
    """A new budget, made the current one."""
    budget = Budget(limits)
    _current.set(budget)
    return budget
