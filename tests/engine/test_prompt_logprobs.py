"""Log-probabilities of a prompt's tokens against the model's logits, however the prompt is divided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import heron
from heron.engine.engine import Engine
from heron.engine.logprobs import Scored, likeliest
from heron.engine.model import Model
from heron.errors import RequestError

PROMPT = "Once upon a time, there was a little girl named Lily. She liked to play"


@pytest.fixture(scope="module")
def model(shared: Path) -> Model:
    return heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1, ctx_size=256)


@pytest.fixture(scope="module")
def expected(model: Model) -> list[Scored]:
    """From float64 log-softmax of the logits after each token."""
    ids = model.encode(PROMPT)
    raw = model.logits(ids).astype(np.float64)
    found = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
    order = np.argsort(-found, axis=1, kind="stable")[:, :3]
    rows = zip(ids[1:], found, order, strict=False)
    return [Scored(token, row[token], tuple((int(i), row[i]) for i in best)) for token, row, best in rows]


def assert_same(found: list[Scored], expected: list[Scored]) -> None:
    assert [s.token for s in found] == [s.token for s in expected]
    assert [[id for id, _ in s.top] for s in found] == [[id for id, _ in s.top] for s in expected]
    assert np.allclose([s.logprob for s in found], [s.logprob for s in expected], atol=1e-5)
    assert np.allclose([[p for _, p in s.top] for s in found], [[p for _, p in s.top] for s in expected], atol=1e-5)


@pytest.mark.parametrize("step_tokens", [1, 7, 256])
def test_every_token_of_the_prompt_but_the_first_is_scored(model: Model, expected: list[Scored], step_tokens: int) -> None:
    with Engine(model, max_seqs=2, step_tokens=step_tokens) as engine:
        engine.generate([PROMPT], max_tokens=1)  # what is cached now has no logits
        requests = [engine.submit(PROMPT, prompt_logprobs=top, max_tokens=4, temperature=0) for top in (3, None)]
        engine.start()
        answers = [request.result() for request in requests]
    assert requests[0].scores is not None
    assert_same(requests[0].scores.found, expected)
    assert answers[0].tokens == answers[1].tokens
    assert requests[0].timings.cached_tokens == 0


def test_a_prompt_is_scored_once_where_it_is_read_twice(model: Model, expected: list[Scored]) -> None:
    with Engine(model, max_seqs=4, step_tokens=16, kv_cache_size=96) as engine:
        requests = [engine.submit(PROMPT, prompt_logprobs=3, max_tokens=40, temperature=0, ignore_eos=True) for _ in range(4)]
        engine.start()
        answers = [request.result() for request in requests]
        assert engine.scheduler.preemptions
    for request, answer in zip(requests, answers, strict=True):
        assert request.scores is not None
        assert_same(request.scores.found, expected)
        assert answer.tokens == answers[0].tokens


def test_a_prompt_can_be_scored_alone(model: Model, expected: list[Scored]) -> None:
    with Engine(model) as engine:
        request = engine.submit(PROMPT, prompt_logprobs=0, max_tokens=0)
        engine.start()
        answer = request.result()
    assert (answer.tokens, answer.finish_reason) == ([], "length")
    assert request.scores is not None
    assert np.allclose([s.logprob for s in request.scores.found], [s.logprob for s in expected], atol=1e-5)
    assert not any(s.top for s in request.scores.found)


def test_a_wrong_number_is_refused(model: Model) -> None:
    with Engine(model) as engine, pytest.raises(RequestError, match="prompt_logprobs is -1"):
        engine.submit(PROMPT, prompt_logprobs=-1)


def test_the_lower_id_comes_first_among_equals() -> None:
    assert [id for id, _ in likeliest(np.array([-1.0, -2, -1, -1, -3]), 2)] == [0, 2]
    assert likeliest(np.array([-1.0]), 5) == ((0, -1.0),)
