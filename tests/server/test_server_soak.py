"""Everything at once for a while: each answer that comes to its end is, to the last bit, the one that the same request gets alone.

Clients ask for texts and conversations, as streams and whole, with seeds, stops, several choices, log-probabilities, grammars,
priorities and speculation; some go away in the midst, some requests are cancelled, and the cache is so small that requests give
way to each other all the time. The slow test's length is HERON_SOAK_MINUTES (10).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_serving import PATIENCE, Served, serving, until

import heron
from heron.backends import native
from heron.engine.engine import Engine
from heron.server.settings import Settings

pytestmark = pytest.mark.skipif(not native.available(), reason="no compiled core")

CLIENTS = 16

#: Tokens of one request, and what all have together.
CONTEXT, SMALL = 192, {"max_seqs": 6, "kv_cache_size": 224, "step_tokens": 48}

BEGINNINGS = [
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park with her friends. One day",
    "Tom and Mia went to the",
    "The cat",
    'One day, a big dog saw a bird in the tree. The bird said, "',
]

CONSTRAINTS: list[dict[str, Any]] = [
    {"regex": "[A-Z][a-z]{2,7}( [a-z]{2,6}){2,6}\\."},
    {"grammar": 'root ::= ("yes" | "no") (" " [a-z]{1,5}){1,4} "."'},
    {"response_format": {"type": "json_object"}},
    {"json_schema": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}}}},
]

#: What became of a request: why it failed, or text, reason and log-probabilities of each choice.
Outcome = str | list[tuple[str, str, list[tuple[str, float]]]]


def body(rng: random.Random) -> dict[str, Any]:
    """A request; ``chat`` says of which kind."""
    words = [rng.choice(BEGINNINGS), *rng.choices(["the", "cat", "was", "happy", "and", "a", "dog", "saw", "."], k=rng.randrange(12))]
    asked: dict[str, Any] = {
        "prompt": " ".join(words),
        "chat": rng.random() < 0.4,
        "max_tokens": rng.randrange(1, 90),
        "temperature": rng.choice([0, 0.7, 1.2]),
        "seed": rng.randrange(1000),
        "n": rng.choice([1, 1, 1, 2, 3]),
        "repeat_penalty": rng.choice([1, 1.3]),
        "logprobs": rng.choice([None, 2]),
    }
    if rng.random() < 0.3:
        asked |= rng.choice(CONSTRAINTS)
    if rng.random() < 0.25:
        asked |= {"stop": rng.choice(["he", [". ", " mom"], ["\n", "Lily"]])}
    return asked


def request(asked: dict[str, Any], **more: Any) -> tuple[str, dict[str, Any]]:
    """Path and JSON."""
    sent = {name: value for name, value in asked.items() if value is not None} | more
    if not sent.pop("chat"):
        return "/v1/completions", sent
    if "logprobs" in sent:
        sent |= {"logprobs": True, "top_logprobs": sent["logprobs"]}
    return "/v1/chat/completions", sent | {"messages": [{"role": "user", "content": sent.pop("prompt")}]}


def gather(events: list[dict[str, Any]]) -> Outcome:
    """Of a whole answer, or of all of a stream's events."""
    found: dict[int, tuple[str, str, list[tuple[str, float]]]] = {}
    for event in events:
        if "error" in event:
            return str(event["error"]["code"] or event["error"]["type"])
        for choice in event["choices"]:
            text, reason, scores = found.get(choice["index"], ("", "", []))
            said = choice.get("message") or choice.get("delta") or choice
            if told := choice.get("logprobs"):
                pairs = [(one["token"], one["logprob"]) for one in told["content"]] if "content" in told else []
                scores = scores + (pairs or list(zip(told.get("tokens", ()), told.get("token_logprobs", ()), strict=True)))
            found[choice["index"]] = text + (said.get("text") or said.get("content") or ""), reason or choice["finish_reason"] or "", scores
    return [found[index] for index in sorted(found)]


