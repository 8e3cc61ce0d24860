"""Choosing the next token from logits: a sequence of steps, each of which changes or narrows the candidates.

The order of the steps is data (``STEPS``). This numpy form is their definition; ``csrc/sampler.cpp`` is held to it, and
is what runs where the core is compiled (``make_sampler``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from heron.compiled import core
from heron.engine.random import uniform
from heron.engine.sampling import SamplingParams
from heron.errors import BackendError

Logits = NDArray[np.float64]
Ids = NDArray[np.intp]


@dataclass(frozen=True)
class Sampled:
    """A token and its log-probability under the model's own distribution, before any step changed it."""

    token: int
    logprob: float


@dataclass
class Candidates:
    """The tokens still in play and their logits."""

    ids: Ids
    logits: Logits

    def keep(self, mask: NDArray[np.bool_] | Ids) -> None:
        self.ids, self.logits = self.ids[mask], self.logits[mask]

    def probabilities(self) -> Logits:
        e = np.exp(self.logits - self.logits.max())
        return np.asarray(e / e.sum())

    def falling(self) -> Ids:
        """The order of falling logits, the lower id first among equals."""
        return np.lexsort((self.ids, -self.logits))


#: A sum of probabilities reaches a bound that it misses by less: in which order it was added up must not matter.
ROUNDING = 1e-9


def penalties(c: Candidates, p: SamplingParams, history: list[int]) -> None:
    """Repetition (Keskar et al. 2019: positive logits divided, negative multiplied), frequency and presence."""
    recent = history if p.repeat_last_n < 0 else history[len(history) - min(p.repeat_last_n, len(history)) :]
    if not recent or (p.repeat_penalty == 1 and not p.frequency_penalty and not p.presence_penalty):
        return
    seen, counts = np.unique(np.asarray(recent, np.intp), return_counts=True)
    x = c.logits[seen]
    x = np.where(x > 0, x / p.repeat_penalty, x * p.repeat_penalty)
    c.logits[seen] = x - counts * p.frequency_penalty - p.presence_penalty


def temperature(c: Candidates, p: SamplingParams) -> None:
    with np.errstate(over="ignore"):  # what is likeliest stays finite, however low the temperature
        c.logits = (c.logits - c.logits.max()) / p.temperature


def top_k(c: Candidates, p: SamplingParams) -> None:
    """The k largest (Fan et al. 2018), the lower id first among equals."""
    if 0 < p.top_k < len(c.ids):
        bound = np.partition(c.logits, len(c.ids) - p.top_k)[len(c.ids) - p.top_k]
        c.keep(c.logits >= bound)
        c.keep(np.sort(c.falling()[: p.top_k]))


def top_p(c: Candidates, p: SamplingParams) -> None:
    """The fewest likeliest tokens whose probabilities reach p (Holtzman et al. 2019); at least one."""
    if p.top_p < 1:
        order = c.falling()
        total = np.cumsum(c.probabilities()[order])
        c.keep(np.sort(order[: int(np.searchsorted(total, p.top_p - ROUNDING)) + 1]))


def min_p(c: Candidates, p: SamplingParams) -> None:
    """Tokens at least ``min_p`` times as likely as the likeliest (Nguyen et al. 2024)."""
    if p.min_p > 0:
        c.keep(c.logits >= c.logits.max() + np.log(p.min_p))


def typical(c: Candidates, p: SamplingParams) -> None:
    """Tokens whose surprise is nearest to the expected one, until their probabilities reach ``typical_p`` (Meister et al. 2022)."""
    if p.typical_p < 1:
        probability = c.probabilities()
        surprise = -np.log(np.maximum(probability, 1e-300))
        entropy = float((probability * surprise).sum())
        order = np.lexsort((c.ids, np.abs(surprise - entropy)))
        total = np.cumsum(probability[order])
        c.keep(np.sort(order[: int(np.searchsorted(total, p.typical_p - ROUNDING)) + 1]))


#: The steps between the penalties and the pick, in their order. Mirostat replaces those that narrow.
STEPS: tuple[Callable[[Candidates, SamplingParams], None], ...] = (temperature, top_k, top_p, min_p, typical)

NOT_FINITE = "the model computed no finite logit, or one that is not a number; its weights may be damaged"

#: How many of the likeliest tokens mirostat's first version estimates the distribution's exponent from.
MIROSTAT_SAMPLE = 100


