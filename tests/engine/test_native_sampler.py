"""The compiled sampler gives the tokens of its numpy definition: in thousands of cases, ties and extremes included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heron.engine.sampler import NativeSampler, NumpySampler
from heron.engine.sampling import SamplingParams

pytest.importorskip("heron._core")

Row = NDArray[np.float32]


def random_logits(rng: np.random.Generator, vocab: int) -> Row:
    """Of one of several kinds: smooth, with many ties, all equal, mostly impossible, sharp, huge."""
    x = rng.standard_normal(vocab) * rng.choice([0.1, 1.0, 3.0, 10.0])
    kind = rng.integers(7)
    if kind == 1:
        x = np.round(x * 2) / 2
    elif kind == 2:
        x[:] = x[0]
    elif kind == 3:
        x[rng.random(vocab) < 0.9] = -np.inf
        x[rng.integers(vocab)] = 1.0
    elif kind == 4:
        x[rng.integers(vocab)] += 20
    elif kind == 5:
        x *= 1e30
    return x.astype(np.float32)


def random_params(rng: np.random.Generator, vocab: int) -> SamplingParams:
    def one(*values: Any) -> Any:
        return values[rng.integers(len(values))]

    return SamplingParams(
        temperature=one(0.0, 1e-300, 0.2, 0.8, 1.0, 1.0, 2.5, 100.0),
        top_k=one(0, 0, 1, 2, 40, 1000, vocab, vocab + 1, 2**31 - 1),
        top_p=one(1.0, 1.0, 0.0, 1e-6, 0.3, 0.9, 0.95, 0.9999, float(rng.random())),
        min_p=one(0.0, 0.0, 0.05, 0.5, 1.0, float(rng.random())),
        typical_p=one(1.0, 1.0, 1.0, 0.0, 0.2, 0.95, float(rng.random())),
        repeat_penalty=one(1.0, 1.0, 1.3, 0.7),
        repeat_last_n=one(64, 0, -1, 1, 5),
        frequency_penalty=one(0.0, 0.0, 0.5, -0.4),
        presence_penalty=one(0.0, 0.0, 1.5),
        mirostat=one(0, 0, 0, 1, 2),
        mirostat_tau=one(5.0, 0.5, 12.0),
        mirostat_eta=one(0.1, 1.0, 0.0),
        seed=int(rng.integers(2**63)),
    )


def compare(seed: int, vocab: int, steps: int = 3) -> None:
    rng = np.random.default_rng((seed, vocab))
    params, sample = random_params(rng, vocab), int(rng.integers(3))
    samplers = NativeSampler(params, sample), NumpySampler(params, sample)
    history = rng.integers(0, vocab, rng.integers(0, 90)).tolist()
    for sampler in samplers:
        sampler.accept(history)
    for step in range(steps):
        logits, position = random_logits(rng, vocab), int(rng.integers(2**40))
        native, expected = (sampler.sample(logits, position) for sampler in samplers)
        assert native.token == expected.token, f"step {step} with {params}"
        scale = max(1.0, abs(expected.logprob))
        assert abs(native.logprob - expected.logprob) <= 2e-6 * scale


@pytest.mark.parametrize(("vocab", "cases"), [(1, 100), (2, 300), (3, 300), (32, 1000), (130, 500), (1000, 300), (32000, 12), (151936, 4)])
def test_native_tokens_are_those_of_the_definition(vocab: int, cases: int) -> None:
    for seed in range(cases):
        compare(seed, vocab)


@pytest.mark.slow
@pytest.mark.parametrize(("vocab", "cases"), [(2, 20000), (32, 20000), (1000, 5000), (32000, 500), (151936, 150)])
def test_native_tokens_are_those_of_the_definition_in_many_more(vocab: int, cases: int) -> None:
    for seed in range(10**6, 10**6 + cases):
        compare(seed, vocab)


def test_a_step_that_is_not_known_is_refused() -> None:
    from heron import _core

    with pytest.raises(ValueError, match="bottom_k"):
        _core.Sampler(SamplingParams(), 0, 0, ["temperature", "bottom_k"])


def test_of_the_same_probability_the_first_are_kept() -> None:
    equal = np.zeros(5000, np.float32)
    for values in ({"top_k": 7}, {"top_p": 0.01}, {"typical_p": 0.01}):
        params = SamplingParams(**({"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 1} | values))
        sampler = NativeSampler(params)
        assert {sampler.sample(equal, i).token for i in range(500)} == set(range(7 if "top_k" in values else 50))