class Soak:
    """``busy`` is what all clients ask, ``alone`` a server that has one request at a time and says what their answers must be."""

    def __init__(self, busy: Served, alone: Served, seed: int, bodies: int) -> None:
        self.busy, self.alone, self.rng = busy, alone, random.Random(seed)
        self.bodies = [body(self.rng) for _ in range(bodies)]
        self.expected: dict[int, Outcome] = {}
        self.turn = asyncio.Lock()
        self.saw: Counter[str] = Counter()
        self.memory: list[int] = []

    async def run(self, seconds: float) -> None:
        end = asyncio.get_running_loop().time() + seconds
        async with httpx.AsyncClient(timeout=4 * PATIENCE, limits=httpx.Limits(max_connections=None)) as self.http:
            clients = [self._client(end) for _ in range(CLIENTS)]
            await asyncio.gather(*clients, self._cancel(end), self._watch(end, seconds / 20))

    async def _client(self, end: float) -> None:
        while asyncio.get_running_loop().time() < end:
            number = self.rng.randrange(len(self.bodies))
            how = self.rng.random()
            more = {"priority": self.rng.randrange(3), "speculate": self.rng.choice(["off", "ngram", "draft"]), "stream": how < 0.6}
            path, sent = request(self.bodies[number], **more)
            if how > 0.8:
                self.saw["whole, disconnected"] += await self._leave(path, sent)
            elif self.rng.random() < 0.3 and how < 0.6:
                await self._stream(path, sent, self.rng.randrange(12))
                self.saw["stream, disconnected"] += 1
            else:
                found = await (self._stream(path, sent) if how < 0.6 else self._whole(self.busy, path, sent))
                await self._check(number, found, json.dumps([path, sent]))

    async def _whole(self, served: Served, path: str, sent: dict[str, Any]) -> Outcome:
        return gather([(await self.http.post(served.url + path, json=sent)).json()])

    async def _leave(self, path: str, sent: dict[str, Any]) -> bool:
        try:
            await asyncio.wait_for(self._whole(self.busy, path, sent), self.rng.uniform(0, 0.3))
        except asyncio.TimeoutError:
            return True
        return False

    async def _stream(self, path: str, sent: dict[str, Any], most: int | None = None) -> Outcome:
        """``most`` events are read, and then the connection is closed."""
        events: list[dict[str, Any]] = []
        async with self.http.stream("POST", self.busy.url + path, json=sent) as response:
            if response.status_code != 200:
                return gather([json.loads(await response.aread())])
            async for line in response.aiter_lines():
                if len(events) == most:
                    return []
                if line == "data: [DONE]":
                    return gather(events)
                if line.startswith("data: "):
                    events.append(json.loads(line[6:]))
        raise AssertionError("the stream ended without an end")

    async def _check(self, number: int, found: Outcome, sent: str) -> None:
        if found == "cancelled":  # by _cancel
            self.saw["cancelled"] += 1
            return
        async with self.turn:
            if number not in self.expected:
                self.expected[number] = await self._whole(self.alone, *request(self.bodies[number]))
        assert found == self.expected[number], sent
        self.saw["error" if isinstance(found, str) else "answered"] += 1

    async def _cancel(self, end: float) -> None:
        """Requests that the server gives up by itself."""
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(self.rng.uniform(0, 0.5))
            if running := list(self.busy.engine.scheduler.running):
                self.busy.engine.cancel(self.rng.choice(running))

    async def _watch(self, end: float, interval: float) -> None:
        while asyncio.get_running_loop().time() < end:
            await asyncio.sleep(interval)
            gc.collect()
            self.memory.append(resident())


def resident() -> int:
    """Bytes of this process's memory; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def soak(shared: Path, seconds: float, seed: int, bodies: int) -> Soak:
    path = shared / "data/stories/stories260K-f32.gguf"
    model, draft, direct = (heron.load(path, threads=1, ctx_size=CONTEXT) for _ in range(3))
    busy = Engine(model, draft_model=draft, deterministic=True, **SMALL)
    with serving(busy, Settings(ping_interval=0.05)) as served, serving(Engine(direct, max_seqs=1, prefix_cache=False)) as alone:
        done, tasks = Soak(served, alone, seed, bodies), len(asyncio.all_tasks(served.server.servers[0].get_loop()))
        asyncio.run(done.run(seconds))
        until(served.is_idle)
        until(lambda: len(asyncio.all_tasks(served.server.servers[0].get_loop())) == tasks)
        until(lambda: not served.server.server_state.connections)
        now = busy.snapshot()
        assert now.preemptions and now.statistics.cached_tokens and 0 < now.statistics.accepted_tokens < now.statistics.drafted_tokens
        assert now.statistics.ended["cancelled"] >= done.saw["cancelled"] > 0
        print(dict(done.saw), dict(now.statistics.ended), f"{now.preemptions} preemptions, {now.statistics.generated_tokens} tokens")
    assert min(done.saw[kind] for kind in ("answered", "whole, disconnected", "stream, disconnected")) > 0, done.saw
    return done


def test_a_little_while(shared: Path) -> None:
    soak(shared, 10, seed=1, bodies=40)


@pytest.mark.slow
def test_a_long_while(shared: Path) -> None:
    done = soak(shared, 60 * float(os.environ.get("HERON_SOAK_MINUTES", "10")), seed=2, bodies=1500)
    assert done.saw["answered"] > 1000
    assert len(done.expected) > 500
    half, end = done.memory[len(done.memory) // 2], done.memory[-1]
    assert end < half + (32 << 20), [size >> 20 for size in done.memory]
