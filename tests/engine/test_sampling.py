"""Sampling against published vectors and the definitions in the papers, and parameters that are refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from heron.engine.candidates import Candidates, min_p, top_k, top_p, typ_p
from heron.engine.random import philox4x32, uniform
from heron.engine.repetition import penalties
from heron.engine.sampler import NumpySampler, make_sampler
from heron.engine.sampling import SamplingParams
from heron.errors import BackendError, RequestError

ONES = 0xFFFFFFFF

#: The definition, and what runs here.
both = pytest.mark.parametrize("make", [NumpySampler, make_sampler])


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((ONES,) * 4, (ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_random123s_known_answers(counter: Any, key: Any, words: Any) -> None:
    assert philox4x32(counter, key) == words


def test_uniform_numbers_are_uniform_and_depend_on_every_part_of_the_key() -> None:
    numbers = np.array([uniform(3, 0, i) for i in range(4000)])
    assert numbers.min() >= 0 and numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.02 and abs(numbers.var() - 1 / 12) < 0.005
    assert len({uniform(1, 0, 0), uniform(2, 0, 0), uniform(1, 1, 0), uniform(1, 0, 1), uniform(1 + 2**32, 0, 0), uniform(1, 0, 0, 1)}) == 6


def kept(step: Any, probabilities: list[float], **values: Any) -> list[int]:
    c = Candidates(np.arange(len(probabilities)), np.log(np.array(probabilities)))
    step(c, SamplingParams(**values))
    return [int(i) for i in c.ids]


def test_each_step_keeps_what_its_paper_says() -> None:
    assert kept(top_k, [0.1, 0.4, 0.2, 0.3], top_k=2) == [1, 3]
    assert kept(top_k, [0.25, 0.25, 0.25, 0.25], top_k=2) == [0, 1]
    assert kept(top_k, [0.5, 0.5], top_k=0) == [0, 1]
    assert kept(top_p, [0.1, 0.4, 0.2, 0.3], top_p=0.65) == [1, 3]
    assert kept(top_p, [0.1, 0.4, 0.2, 0.3], top_p=0.71) == [1, 2, 3]
    assert kept(top_p, [0.1, 0.4, 0.2, 0.3], top_p=0.0) == [1]
    assert kept(min_p, [0.1, 0.4, 0.2, 0.3], min_p=0.6) == [1, 3]
    # Entropy of (0.7, 0.1 x 3) is 0.94 nats; 0.7 has a surprise of 0.36, 0.1 of 2.3: 0.7 is nearer.
    assert kept(typ_p, [0.1, 0.7, 0.1, 0.1], typical_p=0.5) == [1]
    # Entropy of (0.4, 0.3, 0.3) is 1.09; 0.3 (surprise 1.2) is more typical than 0.4 (0.92).
    assert kept(typ_p, [0.4, 0.3, 0.3], typical_p=0.25) == [1]


def test_penalties() -> None:
    c = Candidates(np.arange(3), np.array([2.0, -2.0, 1.0]))
    penalties(c, SamplingParams(repeat_penalty=2.0, frequency_penalty=0.5, presence_penalty=0.25, repeat_last_n=3), [2, 0, 0, 1])
    assert c.logits.tolist() == [2.0 / 2 - 2 * 0.5 - 0.25, -2.0 * 2 - 0.5 - 0.25, 1.0]


def logits(seed: int, vocab: int = 50) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(vocab).astype(np.float32) * 3


@both
def test_greedy_takes_the_likeliest_and_the_lowest_among_equals(make: Any) -> None:
    x = logits(0)
    picked = make(SamplingParams(temperature=0)).sample(x, 0)
    assert picked.token == int(x.argmax())
    assert math.isclose(picked.logprob, float(x.max() - np.logaddexp.reduce(x.astype(np.float64))), rel_tol=1e-6)
    assert make(SamplingParams(temperature=0)).sample(np.array([1, 5, 5, 0], np.float32), 0).token == 1


@both
def test_picks_follow_the_distribution(make: Any) -> None:
    x = np.log(np.array([0.5, 0.2, 0.3], np.float32))
    sampler = make(SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0, seed=5))
    counts = np.bincount([sampler.sample(x, i).token for i in range(3000)], minlength=3) / 3000
    assert np.abs(counts - [0.5, 0.2, 0.3]).max() < 0.03


@both
def test_a_seed_and_a_position_give_one_token_whatever_came_before(make: Any) -> None:
    params = SamplingParams(temperature=2, top_k=0, top_p=1, min_p=0, seed=9)
    alone = [make(params).sample(logits(i), i).token for i in range(40)]
    together = make(params)
    assert [together.sample(logits(i), i).token for i in range(40)] == alone


@both
@pytest.mark.parametrize("version", [1, 2])
def test_mirostat_holds_the_surprise_near_its_target(make: Any, version: int) -> None:
    """Over a long text of Zipf's distribution, whose unrestricted surprise (8.3 bits) lies far above the target."""
    ranks = np.arange(1, 2001)
    x = -1.05 * np.log(ranks).astype(np.float32)
    sampler = make(SamplingParams(temperature=1, mirostat=version, mirostat_tau=4.0, mirostat_eta=0.1, seed=1))
    surprise = []
    for i in range(1200):
        surprise.append(-sampler.sample(x, i).logprob / math.log(2))
    free = make(SamplingParams(temperature=1, top_k=0, top_p=1, min_p=0, seed=1))
    unrestricted = np.mean([-free.sample(x, i).logprob for i in range(1200)]) / math.log(2)
    assert unrestricted > 7
    assert np.mean(surprise[200:]) < unrestricted - 1.5


@both
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_logits_without_a_likeliest_are_refused(make: Any, bad: float) -> None:
    with pytest.raises(BackendError, match="finite"):
        make(SamplingParams()).sample(np.array([0, bad, 1], np.float32), 0)
    with pytest.raises(BackendError, match="finite"):
        make(SamplingParams()).sample(np.full(3, -np.inf, np.float32), 0)


@both
def test_impossible_tokens_are_never_picked(make: Any) -> None:
    x = np.array([-np.inf, 0, -np.inf, 0], np.float32)
    sampler = make(SamplingParams(temperature=5, seed=0, typical_p=0.9))
    assert {sampler.sample(x, i).token for i in range(50)} <= {1, 3}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -1.0),
        ("temperature", math.nan),
        ("temperature", "warm"),
        ("top_k", -5),
        ("top_k", 1.5),
        ("top_p", 1.1),
        ("min_p", math.inf),
        ("typical_p", -0.1),
        ("repeat_penalty", 0.0),
        ("repeat_last_n", -2),
        ("mirostat", 3),
        ("mirostat", True),
        ("seed", -1),
        ("seed", 2**64),
        ("max_tokens", -1),
        ("stop", "text"),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name):
        SamplingParams(**{name: value})
