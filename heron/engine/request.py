"""A request to the engine: what it asks for, what became of it, and who waits for its pieces."""

from __future__ import annotations

import contextlib
import math
import queue
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from heron.engine.answer import Answer
from heron.engine.cache import UNKNOWN
from heron.engine.generation import Generation, Piece, Timings
from heron.engine.logprobs import PromptScores
from heron.engine.plain import Plain
from heron.engine.prefix import CachedSequence
from heron.engine.speculate import Guesses
from heron.errors import RequestError

#: Puts a piece where its reader looks: a piece, then None at the end, or the error that ended the request.
Deliver = Callable[[Piece | Exception | None], None]

_numbers = count()


@dataclass(eq=False, kw_only=True)
class Work(ABC):
    """What the scheduler serves: ``tokens`` to be computed; ``source`` is what an encoder reads first, where there is one."""

    tokens: list[int]
    sequence: CachedSequence
    source: list[int] = field(default_factory=list)
    priority: int = 0  # the lowest number is served first
    number: int = field(default_factory=lambda: next(_numbers))
    deadline: float = math.inf  # by time.perf_counter()
    cancelled: bool = False
    preemptions: int = 0
    drafts: list[int] = field(default_factory=list)  # guesses at the tokens that come next, for the next step
    timings: Timings = field(default_factory=Timings)

    def __post_init__(self) -> None:
        self.prompt_length, self.arrived = len(self.tokens), time.perf_counter()

    @property
    def order(self) -> tuple[int, int]:
        """Who comes first: by priority, then by arrival."""
        return self.priority, self.number

    @property
    def left(self) -> list[int]:
        """Tokens that the cache does not hold yet."""
        return self.tokens[len(self.sequence.tokens) :]

    @property
    def over(self) -> str:
        """Why there is nothing to compute; empty where there is."""
        return ""

    def scored(self, count: int) -> range:
        """Which of the next ``count`` tokens give logits by which the token after them is scored."""
        return range(0)

    @abstractmethod
    def end(self, reason: str, error: Exception | None = None) -> None:
        """Nothing more will come. Who waits gets the error, if there is one."""


@dataclass(eq=False, kw_only=True)
class Request(Work):
    """A text to be generated: ``tokens`` is the prompt and what follows so far.

    Iterating over it waits for its pieces. One reader reads them.
    """

    answer: Answer
    deliver: Deliver | None = None
    guesses: Guesses | None = None  # what the next tokens are guessed with, where they are
    scores: PromptScores | None = None  # of the prompt's tokens, where they are asked for
    finish_reason: str = ""  # stop, length, cancelled or error; empty until the end
    awaited: int = 0  # tokens that steps under way choose

    def __post_init__(self) -> None:
        super().__post_init__()
        self._pieces: queue.SimpleQueue[Piece | Exception | None] = queue.SimpleQueue()
        self.deliver = self.deliver or self._pieces.put

    @property
    def over(self) -> str:
        return "" if self.scores else self.answer.finish_reason

    @property
    def left(self) -> list[int]:
        """An awaited token stands as UNKNOWN, unless it will be the last one."""
        known = super().left
        if not self.awaited:
            return known
        coming = min(self.awaited, self.answer.left - 1)
        return known + [UNKNOWN] * (coming - max(0, len(self.sequence.tokens) - len(self.tokens)))

    @property
    def plain(self) -> Plain | None:
        """What a device needs to choose the next token; None where the host must."""
        return self.answer.plain if self.guesses is None and self.scores is None else None

    def scored(self, count: int) -> range:
        return self.scores.rows(len(self.sequence.tokens), count, self.prompt_length) if self.scores else range(0)

    def take(self, piece: Piece) -> float:
        """A piece that was generated. Returns the seconds since the one before, or since the request came."""
        assert self.deliver is not None
        now = time.perf_counter() - self.arrived
        before = self.timings.first_token_seconds + self.timings.decode_seconds
        if self.timings.decoded_tokens == 0 and not self.timings.first_token_seconds:
            self.timings.first_token_seconds = now
        else:
            self.timings.decoded_tokens += 1
        self.timings.decode_seconds = now - self.timings.first_token_seconds
        if not piece.ends:
            self.tokens.append(piece.token)
        self.deliver(piece)
        return now - before

    def end(self, reason: str, error: Exception | None = None) -> None:
        """Nothing more will come. The reader gets the error, if there is one."""
        assert self.deliver is not None
        self.finish_reason = reason
        with contextlib.suppress(Exception):  # a reader that fails is no concern of others
            self.deliver(error)

    def __iter__(self) -> Iterator[Piece]:
        """The pieces as they come. Raises what ended the request."""
        while True:
            item = self._pieces.get()
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            yield item

    def result(self) -> Generation:
        """Wait for the whole answer. Raises what ended the request."""
        answer = Generation(timings=self.timings)
        for piece in self:
            answer.add(piece)
        answer.finish_reason = self.finish_reason
        return answer


def checked(value: Any, name: str, least: int) -> int:
    """``value`` as a whole number. Raises RequestError for anything else, or less."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise RequestError(f"{name} is {value!r:.40}; give a whole number, at least {least}")
    return value
