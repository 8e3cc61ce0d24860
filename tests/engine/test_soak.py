"""Everything at once, for a while: streams, vectors, guesses of all kinds, cuts, constraints and too little room. No answer may differ."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron import Constraint
from heron.backends import native
from heron.engine.engine import Engine
from heron.errors import HeronError

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not native.available(), reason="no compiled core")]

SECONDS, CLIENTS = 10, 14

Asked = tuple[list[int], dict[str, Any]]


def asked(rng: random.Random, count: int) -> list[Asked]:
    common, found = parity.prompt(60, 70), []
    for i in range(count):
        prompt = common[: rng.choice([0, 0, 40, 70])] + parity.prompt(60, rng.randrange(1, 50), i)
        if rng.random() < 0.3:
            prompt = (prompt[:9] * 12)[: rng.randrange(10, 100)]
        how: dict[str, Any] = {"seed": i, "max_tokens": rng.randrange(1, 70), "temperature": rng.choice([0, 0.3, 1])}
        how |= {"repeat_penalty": rng.choice([1, 1.1]), "ignore_eos": rng.random() < 0.7}
        if rng.random() < 0.2:
            how["constraint"] = rng.choice([Constraint.regex("[a-f ]{3,40}"), Constraint.regex("(abc ){3,9}"), Constraint.json()])
        found.append((prompt, how))
    return found


@pytest.mark.filterwarnings("error:the draft model failed")
@pytest.mark.parametrize("name", ["llama3", "gemma3", "mamba2", "qwen3next", "deepseek2", "gpt-oss"])
def test_answers_among_accidents(name: str, tmp_path: Path) -> None:
    rng, path = random.Random(name), write_tiny(make(name, tmp_path).folder)
    model, draft, alone = (heron.load(path, threads=threads, ctx_size=200) for threads in (2, 1, 1))
    requests = asked(rng, 40)
    vectors = alone.embed([prompt for prompt, _ in requests[:3]])
    expected: list[tuple[list[int], list[float], str] | type] = []
    for prompt, how in requests:
        try:
            one = alone.generate(prompt, **how)
            expected.append((one.tokens, one.logprobs, one.text))
        except HeronError as error:  # a constraint that its tokens did not suffice for
            expected.append(type(error))
    finished: list[int] = []
    differing: list[bool] = []

    async def once(engine: Engine, rng: random.Random) -> None:
        if rng.random() < 0.1:
            np.testing.assert_array_equal(await engine.aembed([prompt for prompt, _ in requests[:3]]), vectors)
            return
        at = rng.randrange(len(requests))
        (prompt, how), wanted, said = requests[at], expected[at], heron.Generation()
        cut = rng.randrange(1, 20) if rng.random() < 0.2 else -1
        guess = {"speculate": rng.choice(["off", "ngram", "draft"]), "draft_tokens": rng.randrange(1, 12)}
        pieces = engine.astream(prompt, priority=rng.randrange(3), **guess, **how)
        try:
            async for piece in pieces:
                said.add(piece)
                cut -= 1
                if cut == 0:
                    await pieces.aclose()  # type: ignore[attr-defined]
                    assert isinstance(wanted, type) or said.tokens == wanted[0][: len(said.tokens)]
                    return
        except HeronError as error:
            differing.append(type(error) is not wanted)
            return
        finished.append(at)
        assert (said.tokens, said.logprobs, said.text) == wanted

    async def client(engine: Engine, seed: int) -> None:
        rng, end = random.Random(seed), time.monotonic() + SECONDS
        while time.monotonic() < end:
            await once(engine, rng)

    async def all_of_them(engine: Engine) -> None:
        await asyncio.gather(*(client(engine, seed) for seed in range(CLIENTS)))

    with Engine(model, deterministic=True, draft_model=draft, max_seqs=7, kv_cache_size=320, step_tokens=30) as engine:
        asyncio.run(all_of_them(engine))
        for _ in range(500):
            if not engine.snapshot().running:
                break
            time.sleep(0.01)
        assert engine._draft is not None
        for cache in (engine.cache, engine._draft.cache):
            assert all(cache.in_use(name) == 0 for name in cache.groups)
        counts = engine.snapshot().statistics
    assert not any(differing)
    assert len(finished) > 30
    assert counts.accepted_tokens
    assert counts.ended["cancelled"]
