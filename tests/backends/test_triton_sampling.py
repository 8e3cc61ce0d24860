"""Tokens chosen by Triton's kernel are those of the engine's sampler, but where f32 cannot tell on which side of a bound a sum lies."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("triton")

import torch
from test_torch_sampling import Row, on_the_host, random_rows, random_sampling
from triton_cases import TARGETS, compiles, interpreted

from heron.backends.sampling import Sampling
from heron.backends.torch.sample import choose
from heron.backends.torch.triton.sampling import LISTED, pick
from heron.engine.random import uniform


def rounding(vocab: int) -> float:
    """How far a sum of a row's probabilities in f32 may be from what is meant: each lane adds up its own, the lanes are added in pairs,
    and each part is off by the roundings of its exponent (one of up to 88 counts, a difference and a quotient) and of e to its power."""
    return (vocab / 2048 + 11 + 2 * 88 + 4) * 2.0**-24


def nearest_bound(x: Row, how: Sampling, i: int) -> float:
    """By how much the definition would have to be off, in f64, to choose otherwise: the least distance of any sum from its bound."""
    allowed = np.setdiff1d(np.arange(len(x)), how.barred[i])
    wide = x.astype(np.float64)
    order = allowed[np.lexsort((allowed, -wide[allowed]))][: how.top_k[i] or None]
    share = np.exp(wide[order] - wide[order[0]])
    sums = np.cumsum(share / share.sum())
    distances = [np.abs(sums - how.top_p[i]).min()]
    kept = order[: np.searchsorted(sums, how.top_p[i] - 1e-9) + 1] if how.top_p[i] < 1 else order
    if how.min_p[i]:
        below = wide[kept] - wide[order[0]] - np.log(how.min_p[i])
        distances.append(np.abs(below).min())
        kept = kept[below >= 0]
    kept = np.sort(kept)
    share = np.exp((wide[kept] - wide[order[0]]) / how.temperature[i])
    sums = np.cumsum(share / share.sum())
    return float(min(*distances, np.abs(sums - uniform(int(how.seed[i]), int(how.sample[i]), int(how.position[i]))).min()))


def compare(vocab: int, rows: int, seed: int) -> None:
    rng = np.random.default_rng((vocab, seed))
    for first in range(0, rows, 8):
        x = random_rows(rng, vocab, count := min(8, rows - first))
        how = random_sampling(rng, vocab, count)
        tokens = choose(torch.from_numpy(x), how)[0].tolist()
        for i, token in enumerate(tokens):
            expected = on_the_host(x[i], how, i)[0]
            assert token == expected or nearest_bound(x[i], how, i) < rounding(vocab), f"row {i} of {how}"


@interpreted
@pytest.mark.parametrize(("vocab", "rows"), [(1, 3), (2, 8), (32, 16), (700, 16), (5000, 8)])
def test_tokens_are_those_of_the_definition(vocab: int, rows: int) -> None:
    compare(vocab, rows, 0)


@interpreted
@pytest.mark.slow
@pytest.mark.parametrize(("vocab", "rows"), [(2, 100), (32, 400), (1000, 400), (5000, 200), (128256, 8)])
def test_tokens_are_those_of_the_definition_for_many_rows(vocab: int, rows: int) -> None:
    compare(vocab, rows, 1)


@interpreted
def test_of_more_equals_than_are_listed_the_first_are_kept() -> None:
    """Each with a draw near the end, so that it is the last one kept that is picked."""
    vocab, near_one = LISTED + 900, next(p for p in range(10**6) if uniform(3, 0, p) > 1 - 1e-4)

    def last(top_k: int, top_p: float) -> int:
        settings = torch.tensor([[top_p], [-torch.inf], [1.0]])
        return int(pick(torch.zeros(1, vocab), torch.tensor([top_k], dtype=torch.int32), settings, torch.tensor([[3], [0], [near_one]])))

    assert [last(k, torch.inf) for k in (1, 7, 100, vocab - 1)] == [0, 6, 99, vocab - 2]
    assert [last(vocab, p) for p in (0.0, 50.5 / vocab)] == [0, 50]
    assert last(200, 0.1001) == 20


@pytest.mark.parametrize("target", TARGETS)
def test_sampling_compiles(target: str) -> None:
    for rows, vocab in ((4, 128256), (1, 1000)):
        settings, counters = torch.empty(3, rows), torch.empty(3, rows, dtype=torch.int64)
        compiles(lambda: pick(torch.empty(rows, vocab), torch.empty(rows, dtype=torch.int32), settings, counters), target)  # noqa: B023
