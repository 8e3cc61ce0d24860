"""Answers under way for one HTTP request: the engine's pieces, in the loop, as text and the tokens that it is made of."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from heron.engine.generation import Piece
from heron.engine.request import Deliver, Request
from heron.engine.sampling import SamplingParams
from heron.server.errors import ApiError
from heron.server.lease import Lease
from heron.text.reasoning import Splitter


@dataclass(frozen=True)
class Asked:
    """An answer that is wanted. ``sample`` counts those to one prompt; ``scored``: so many tokens beside each of the prompt's.

    ``splitter`` tells reasoning from the answer, which alone a constraint holds then; None: all is the answer.
    """

    prompt: list[int]
    params: SamplingParams
    sample: int = 0
    scored: int | None = None
    chat: bool = False
    splitter: Splitter | None = None


@dataclass(frozen=True)
class Delta:
    """Text that may be sent, and the tokens that it is made of. It may end within the last of them."""

    text: str
    pieces: list[Piece]


@dataclass(eq=False)
class Choice:
    """An answer and what came of it so far.

    Tokens whose text is held back, because a character or perhaps a stop string is incomplete, are held back with it. Those of a
    stop string never come.
    """

    index: int
    asked: Asked
    request: Request
    text: list[str] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)
    end: Piece | None = None  # the token that ended the answer, and is no part of it

    def __post_init__(self) -> None:
        self._held: list[Piece] = []

    def push(self, piece: Piece) -> Delta:
        if piece.ends:
            self.end = piece
        else:
            self._held.append(piece)
        return self._pass_on(piece.text) if piece.text else Delta("", [])

    def finish(self) -> Delta:
        """What is left at the end."""
        return Delta("", []) if self.stop_string else self._pass_on("")

    def _pass_on(self, text: str) -> Delta:
        delta, self._held = Delta(text, self._held), []
        self.text.append(text)
        self.pieces += delta.pieces
        return delta

    @property
    def whole(self) -> str:
        """The text so far."""
        return "".join(self.text)

    @property
    def stop_string(self) -> str | None:
        return self.request.answer.stop_string

    @property
    def finish_reason(self) -> str:
        """``stop`` or ``length``, at the end."""
        return self.request.finish_reason

    @property
    def generated(self) -> int:
        """Tokens, the one that ended the answer included."""
        return self.request.answer.generated


class Answers:
    """Has an engine answer what is asked, all at the same time. ``options`` are those of ``Engine.submit``.

    Raises what the engine raises for one that it refuses.
    """

    def __init__(self, lease: Lease, asked: Sequence[Asked], options: Mapping[str, Any] | None = None) -> None:
        self._engine = engine = lease.engine
        self._loop, self._arrived = asyncio.get_running_loop(), asyncio.Event()
        self._pieces: deque[tuple[int, Piece | Exception | None]] = deque()
        self.choices: list[Choice] = []
        try:
            for index, one in enumerate(asked):
                request = engine.submit(
                    one.prompt,
                    one.params,
                    deliver=self._deliver(index),
                    sample=one.sample,
                    prompt_logprobs=one.scored,
                    continues=not one.chat,
                    splitter=one.splitter,
                    **(options or {}),
                )
                request.deadline -= lease.waited  # the time of a request is from its arrival on
                self.choices.append(Choice(index, one, request))
        except BaseException:
            self.cancel()
            raise

    def _deliver(self, index: int) -> Deliver:
        """Takes what the engine's thread gives. The loop is woken once for all that came since it looked."""

        def deliver(item: Piece | Exception | None) -> None:
            self._pieces.append((index, item))
            if len(self._pieces) == 1:
                with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                    self._loop.call_soon_threadsafe(self._arrived.set)

        return deliver

    async def deltas(self) -> AsyncIterator[tuple[Choice, Delta, bool]]:
        """What may be sent of each answer as it comes; True with the last of each. Raises what ended an answer early."""
        left = len(self.choices)
        while left:
            await self._arrived.wait()
            self._arrived.clear()
            while self._pieces:
                index, item = self._pieces[0]
                choice = self.choices[index]
                if isinstance(item, Exception):
                    raise item
                if item is None and choice.finish_reason not in ("stop", "length"):
                    raise ApiError(503, "the server gave this request up", code="cancelled")
                yield (choice, choice.push(item), False) if item is not None else (choice, choice.finish(), True)
                self._pieces.popleft()
                left -= item is None

    async def collect(self) -> list[Choice]:
        """All of them, whole."""
        async for _ in self.deltas():
            pass
        return self.choices

    def cancel(self) -> None:
        """End those that have not ended."""
        self._engine.cancel(*(choice.request for choice in self.choices))

    @property
    def usage(self) -> dict[str, object]:
        """Tokens, as OpenAI's APIs count them: a prompt once, however many answers it has."""
        firsts = [choice for choice in self.choices if choice.asked.sample == 0]
        prompt = sum(choice.request.timings.prompt_tokens for choice in firsts)
        generated = sum(choice.generated for choice in self.choices)
        cached = sum(choice.request.timings.cached_tokens for choice in firsts)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": generated,
            "total_tokens": prompt + generated,
            "prompt_tokens_details": {"cached_tokens": cached},
        }
