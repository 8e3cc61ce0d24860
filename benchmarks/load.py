"""A load: which requests come when, and what became of them. The same for whoever answers (targets.py)."""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Short words, about a token each in most vocabularies.
WORDS = """
    the of and to in is it you that he was for on are with as his they be at one have this from or had by hot but some what there we can
    out other were all your when up use how said an each she which do their time if will way about many then them would write like so
    """.split()  # noqa: SIM905

#: Ordinary tokens of any vocabulary that has some: after bytes and what is special.
IDS = range(300, 500)

#: A prompt: token ids, or a conversation.
Prompt = list[int] | list[dict[str, str]]


@dataclass(frozen=True)
class Load:
    """``requests`` of ``prefix`` tokens that all have in common, ``prompt`` of their own, and ``output`` to come.

    ``clients`` ask one request after another; where there are none, requests arrive at random (Poisson), ``rate`` a second. With
    ``first_alone`` the others come when the first has its first token.
    """

    clients: int = 1
    rate: float = 0.0
    requests: int = 4
    prompt: int = 64
    output: int = 32
    prefix: int = 0
    first_alone: bool = False
    chat: bool = False

    @property
    def label(self) -> str:
        return f"{self.rate:g} a second" if self.rate else "1 client" if self.clients == 1 else f"{self.clients} clients"

    def prompts(self, seed: int) -> Iterator[Prompt]:
        """Another seed, or another load, has other prompts, so that a prefix cache holds nothing of them."""
        rng = random.Random(f"{seed}, {self.label}")
        choices: Any = WORDS if self.chat else IDS
        common = rng.choices(choices, k=self.prefix)
        for _ in range(self.requests):
            own = common + rng.choices(choices, k=self.prompt)
            yield [{"role": "user", "content": " ".join(own)}] if self.chat else own


@dataclass
class Reply:
    """What came of one request. Times are time.perf_counter()'s; ``status`` is HTTP's, 0 where a connection broke."""

    begin: float = field(default_factory=time.perf_counter)
    times: list[float] = field(default_factory=list)  # of each event that has text
    status: int = 0
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    end: float = 0.0

    @property
    def ok(self) -> bool:
        return self.status == 200

    def text(self) -> None:
        """A piece of text is here."""
        self.times.append(time.perf_counter())


class Target(ABC):
    """Who answers."""

    name: str

    @abstractmethod
    def run(self, load: Load, seed: int, done: Callable[[], None]) -> Round:
        """One round: all requests. ``done`` is called at the end of each."""

    def close(self) -> None:  # noqa: B027
        """No more rounds come."""


class Asked(Target):
    """Who is asked request by request."""

    @abstractmethod
    async def ask(self, prompt: Prompt, output: int, reply: Reply) -> None:
        """Have ``output`` tokens generated after the prompt, noting in ``reply`` what comes. Raises nothing but what is a fault of ours."""

    def run(self, load: Load, seed: int, done: Callable[[], None]) -> Round:
        return asyncio.run(self._run(load, seed, done))

    async def _run(self, load: Load, seed: int, done: Callable[[], None]) -> Round:
        replies: list[Reply] = []
        prompts = load.prompts(seed)
        rng = random.Random(seed)

        async def ask(prompt: Prompt) -> None:
            replies.append(reply := Reply())
            await self.ask(prompt, load.output, reply)
            reply.end = time.perf_counter()
            done()

        async def client() -> None:
            for prompt in prompts:
                await ask(prompt)

        begin, asking = time.perf_counter(), []
        if load.first_alone:
            asking.append(asyncio.ensure_future(ask(next(prompts))))
            while not (asking[0].done() or (replies and replies[0].times)):
                await asyncio.sleep(0.001)
        if load.rate:
            due = time.perf_counter()
            for prompt in prompts:
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                asking.append(asyncio.ensure_future(ask(prompt)))
                due += rng.expovariate(load.rate)
        else:
            asking += [asyncio.ensure_future(client()) for _ in range(load.clients)]
        await asyncio.gather(*asking)
        seconds = time.perf_counter() - begin
        await self.rest()
        return Round(seconds, replies)

    async def rest(self) -> None:
        """A round is over."""


@dataclass
class Round:
    seconds: float
    replies: list[Reply]

    @property
    def speed(self) -> float:
        """Tokens generated a second, over all requests that were answered."""
        return sum(reply.tokens for reply in self.replies if reply.ok) / self.seconds


PERCENTILES = (50, 90, 99)


def summary(rounds: list[Round]) -> dict[str, Any]:
    """Of all rounds of one load on one target. Times in milliseconds, percentiles over all rounds."""
    good = [reply for one in rounds for reply in one.replies if reply.ok]
    firsts = [1000 * (one.replies[0].times[0] - one.replies[0].begin) for one in rounds if one.replies and one.replies[0].times]
    return {
        "tokens_per_second": [one.speed for one in rounds],
        "requests": sum(len(one.replies) for one in rounds),
        "output_tokens": sum(reply.tokens for reply in good),
        "prompt_tokens": sum(reply.prompt_tokens for reply in good),
        "cached_tokens": sum(reply.cached_tokens for reply in good),
        "very_first_token_ms": firsts,
        "first_token_ms": _percentiles([reply.times[0] - reply.begin for reply in good if reply.times]),
        "later_first_token_ms": _percentiles([r.times[0] - r.begin for one in rounds for r in one.replies[1:] if r.ok and r.times]),
        "between_tokens_ms": _percentiles([gap for reply in good for gap in np.diff(reply.times).tolist()]),
        "errors": {str(status): count for status, count in Counter(r.status for one in rounds for r in one.replies if not r.ok).items()},
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{p}": float(1000 * np.percentile(seconds, p)) for p in PERCENTILES} if seconds else {}
