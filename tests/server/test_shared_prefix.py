"""Sixteen clients whose prompts begin with the same 1,000 tokens: these are computed once, whether the clients come together or not.

Counted, not timed: what later ones wait for is at most a tenth of what the first had to compute (benchmarks/serve.py has the times).
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_serving import PATIENCE, Served, serving, until

import heron
from heron.engine.engine import Engine

CLIENTS, PREFIX, OWN, BLOCK = 16, 1000, 8, 16

#: Tokens of the prefix that whole blocks hold, and what is left to compute of a prompt beside them.
SHARED = PREFIX // BLOCK * BLOCK
REST = PREFIX + OWN - SHARED


class Counted:
    """A server, and how many tokens its model has computed."""

    def __init__(self, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        self.served, self.tokens, self.gate = served, 0, threading.Event()
        self.http = httpx.Client(base_url=served.url, timeout=PATIENCE)
        self.gate.set()
        submit = served.engine.model.executable.submit

        def counted(entry: str, batch: Any, *wanted: Any) -> Any:
            self.gate.wait(PATIENCE)
            self.tokens += len(batch.tokens)
            return submit(entry, batch, *wanted)

        monkeypatch.setattr(served.engine.model.executable, "submit", counted)

    def ask(self, prompt: list[int], **more: Any) -> dict[str, Any]:
        """The usage. One token is asked for, which is chosen after the prompt, so that prompts alone are computed."""
        response = self.http.post("/v1/completions", json={"prompt": prompt, "max_tokens": 1, "temperature": 0, **more})
        assert response.status_code == 200, response.text
        usage: dict[str, Any] = response.json()["usage"]
        return usage

    def together(self, prompts: list[list[int]]) -> list[dict[str, Any]]:
        """All of them are there before the first step begins."""
        self.gate.clear()
        with ThreadPoolExecutor(len(prompts)) as clients:
            usages = [clients.submit(self.ask, prompt) for prompt in prompts]
            until(lambda: self.served.state.active == len(prompts) == self.held())
            self.gate.set()
            return [usage.result() for usage in usages]

    def held(self) -> int:
        now = self.served.engine.snapshot()
        return len(now.waiting) + len(now.running)

    def metric(self, name: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return next(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(f"heron_{name} "))


@pytest.fixture
def counted(shared: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counted]:
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1, ctx_size=2048)
    with serving(Engine(model, max_seqs=CLIENTS)) as served:
        found = Counted(served, monkeypatch)
        with found.http:
            yield found


def prompts(seed: int = 0) -> list[list[int]]:
    rng = random.Random(seed)
    common = rng.choices(range(300, 500), k=PREFIX)
    return [[*common, 300 + client, *rng.choices(range(300, 500), k=OWN - 1)] for client in range(CLIENTS)]


def cached(usage: dict[str, Any]) -> int:
    assert usage["prompt_tokens"] % (PREFIX + OWN) == 0
    return int(usage["prompt_tokens_details"]["cached_tokens"])


def test_later_ones_compute_what_is_their_own(counted: Counted) -> None:
    first, *later = prompts()
    assert cached(counted.ask(first)) == 0 and counted.tokens == PREFIX + OWN
    for number, prompt in enumerate(later, 1):
        before = counted.tokens
        assert cached(counted.ask(prompt)) == SHARED
        assert counted.tokens - before == REST <= 0.1 * (PREFIX + OWN)
        assert counted.metric("prompt_tokens_total") - counted.metric("prefix_cache_hit_tokens_total") == counted.tokens
        assert counted.metric("prefix_cache_hit_tokens_total") == number * SHARED


def test_those_who_come_together_compute_it_once(counted: Counted) -> None:
    usages = counted.together(prompts())
    assert sorted(map(cached, usages)) == [0] + [SHARED] * (CLIENTS - 1)
    assert counted.tokens == PREFIX + OWN + (CLIENTS - 1) * REST
    assert counted.metric("prefix_cache_hit_tokens_total") == (CLIENTS - 1) * SHARED
    before = counted.tokens
    counted.together(prompts(seed=1) + prompts(seed=2))  # two prefixes, of more clients than have a place
    assert counted.tokens - before == 2 * (PREFIX + OWN + (CLIENTS - 1) * REST)


def test_answers_to_one_prompt_compute_it_once(counted: Counted) -> None:
    usage = counted.ask(prompts()[0], n=CLIENTS, temperature=1, seed=1)
    assert usage["prompt_tokens"] == PREFIX + OWN and usage["completion_tokens"] == CLIENTS
    assert counted.tokens == PREFIX + OWN + (CLIENTS - 1) * REST


def test_whoever_computes_it_goes_away(counted: Counted) -> None:
    """Another one goes on where it was left."""
    first, *others = prompts()
    counted.gate.clear()
    with ThreadPoolExecutor(len(others)) as clients:
        with pytest.raises(httpx.ReadTimeout):
            counted.http.post("/v1/completions", json={"prompt": first, "max_tokens": 1}, timeout=0.3)
        until(lambda: counted.served.state.active == 0)
        usages = [clients.submit(counted.ask, prompt) for prompt in others]
        until(lambda: counted.held() == len(others) + 1)
        counted.gate.set()
        found = [usage.result() for usage in usages]
    step = counted.served.engine.scheduler.step_tokens  # what the one who went away had computed
    assert sorted(map(cached, found)) == [step] + [SHARED] * (len(others) - 1)
    assert counted.tokens == PREFIX + OWN + (len(others) - 1) * REST
