"""NumpySampler: the definition of how the next token is chosen. csrc/sampler.cpp is held to it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from heron.engine.candidates import STEPS, Candidates, Logits, mirostat_count, temperature, xtc
from heron.engine.logprobs import likeliest, log_softmax
from heron.engine.random import uniform
from heron.engine.repetition import Breakers, dry, penalties
from heron.engine.rules import Rules
from heron.engine.sampled import NONE_ALLOWED, NOT_FINITE, Sampled, seeded
from heron.engine.sampling import SamplingParams
from heron.errors import BackendError, RequestError


class NumpySampler:
    """Parameters, the tokens so far, mirostat's running target.

    Barred tokens, and those that a mask leaves out, are no candidates. The others get their biases; then the steps are taken in
    their order. With temperature 0 those that penalize are, and the likeliest is chosen; with mirostat those that penalize
    and the temperature. Last a token is picked by its probability.
    """

    def __init__(self, params: SamplingParams, sample: int = 0, rules: Rules = Rules()) -> None:
        self.params, self.sample_index, self.rules = seeded(params), sample, rules
        self._breakers = Breakers(rules.breakers)
        self._history: list[int] = []
        self._generated = 0
        self._mu = 2 * params.mirostat_tau

    @property
    def seed(self) -> int:
        assert self.params.seed is not None
        return self.params.seed

    def accept(self, tokens: Iterable[int]) -> None:
        self._history += tokens

    def sample(self, logits: NDArray[np.float32], position: int, mask: NDArray[np.uint32] | None = None) -> Sampled:
        raw = logits.astype(np.float64)
        if not np.isfinite(raw.max()):
            raise BackendError(NOT_FINITE)
        token = self._choose(self._gather(raw, mask), position)
        self._history.append(token)
        self._generated += 1
        logprobs = log_softmax(logits)
        return Sampled(token, float(logprobs[token]), likeliest(logprobs, self.params.top_logprobs))

    def _gather(self, raw: Logits, mask: NDArray[np.uint32] | None) -> Candidates:
        rules, n = self.rules, len(raw)
        allowed = np.ones(n, np.bool_)
        if mask is not None:
            bits = np.unpackbits(mask.view(np.uint8), bitorder="little")[:n]
            allowed[:] = False
            allowed[: len(bits)] = bits
        if rules.allowed:
            only = np.zeros(n, np.bool_)
            only[[i for i in rules.allowed if i < n]] = True
            allowed &= only
        allowed[[i for i in self._barred() if i < n]] = False
        c = Candidates(np.flatnonzero(allowed), raw[allowed])
        for token, bias in rules.bias:
            at = c.where(token)
            if at is not None:
                c.logits[at] += bias
        if not (c.logits > -np.inf).any():
            raise RequestError(NONE_ALLOWED)
        return c

    def _barred(self) -> list[int]:
        barred = list(self.rules.barred)
        if self._generated < self.params.min_tokens:
            barred += self.rules.ends
        for *before, token in self.rules.bad_words:
            if not before or self._history[-len(before) :] == before:
                barred.append(token)
        return barred

    def _choose(self, c: Candidates, position: int) -> int:
        p = self.params
        for name in p.samplers:
            if name == "penalties":
                penalties(c, p, self._history)
            elif name == "dry":
                dry(c, p, self._history, self._breakers)
            elif p.greedy or p.mirostat:
                continue
            elif name == "xtc":
                xtc(c, p, uniform(self.seed, self.sample_index, position, 1))
            else:
                STEPS[name](c, p)
        if p.greedy:
            return int(c.ids[c.logits.argmax()])
        return self._mirostat(c, position) if p.mirostat else self._pick(c, position)

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
        c.keep(np.sort(order[: mirostat_count(c.probabilities()[order], p, self._mu)]))
        token = self._pick(c, position)
        surprise = -np.log2(c.probabilities()[c.ids == token][0])
        self._mu -= p.mirostat_eta * (float(surprise) - p.mirostat_tau)
        return token
