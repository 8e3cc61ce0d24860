"""The tokens still in play, and the steps that narrow them: one definition of each, by the paper that proposed it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heron.engine.sampling import SamplingParams

Logits = NDArray[np.float64]
Ids = NDArray[np.intp]


@dataclass
class Candidates:
    """The tokens still in play, in the order of their ids, and their logits."""

    ids: Ids
    logits: Logits

    def keep(self, mask: NDArray[np.bool_] | Ids) -> None:
        self.ids, self.logits = self.ids[mask], self.logits[mask]

    def where(self, token: int) -> int | None:
        """At which place a token is, if it is one of them."""
        at = int(np.searchsorted(self.ids, token))
        return at if at < len(self.ids) and self.ids[at] == token else None

    def probabilities(self) -> Logits:
        e = np.exp(self.logits - self.logits.max())
        return np.asarray(e / e.sum())

    def falling(self) -> Ids:
        """The order of falling logits, the lower id first among equals."""
        return np.lexsort((self.ids, -self.logits))


#: A sum of probabilities reaches a bound that it misses by less: in which order it was added up must not matter.
ROUNDING = 1e-9


def surprises(probability: Logits) -> Logits:
    """In nats."""
    return np.asarray(-np.log(np.maximum(probability, 1e-300)))


def temperature(c: Candidates, p: SamplingParams) -> None:
    """Divides the logits. With a range, by a temperature between its ends: low where the entropy is, high where it is near its
    most (Zhang et al. 2024, "EDT"; llama.cpp's form: share of the highest entropy, to the power of ``dynatemp_exponent``)."""
    value = p.temperature
    if p.dynatemp_range > 0 and len(c.ids) > 1:
        probability = c.probabilities()
        share = min(float((probability * surprises(probability)).sum()) / np.log(len(c.ids)), 1.0)
        low = max(0.0, value - p.dynatemp_range)
        value = low + (value + p.dynatemp_range - low) * share**p.dynatemp_exponent
    if value == 0:
        c.keep(c.falling()[:1])
        return
    with np.errstate(over="ignore"):  # what is likeliest stays finite, however low the temperature
        c.logits = (c.logits - c.logits.max()) / value


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


def typ_p(c: Candidates, p: SamplingParams) -> None:
    """Tokens whose surprise is nearest to the expected one, until their probabilities reach ``typical_p`` (Meister et al. 2022)."""
    if p.typical_p < 1:
        probability = c.probabilities()
        surprise = surprises(probability)
        entropy = float((probability * surprise).sum())
        order = np.lexsort((c.ids, np.abs(surprise - entropy)))
        total = np.cumsum(probability[order])
        c.keep(np.sort(order[: int(np.searchsorted(total, p.typical_p - ROUNDING)) + 1]))


def top_n_sigma(c: Candidates, p: SamplingParams) -> None:
    """Tokens whose logits lie within n standard deviations of the largest (Tang et al. 2024, "Top-nσ")."""
    if p.top_n_sigma > 0:
        with np.errstate(over="ignore"):  # a tiny temperature before it: everything is within reach
            spread = float(c.logits[np.isfinite(c.logits)].std())
        c.keep(c.logits >= c.logits.max() - p.top_n_sigma * spread * (1 + ROUNDING))


def xtc(c: Candidates, p: SamplingParams, chance: float) -> None:
    """Exclude top choices: with ``xtc_probability``, of the tokens above the threshold all but the least likely go (p-e-w 2024).

    ``chance`` is a random number in [0, 1). A threshold above one half, which at most one token passes, excludes nothing.
    """
    if p.xtc_threshold > 0.5 or chance >= p.xtc_probability:
        return
    order, probability = c.falling(), c.probabilities()
    passing = int(((probability >= p.xtc_threshold * (1 - ROUNDING)) & (probability > 0)).sum())
    if passing:
        c.keep(np.sort(order[passing - 1 :]))


#: Those that need no random number, by the names of ``samplers``.
STEPS: dict[str, Callable[[Candidates, SamplingParams], None]] = {
    step.__name__: step for step in (top_n_sigma, top_k, typ_p, top_p, min_p, temperature)
}

#: How many of the likeliest tokens mirostat's first version estimates the distribution's exponent from.
MIROSTAT_SAMPLE = 100


def mirostat_count(probability: Logits, p: SamplingParams, mu: float) -> int:
    """How many of the likeliest tokens hold the surprise at ``mu`` bits (Basu et al. 2020). Probabilities fall."""
    if p.mirostat == 2:
        return max(1, int((-np.log2(np.maximum(probability, 1e-300)) <= mu).sum()))
    return _zipf_count(probability, mu)


def _zipf_count(probability: Logits, mu: float) -> int:
    """The first version: were the probabilities Zipf's, with the exponent that the likeliest show."""
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
        k = float((epsilon * np.exp2(mu) / (1 - np.power(float(n), -epsilon))) ** (1 / exponent)) if exponent else float(n)
    return int(min(max(round(k), 1), n)) if np.isfinite(k) else n
