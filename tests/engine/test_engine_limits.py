"""What an engine refuses, what it gives up, and what it says of itself, on a model of random weights."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import EngineClosed, QueueFull, RequestError, RequestTimeout

PROMPT = list(range(3, 43))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    loaded = heron.load(write_tiny(make("llama3", tmp_path_factory.mktemp("limits")).folder), threads=1, ctx_size=128)
    yield loaded
    loaded.close()


def test_so_many_wait_and_the_next_is_refused(model: Model) -> None:
    with Engine(model, max_seqs=2, max_queue=3) as engine:
        held = [engine.submit(PROMPT, max_tokens=4, ignore_eos=True) for _ in range(5)]
        with pytest.raises(QueueFull, match="3 requests wait already"):
            engine.submit(PROMPT)
        with pytest.raises(QueueFull):
            engine.embed([PROMPT])
        while not held[0].finish_reason:
            engine.step()
        held.append(engine.submit(PROMPT, max_tokens=4, ignore_eos=True))
        engine.start()
        assert [request.result().finish_reason for request in held] == ["length"] * 6
        assert engine.snapshot().statistics.ended["length"] == 6


def test_how_long_to_wait_is_estimated_by_what_was_seen(model: Model) -> None:
    with Engine(model, max_seqs=1, max_queue=1) as engine:
        engine.generate([PROMPT], max_tokens=20, ignore_eos=True)
        took = engine.snapshot().statistics.pace
        assert took > 0
        first = [engine.submit(PROMPT, max_tokens=80, ignore_eos=True) for _ in range(2)]
        with pytest.raises(QueueFull) as refused:
            engine.submit(PROMPT)
        assert refused.value.retry_after == pytest.approx(2 * took)
        engine.cancel(*first)


def test_a_request_has_its_time(model: Model) -> None:
    with Engine(model, max_seqs=1, request_timeout=0.05) as engine:
        running, waiting = (engine.submit(PROMPT, max_tokens=80, ignore_eos=True) for _ in range(2))
        engine.step()
        threading.Event().wait(0.06)
        engine.step()
        for request in (running, waiting):
            with pytest.raises(RequestTimeout, match=r"not answered in 0\.05 s"):
                request.result()
        assert engine.snapshot().units == {name: (0, engine.cache.total(name)) for name in engine.cache.groups}
        quick = engine.submit(PROMPT, max_tokens=1)
        while engine.step():
            pass
        assert len(quick.result().tokens) <= 1


def test_the_requests_of_a_closed_engine_say_so(model: Model) -> None:
    engine = Engine(model)
    left = engine.submit(PROMPT)
    engine.close()
    with pytest.raises(EngineClosed):
        left.result()
    with pytest.raises(EngineClosed):
        engine.submit(PROMPT)


def test_a_snapshot_shows_each_request_and_the_cache(model: Model) -> None:
    with Engine(model, max_seqs=2, step_tokens=16) as engine:
        requests = [engine.submit([*PROMPT, 50 + i], max_tokens=9, ignore_eos=True) for i in range(3)]
        before = engine.snapshot()
        assert [(doing.number, doing.state) for doing in before.waiting] == [(request.number, "waiting") for request in requests]
        assert before.cache_usage == 0
        engine.step()
        reading = engine.snapshot()
        assert [(d.state, d.prompt_tokens, d.computed_tokens, d.generated_tokens) for d in reading.running] == [("prompt", 41, 16, 0)]
        assert len(reading.waiting) == 2
        assert 0 < reading.cache_usage < 1
        while not requests[1].tokens[41:]:
            engine.step()
        shown = engine.snapshot().running
        assert [d.state for d in shown] == ["answer", "answer"]
        assert shown[1].cached_tokens == 32
        assert shown[0].generated_tokens == len(requests[0].tokens) - 41
        while engine.step():
            pass
        after = engine.snapshot()
        assert (after.waiting, after.running, after.cache_usage) == ((), (), 0)
        total = after.statistics
        assert (total.prompt_tokens, total.cached_tokens, total.generated_tokens) == (3 * 41, 2 * 32, 3 * 9)
        assert (sum(total.first_token.counts), sum(total.between_tokens.counts)) == (3, 3 * 8)
        assert total.ended["length"] == 3


def test_snapshots_while_the_engine_runs(model: Model) -> None:
    """From another thread, while requests come, run and end."""
    with Engine(model, max_seqs=3) as engine:
        requests = [engine.submit(PROMPT[: 5 + i], max_tokens=30, ignore_eos=True) for i in range(12)]
        engine.start()
        seen = 0
        while not all(request.finish_reason for request in requests):
            snapshot = engine.snapshot()
            assert len(snapshot.running) <= 3
            assert len(snapshot.waiting) <= 12
            assert snapshot.statistics.generated_tokens >= seen
            seen = snapshot.statistics.generated_tokens
        assert engine.snapshot().statistics.generated_tokens == 12 * 30


def test_a_model_has_one_engine_at_a_time(model: Model) -> None:
    with Engine(model), pytest.raises(RequestError, match="another Engine's"):
        Engine(model)
    with Engine(model) as again:
        assert len(again.generate([PROMPT], max_tokens=1)) == 1
