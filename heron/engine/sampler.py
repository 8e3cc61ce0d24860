"""Samplers: each request's choice of the next token from logits.

The definition is ``NumpySampler``; ``csrc/sampler.cpp`` is held to it, and is what runs where the core is compiled. It knows
every parameter: none falls back to numpy.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from heron.compiled import core
from heron.engine.numpy_sampler import NumpySampler
from heron.engine.rules import Rules, Sequences
from heron.engine.sampled import NONE_ALLOWED, NOT_FINITE, Sampled, seeded
from heron.engine.sampling import SamplingParams
from heron.errors import BackendError, RequestError

Mask = NDArray[np.uint32]  #: a bit for each token that may be chosen, the lowest of a word first


class Sampler(Protocol):
    """One request's sampler."""

    @property
    def seed(self) -> int: ...

    def accept(self, tokens: Iterable[int]) -> None:
        """Tokens that stand before what will be sampled: the penalties see them."""

    def sample(self, logits: NDArray[np.float32], position: int, mask: Mask | None = None) -> Sampled:
        """The next token. float32 [vocab]; ``position`` is its place in the sequence, which keys its random number.

        Raises BackendError where no token has a finite logit, or one is NaN or infinite, and RequestError where none is allowed.
        """


def make_sampler(params: SamplingParams, sample: int = 0, rules: Rules = Rules()) -> Sampler:
    """The compiled sampler, or where there is no core the numpy one. ``sample`` counts the answers with one seed."""
    return NumpySampler(params, sample, rules) if core is None else NativeSampler(params, sample, rules)


@lru_cache(maxsize=32)
def _breakers(sequences: Sequences) -> Any:
    return core.Breakers([list(sequence) for sequence in sequences])


class NativeSampler:
    """The core's."""

    def __init__(self, params: SamplingParams, sample: int = 0, rules: Rules = Rules()) -> None:
        params = seeded(params)
        assert params.seed is not None
        self.seed = params.seed
        breakers = _breakers(rules.breakers) if rules.breakers else None
        self.core = core.Sampler(params, rules, breakers, params.seed, sample, list(params.samplers))

    def accept(self, tokens: Iterable[int]) -> None:
        self.core.accept(list(tokens))

    def sample(self, logits: NDArray[np.float32], position: int, mask: Mask | None = None) -> Sampled:
        return sampled(_alone().sample([self.core], logits[None], [0], [position], [mask])[0])


@lru_cache(maxsize=1)
def _alone() -> Any:
    return core.SamplerPool(1)


def sampled(found: tuple[int, int, float, list[tuple[int, float]]]) -> Sampled:
    """What the core found. Raises as ``Sampler.sample`` does."""
    status, token, logprob, top = found
    if status:
        raise BackendError(NOT_FINITE) if status == 1 else RequestError(NONE_ALLOWED)
    return Sampled(token, logprob, tuple(top))
