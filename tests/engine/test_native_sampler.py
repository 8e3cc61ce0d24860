"""The compiled sampler gives the tokens of its numpy definition: in thousands of cases, ties and extremes included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heron.engine.rules import Rules
from heron.engine.sampled import Sampled
from heron.engine.sampler import Mask, NativeSampler, NumpySampler
from heron.engine.sampling import SAMPLERS, SamplingParams
from heron.errors import RequestError

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

    order = list(SAMPLERS.values())
    if rng.random() < 0.3:
        order = [order[i] for i in rng.permutation(len(order))[: rng.integers(len(order) + 1)]]
    return SamplingParams(
        temperature=one(0.0, 1e-300, 0.2, 0.8, 1.0, 1.0, 2.5, 100.0),
        dynatemp_range=one(0.0, 0.0, 0.0, 0.5, 3.0),
        dynatemp_exponent=one(1.0, 0.0, 2.0),
        top_k=one(0, 0, 1, 2, 40, 1000, vocab, vocab + 1, 2**31 - 1),
        top_p=one(1.0, 1.0, 0.0, 1e-6, 0.3, 0.9, 0.95, 0.9999, float(rng.random())),
        min_p=one(0.0, 0.0, 0.05, 0.5, 1.0, float(rng.random())),
        typical_p=one(1.0, 1.0, 1.0, 0.0, 0.2, 0.95, float(rng.random())),
        top_n_sigma=one(-1.0, 0.0, 1.0, 2.0, float(rng.random() * 3)),
        xtc_probability=one(0.0, 0.0, 0.5, 1.0),
        xtc_threshold=one(0.1, 0.0, 0.01, 0.5, 0.6, float(rng.random() / 2)),
        repeat_penalty=one(1.0, 1.0, 1.3, 0.7),
        repeat_last_n=one(64, 0, -1, 1, 5),
        frequency_penalty=one(0.0, 0.0, 0.5, -0.4),
        presence_penalty=one(0.0, 0.0, 1.5),
        dry_multiplier=one(0.0, 0.0, 0.8, 5.0),
        dry_base=one(1.75, 1.0, 0.5, 100.0),
        dry_allowed_length=one(2, 0, 1, 5),
        dry_penalty_last_n=one(-1, -1, 0, 1, 20),
        mirostat=one(0, 0, 0, 0, 1, 2),
        mirostat_tau=one(5.0, 0.5, 12.0),
        mirostat_eta=one(0.1, 1.0, 0.0),
        samplers=tuple(order),
        min_tokens=one(0, 0, 2),
        top_logprobs=one(0, 0, 1, 5, 1000),
        seed=int(rng.integers(2**63)),
    )


def some(rng: np.random.Generator, vocab: int, most: int) -> tuple[int, ...]:
    return tuple(int(i) for i in rng.integers(0, vocab, rng.integers(0, most)))


def random_rules(rng: np.random.Generator, vocab: int) -> Rules:
    def sequences(count: int) -> tuple[tuple[int, ...], ...]:
        return tuple((*some(rng, vocab, 3), int(rng.integers(vocab))) for _ in range(rng.integers(0, count)))

    bias = {id: float(rng.choice([2.0, -3.0, 100.0, -np.inf])) for id in some(rng, vocab, 4)}
    often = rng.random(5) < 0.3
    return Rules(
        ends=some(rng, vocab, 3) if often[0] else (),
        barred=some(rng, vocab, 3) if often[1] else (),
        allowed=some(rng, vocab, vocab) if often[2] else (),
        bias=tuple(bias.items()) if often[3] else (),
        bad_words=sequences(5) if often[4] else (),
        breakers=sequences(3),
    )


def random_mask(rng: np.random.Generator, vocab: int) -> Mask | None:
    """None, or bits for the vocabulary, for some more tokens than there are, or for fewer."""
    if rng.random() < 0.7:
        return None
    size = -(-vocab // 32) + int(rng.integers(-1, 2))
    bits = rng.random(max(size, 0) * 32) < rng.choice([0.02, 0.5, 0.99])
    return np.packbits(bits, bitorder="little").view(np.uint32)


def outcome(sampler: Any, *given: Any) -> Sampled | str:
    try:
        return sampler.sample(*given)
    except RequestError as error:
        return str(error)


def compare(seed: int, vocab: int, steps: int = 3) -> None:
    rng = np.random.default_rng((seed, vocab))
    params, rules, sample = random_params(rng, vocab), random_rules(rng, vocab), int(rng.integers(3))
    samplers = NativeSampler(params, sample, rules), NumpySampler(params, sample, rules)
    history = rng.integers(0, min(vocab, int(rng.choice([2, 5, vocab]))), rng.integers(0, 90)).tolist()
    for sampler in samplers:
        sampler.accept(history)
    for step in range(steps):
        logits, position, mask = random_logits(rng, vocab), int(rng.integers(2**40)), random_mask(rng, vocab)
        native, expected = (outcome(sampler, logits, position, mask) for sampler in samplers)
        if isinstance(native, str) or isinstance(expected, str):
            assert native == expected
            continue
        assert native.token == expected.token, f"step {step} with {params} and {rules}"
        scale = max(1.0, abs(expected.logprob))
        assert abs(native.logprob - expected.logprob) <= 2e-6 * scale
        assert [id for id, _ in native.top] == [id for id, _ in expected.top]
        for (_, ours), (_, theirs) in zip(native.top, expected.top, strict=True):
            assert ours == theirs or abs(ours - theirs) <= 2e-6 * max(1.0, abs(theirs))


SIZES = [(1, 100), (2, 300), (3, 300), (32, 1000), (130, 500), (1000, 300), (3000, 300), (32000, 12), (151936, 4)]


@pytest.mark.parametrize(("vocab", "cases"), SIZES)
def test_native_tokens_are_those_of_the_definition(vocab: int, cases: int) -> None:
    for seed in range(cases):
        compare(seed, vocab)


@pytest.mark.slow
@pytest.mark.parametrize(("vocab", "cases"), [(2, 20000), (32, 20000), (1000, 5000), (5000, 5000), (32000, 500), (151936, 150)])
def test_native_tokens_are_those_of_the_definition_in_many_more(vocab: int, cases: int) -> None:
    for seed in range(10**6, 10**6 + cases):
        compare(seed, vocab)


def test_a_step_that_is_not_known_is_refused() -> None:
    from heron import _core

    with pytest.raises(ValueError, match="bottom_k"):
        _core.Sampler(SamplingParams(), Rules(), None, 0, 0, ["temperature", "bottom_k"])


def test_of_the_same_probability_the_first_are_kept() -> None:
    equal = np.zeros(5000, np.float32)
    for values in ({"top_k": 7}, {"top_p": 0.01}, {"typical_p": 0.01}):
        params = SamplingParams(**({"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 1} | values))
        sampler = NativeSampler(params)
        assert {sampler.sample(equal, i).token for i in range(500)} == set(range(7 if "top_k" in values else 50))
