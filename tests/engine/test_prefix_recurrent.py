"""The prefix cache of models with recurrent states: what prompts have in common is computed once, and answers stay the same."""

from __future__ import annotations

from typing import Any

import parity
import pytest
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.backends import native
from heron.engine import prefix
from heron.engine.engine import Engine
from heron.engine.model import Model

#: Recurrent states alone, of both kinds; and beside a cache of keys and values.
KINDS = ["mamba2", "falcon-mamba", "qwen3next"]

HOW: dict[str, Any] = {"temperature": 0, "max_tokens": 6, "ignore_eos": True}
SYSTEM = parity.prompt(60, 100)


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    made: parity.Tiny = make(request.param, tmp_path_factory.mktemp(request.param))
    return heron.load(write_tiny(made.folder), backend="native" if native.available() else "reference", threads=1, ctx_size=400)


def drive(engine: Engine) -> None:
    for _ in range(3000):
        if not engine.step():
            assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)
            return
    raise AssertionError("the engine does not come to an end")


def said(request: Any) -> list[int]:
    return [piece.token for piece in request]


def asks(count: int, start: int = 0) -> list[list[int]]:
    """Prompts that begin with SYSTEM and part at its end."""
    return [[*SYSTEM, (start + i) % 60, *parity.prompt(60, 20 + i, start + i)] for i in range(count)]


@pytest.mark.parametrize("step_tokens", [16, 70, 256])
def test_those_who_come_together_compute_it_once(model: Model, step_tokens: int) -> None:
    prompts = asks(6)
    expected = [model.generate(prompt, **HOW).tokens for prompt in prompts]
    with Engine(model, step_tokens=step_tokens) as engine:
        requests = [engine.submit(prompt, **HOW) for prompt in prompts]
        drive(engine)
        assert [said(request) for request in requests] == expected
        assert [request.timings.cached_tokens for request in requests] == [0] + [96] * 5


def test_those_who_come_later_go_on_from_where_two_parted(model: Model) -> None:
    prompts = asks(4)
    expected = [model.generate(prompt, **HOW).tokens for prompt in prompts]
    with Engine(model) as engine:
        cached = []
        for prompt, tokens in zip([*prompts, prompts[0]], [*expected, expected[0]], strict=True):
            request = engine.submit(prompt, **HOW)
            drive(engine)
            assert said(request) == tokens
            cached.append(request.timings.cached_tokens)
        assert cached == [0, 0, 96, 96, 112]  # the last one asks what the first one did


def test_at_intervals_of_long_prompts(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefix, "PROMPT_INTERVAL", 64)
    long = parity.prompt(60, 300)
    other = [*long[:200], 5, 6, 7]
    expected = model.generate(other, **HOW).tokens
    with Engine(model) as engine:
        engine.submit(long, **HOW)
        drive(engine)
        request = engine.submit(other, **HOW)
        drive(engine)
        assert request.timings.cached_tokens == 192
        assert said(request) == expected


def test_a_conversation_goes_on_from_the_last_answer(model: Model) -> None:
    how = HOW | {"max_tokens": 60}
    turn, cached = parity.prompt(60, 20), []
    with Engine(model) as engine:
        for length in (20, 100, 180, 260):
            assert len(turn) == length
            request = engine.submit(turn, **how)
            drive(engine)
            cached.append(request.timings.cached_tokens)
            turn = [*turn, *said(request), *parity.prompt(60, 20, length)]
        assert cached == [0, 64, 128, 192]
        assert len(engine.cache._named["recurrent"]) == 7  # where each prompt ends, and in each answer that goes on for long enough


def test_what_is_kept_has_a_bound_and_the_oldest_goes(model: Model) -> None:
    with Engine(model, max_seqs=2) as engine:
        room = len(engine.cache._owners["recurrent"]) - 1
        prompts = [parity.prompt(60, 40, seed) for seed in range(room + 5)]
        for prompt in prompts:
            engine.submit(prompt, **HOW)
            drive(engine)
        assert len(engine.cache._named["recurrent"]) <= room
        newest, oldest = (engine.submit(prompt, **HOW) for prompt in (prompts[-1], prompts[0]))
        drive(engine)
        assert newest.timings.cached_tokens == 32
        assert oldest.timings.cached_tokens == 0


def test_a_preempted_request_goes_on_from_its_prompts_end(model: Model) -> None:
    prompts = asks(3)
    expected = [model.generate(prompt, **HOW | {"max_tokens": 30}).tokens for prompt in prompts]
    with Engine(model) as engine:
        requests = [engine.submit(prompt, **HOW | {"max_tokens": 30}) for prompt in prompts]
        for _ in range(9):
            engine.step()
        for request in list(engine.scheduler.running):
            engine.scheduler._preempt(request)
            assert not request.sequence.tokens
        drive(engine)
        assert [said(request) for request in requests] == expected
        assert engine.scheduler.preemptions == 3


def test_without_a_prefix_cache_nothing_is_kept(model: Model) -> None:
    with Engine(model, prefix_cache=False) as engine:
        for prompt in asks(3):
            request = engine.submit(prompt, **HOW)
            drive(engine)
            assert request.timings.cached_tokens == 0
        assert not engine.cache._named["recurrent"]
