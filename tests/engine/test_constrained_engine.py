"""Constrained answers in an engine, with every kind of sampling beside them: each is what it would be alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import heron
from heron.engine.constrain import Constraint
from heron.engine.engine import Engine
from heron.engine.generation import Generation
from heron.engine.model import Model

pytest.importorskip("llguidance")

PROMPT = "Once upon a time there was a little girl"
THING = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 40},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 9}, "minItems": 3, "maxItems": 6},
    },
    "required": ["name", "tags"],
    "additionalProperties": False,
}
CONSTRAINTS = [
    Constraint.schema(THING),
    Constraint.gbnf('root ::= "(" root ")" | [a-z ]{20,60}'),
    None,
    Constraint.regex(r"[A-Z][a-z ]{30,90}\."),
]


@pytest.fixture(scope="module")
def stories(shared: Path) -> Model:
    return heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)


@pytest.fixture(scope="module")
def asked() -> list[dict[str, Any]]:
    how = {"temperature": 1.3, "max_tokens": 110, "dry_multiplier": 0.8, "xtc_probability": 0.3, "logit_bias": {300: -5}}
    return [how | {"seed": i, "constraint": CONSTRAINTS[i % 4], "top_logprobs": i % 3, "min_tokens": i % 2 * 10} for i in range(16)]


@pytest.fixture(scope="module")
def alone(stories: Model, asked: list[dict[str, Any]]) -> list[Generation]:
    return [stories.generate(PROMPT, **one) for one in asked]


@pytest.mark.parametrize("speculate", ["off", "ngram"])
@pytest.mark.parametrize("how", [{"kv_cache_size": 256, "max_seqs": 6, "step_tokens": 16}, {"max_seqs": 16}], ids=["preempted", "together"])
def test_each_is_what_it_would_be_alone(
    stories: Model, asked: list[dict[str, Any]], alone: list[Generation], how: dict[str, Any], speculate: str
) -> None:
    with Engine(stories, **how) as engine:
        requests = [engine.submit(PROMPT, speculate=speculate, **one) for one in asked]
        while engine.step():
            pass
        for request, expected in zip(requests, alone, strict=True):
            result = request.result()
            assert (result.text, result.tokens, result.finish_reason) == (expected.text, expected.tokens, expected.finish_reason)
            assert (result.logprobs, result.top_logprobs) == (expected.logprobs, expected.top_logprobs)
        assert engine.scheduler.preemptions or "kv_cache_size" not in how
    assert {answer.finish_reason for answer in alone} == {"stop", "length"}