class Sampler(Protocol):
    """One request's sampler."""

    @property
    def seed(self) -> int: ...

    def accept(self, tokens: Iterable[int]) -> None:
        """Tokens that stand before what will be sampled: the penalties see them."""

    def sample(self, logits: NDArray[np.float32], position: int) -> Sampled:
        """The next token. float32 [vocab]; ``position`` is its place in the sequence, which keys its random number.

        Raises BackendError where no token has a finite logit, or one is NaN or infinite.
        """


def make_sampler(params: SamplingParams, sample: int = 0) -> Sampler:
    """The compiled sampler, or where there is no core the numpy one. ``sample`` counts the answers with one seed."""
    return NumpySampler(params, sample) if core is None else NativeSampler(params, sample)


def seeded(params: SamplingParams) -> SamplingParams:
    return params if params.seed is not None else replace(params, seed=int.from_bytes(os.urandom(8), "little"))


class NativeSampler:
    """The core's."""

    def __init__(self, params: SamplingParams, sample: int = 0) -> None:
        params = seeded(params)
        assert params.seed is not None
        self.seed = params.seed
        self._core = core.Sampler(params, params.seed, sample, [step.__name__ for step in STEPS])

    def accept(self, tokens: Iterable[int]) -> None:
        self._core.accept(list(tokens))

    def sample(self, logits: NDArray[np.float32], position: int) -> Sampled:
        try:
            return Sampled(*self._core.sample(logits, position))
        except ValueError as error:
            raise BackendError(NOT_FINITE) from error


class NumpySampler:
    """The definition: parameters, the tokens so far, mirostat's running target."""

    def __init__(self, params: SamplingParams, sample: int = 0) -> None:
        self.params, self.sample_index = seeded(params), sample
        self._history: list[int] = []
        self._mu = 2 * params.mirostat_tau

    @property
    def seed(self) -> int:
        assert self.params.seed is not None
        return self.params.seed

    def accept(self, tokens: Iterable[int]) -> None:
        self._history += tokens

    def sample(self, logits: NDArray[np.float32], position: int) -> Sampled:
        raw = logits.astype(np.float64)
        highest = raw.max()
        if not np.isfinite(highest):
            raise BackendError(NOT_FINITE)
        token = self._choose(raw, position)
        self._history.append(token)
        return Sampled(token, float(raw[token] - highest - np.log(np.exp(raw - highest).sum())))

    def _choose(self, raw: Logits, position: int) -> int:
        p, c = self.params, Candidates(np.arange(len(raw)), raw.copy())
        penalties(c, p, self._history)
        if p.temperature == 0:
            return int(c.logits.argmax())
        if p.mirostat:
            return self._mirostat(c, position)
        for step in STEPS:
            step(c, p)
        return self._pick(c, position)

    def _pick(self, c: Candidates, position: int) -> int:
        """The first token, in order of ids, whose cumulative probability passes the random number."""
        total = np.cumsum(c.probabilities())
        at = int(np.searchsorted(total, uniform(self.seed, self.sample_index, position) * total[-1], side="right"))
        return int(c.ids[min(at, len(c.ids) - 1)])

    def _mirostat(self, c: Candidates, position: int) -> int:
        """Basu et al. 2020: the candidates are cut so that the surprise of what is picked stays near tau bits."""
        p = self.params
        temperature(c, p)
        order = c.falling()
        probability = c.probabilities()
        if p.mirostat == 1:
            keep = self._k(probability[order])
        else:
            keep = max(1, int((-np.log2(np.maximum(probability[order], 1e-300)) <= self._mu).sum()))
        c.keep(np.sort(order[:keep]))
        token = self._pick(c, position)
        surprise = -np.log2(c.probabilities()[c.ids == token][0])
        self._mu -= p.mirostat_eta * (float(surprise) - p.mirostat_tau)
        return token

    def _k(self, probability: Logits) -> int:
        """How many tokens hold the surprise at mu, were the probabilities Zipf's with the exponent that the likeliest show."""
        m = min(MIROSTAT_SAMPLE, len(probability))
        if m < 2:
            return 1
        rank = np.arange(1, m)
        t, b = np.log((rank + 1) / rank), np.log(np.maximum(probability[: m - 1], 1e-300) / np.maximum(probability[1:m], 1e-300))
        exponent = float((t * b).sum() / (t * t).sum())
        epsilon = exponent - 1
        n = len(probability)
        if abs(epsilon) < 1e-9:
            return n
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            k = float((epsilon * np.exp2(self._mu) / (1 - np.power(float(n), -epsilon))) ** (1 / exponent)) if exponent else float(n)
        return int(min(max(round(k), 1), n)) if np.isfinite(k) else n
