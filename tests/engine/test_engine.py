"""The engine against one request at a time: the same tokens, however requests are batched, chunked, preempted or cached."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import parity
import pytest
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.backends import native
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.engine.request import Request
from heron.engine.sampled import Sampled
from heron.errors import BackendError, RequestError

BACKENDS = ["reference", pytest.param("native", marks=pytest.mark.skipif(not native.available(), reason="no compiled core"))]

#: What the cache holds: full attention; windows and full attention; recurrent states; latents; an encoder's output.
KINDS = ["llama3", "gemma3", "qwen3next", "mamba2", "deepseek2", "t5"]


@pytest.fixture(scope="module", params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: parity.Tiny = make(request.param, tmp_path_factory.mktemp(request.param))
    return write_tiny(made.folder)


@pytest.fixture(scope="module", params=["core", "torch"])
def model(path: Path, request: pytest.FixtureRequest) -> Iterator[Model]:
    """On torch as on a GPU, with steps that overlap and choose tokens there, and with exact keys and values: its sums depend, in their
    last bits, on what is computed beside them."""
    if request.param == "core":
        yield heron.load(path, backend="native" if native.available() else "reference", threads=1, ctx_size=128)
        return
    from heron.backends.torch.executable import TorchExecutable

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchExecutable, "samples", True)
        yield heron.load(path, backend="torch", device="cpu", threads=1, ctx_size=128, kv_dtype="f32")


Asked = tuple[list[int], dict[str, Any]]


def asked(model: Model, count: int, longest: int = 70) -> list[Asked]:
    """Prompts of many lengths, some with a beginning in common; seeds, penalties and lengths differ."""
    rng = random.Random(1)
    common = parity.prompt(60, 40)
    found = []
    for i in range(count):
        tokens = parity.prompt(60, rng.randrange(1, longest), i)
        how = {"seed": i, "max_tokens": rng.randrange(1, 40), "temperature": rng.choice([0, 0.9]), "repeat_penalty": rng.choice([1, 1.2])}
        found.append(((common + tokens)[:longest] if i % 3 == 0 else tokens, how | {"ignore_eos": True}))
    return found


def alone(model: Model, requests: list[Asked]) -> list[list[int]]:
    return [model.generate(prompt, **how).tokens for prompt, how in requests]


def drive(engine: Engine, limit: int = 3000) -> None:
    for _ in range(limit):
        if not engine.step():
            return
    raise AssertionError("the engine does not come to an end")


def assert_nothing_held(engine: Engine) -> None:
    assert not engine.scheduler.running
    assert not engine.scheduler.waiting
    assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)


@pytest.mark.parametrize("how", [{}, {"max_seqs": 3, "step_tokens": 7}, {"prefix_cache": False, "step_tokens": 1000}], ids=str)
def test_each_answer_is_what_it_would_be_alone(model: Model, how: dict[str, Any]) -> None:
    requests = asked(model, 10)
    expected = alone(model, requests)
    with Engine(model, **how) as engine:
        handles = [engine.submit(prompt, **params) for prompt, params in requests]
        drive(engine)
        assert [handle.result().tokens for handle in handles] == expected
        assert_nothing_held(engine)


def test_when_blocks_run_out_the_last_wait_and_answers_stay_the_same(model: Model) -> None:
    requests = asked(model, 8, longest=40)
    expected = alone(model, requests)
    with Engine(model, kv_cache_size=96, max_seqs=6, step_tokens=16) as engine:
        handles = [engine.submit(prompt, **params) for prompt, params in requests]
        drive(engine)
        assert [handle.result().tokens for handle in handles] == expected
        grows = any(g.kind == "token" and not g.window for g in engine.cache.groups.values()) and model.graph_model.decoder_start is None
        assert engine.scheduler.preemptions or not grows
        assert_nothing_held(engine)


def test_a_prefix_is_computed_once(model: Model) -> None:
    prompt, how = parity.prompt(60, 70), {"temperature": 0, "max_tokens": 5, "ignore_eos": True}
    with Engine(model) as engine:
        first, second = (engine.submit(prompt, **how) for _ in range(2))  # together: the second waits for the first
        drive(engine)
        said = first.tokens[first.prompt_length :]
        later = engine.submit([*prompt, *said], **how)
        drive(engine)
        assert second.result().tokens == said
        reusable = first.sequence.reusable
        assert [r.timings.cached_tokens for r in (first, second, later)] == ([0, 64, 64] if reusable else [0, 0, 0])
        assert_nothing_held(engine)
    assert model.generate([*prompt, *said], **how).tokens == later.tokens[later.prompt_length :]


@pytest.fixture(scope="module")
def stories(shared: Path) -> Model:
    return heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)


def test_a_thousand_steps_of_accidents(stories: Model) -> None:
    """Random arrivals and cancellations in a tiny cache: what finishes is right, and nothing is kept."""
    rng = random.Random(3)
    with Engine(stories, kv_cache_size=256, max_seqs=5, step_tokens=32) as engine:
        handles: list[tuple[Request, Asked]] = []
        for _ in range(400):
            if rng.random() < 0.2:
                prompt = rng.choice(["Once upon a time", "One day, Tim and his mom went to the park. " * 4, "The"])
                how = {"seed": rng.randrange(5), "max_tokens": rng.randrange(1, 60), "priority": rng.randrange(2)}
                handles.append((engine.submit(prompt, **how), (stories.encode(prompt), {k: v for k, v in how.items() if k != "priority"})))
            if handles and rng.random() < 0.05:
                engine.cancel(rng.choice(handles)[0])
            engine.step()
        drive(engine)
        assert_nothing_held(engine)
        assert {handle.finish_reason for handle, _ in handles} == {"length", "cancelled"}
    for handle, (prompt, how) in handles:
        expected = stories.generate(prompt, **how)
        if handle.finish_reason == "cancelled":
            assert handle.tokens[handle.prompt_length :] == expected.tokens[: len(handle.tokens) - handle.prompt_length]
        else:
            assert (handle.result().text, handle.finish_reason) == (expected.text, expected.finish_reason)


def test_lower_numbers_are_served_first(stories: Model) -> None:
    with Engine(stories, max_seqs=1) as engine:
        late, early = (engine.submit("Once", max_tokens=3, priority=p) for p in (5, 1))
        while not early.finish_reason:
            engine.step()
        assert not late.finish_reason
        drive(engine)
        assert late.finish_reason == "length"


def test_streams_of_both_kinds(stories: Model) -> None:
    expected = stories.generate("Once upon a time", temperature=0, max_tokens=20).text

    async def read(engine: Engine) -> str:
        return "".join([piece.text async for piece in engine.astream("Once upon a time", temperature=0, max_tokens=20)])

    async def all_of_them(engine: Engine) -> list[str]:
        return await asyncio.gather(*(read(engine) for _ in range(20)))

    with Engine(stories) as engine:
        assert asyncio.run(all_of_them(engine)) == [expected] * 20
        assert "".join(piece.text for piece in engine.stream("Once upon a time", temperature=0, max_tokens=20)) == expected
        stream = engine.stream("Once", max_tokens=400, ignore_eos=True)
        next(stream)
        stream.close()
        assert [g.text for g in engine.generate(["Once upon a time"] * 3, temperature=0, max_tokens=20)] == [expected] * 3
        engine.generate(["Once"], max_tokens=1)
        while engine.scheduler.running or engine.scheduler.waiting:
            pass
        assert_nothing_held(engine)


def test_a_request_that_fails_fails_alone(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stories.generate("Once upon a time", temperature=0, max_tokens=20).tokens
    with Engine(stories) as engine:
        good, bad = (engine.submit("Once upon a time", temperature=0, max_tokens=20) for _ in range(2))
        engine.step()

        def fail(sampled: Sampled) -> None:
            raise BackendError("no")

        monkeypatch.setattr(bad.answer, "take", fail)
        drive(engine)
        assert good.result().tokens == expected
        with pytest.raises(BackendError, match="no"):
            bad.result()
        assert_nothing_held(engine)


def test_a_step_that_fails_ends_its_requests_and_the_engine_goes_on(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(stories) as engine:
        first = engine.submit("Once", max_tokens=5)
        with monkeypatch.context() as patch:
            patch.setattr(stories.executable, "submit", lambda *_: 1 / 0)
            engine.step()
        with pytest.raises(BackendError, match="division by zero"):
            first.result()
        second = engine.submit("Once", max_tokens=5, ignore_eos=True)
        drive(engine)
        assert len(second.result().tokens) == 5
        assert_nothing_held(engine)


def test_what_is_refused(stories: Model) -> None:
    with Engine(stories, kv_cache_size=64) as engine:
        with pytest.raises(RequestError, match="the prompt has 64 tokens, the context holds 64"):
            engine.submit([5] * 64)
        with pytest.raises(RequestError, match="cache is an Engine's"):
            stories.generate("Once")
        assert engine.submit("Once", max_tokens=0, deliver=lambda item: None).finish_reason == ""
        waiting = engine.submit("Once")
    with pytest.raises(RequestError, match="closed"):
        engine.submit("Once")
    with pytest.raises(RequestError, match="the engine was closed"):
        waiting.result()
    with pytest.raises(RequestError, match="max_seqs is 0"):
        Engine(stories, max_seqs=0)
    assert stories.generate("Once upon a time", max_tokens=3).tokens
