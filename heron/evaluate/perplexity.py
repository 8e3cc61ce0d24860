"""Perplexity: how well a model predicts a text; and how far its predictions are from those of a reference.

Perplexity is exp of the mean of -ln p(token). Between the distributions p of the reference and q of the model stand the Kullback-Leibler
divergence, sum p ln(p/q) in nats, how often their likeliest token is the same, and the change of the probability of the text's tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heron.engine.model import Model
from heron.errors import BackendError, RequestError
from heron.evaluate.windows import Window

Logits = NDArray[np.float32]

#: Rows of logits that are looked at together: a vocabulary is long.
ROWS = 32


@dataclass
class Likelihood:
    """-ln p of each predicted token, float64, in nats."""

    losses: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        return sum(map(len, self.losses))

    @property
    def mean(self) -> float:
        """Nats a token."""
        return float(np.concatenate(self.losses).mean())

    @property
    def perplexity(self) -> float:
        return math.exp(self.mean)

    @property
    def error(self) -> float:
        """One standard error of the perplexity, as if the tokens' losses were independent."""
        losses = np.concatenate(self.losses)
        return self.perplexity * float(losses.std(ddof=1)) / math.sqrt(len(losses)) if len(losses) > 1 else math.nan


@dataclass
class Divergence:
    """Each predicted token's divergence (nats), whether both hold the same token likeliest, and the token's p in q minus in p."""

    nats: list[NDArray[np.float64]] = field(default_factory=list)
    same_top: list[NDArray[np.bool_]] = field(default_factory=list)
    shifts: list[NDArray[np.float64]] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return float(np.concatenate(self.nats).mean())

    @property
    def error(self) -> float:
        """One standard error of the mean."""
        nats = np.concatenate(self.nats)
        return float(nats.std(ddof=1)) / math.sqrt(len(nats)) if len(nats) > 1 else math.nan

    def quantile(self, share: float) -> float:
        return float(np.quantile(np.concatenate(self.nats), share))

    @property
    def top_agreement(self) -> float:
        """The share of tokens at whose place both hold the same one likeliest."""
        return float(np.concatenate(self.same_top).mean())

    @property
    def rms_shift(self) -> float:
        """The root of the mean square of how the probability of the text's tokens changes."""
        return math.sqrt(float(np.square(np.concatenate(self.shifts)).mean()))


@dataclass
class Measured:
    """What is known so far. ``divergence`` and ``base`` (the reference's own likelihood) stand where there is a reference."""

    likelihood: Likelihood = field(default_factory=Likelihood)
    base: Likelihood = field(default_factory=Likelihood)
    divergence: Divergence | None = None


def measure(model: Model, windows: Sequence[Window], base: Model | None = None) -> Iterator[Measured]:
    """Read the windows, and yield after each what is known (always the same object).

    ``base`` is the reference. Raises RequestError where the two do not have one vocabulary.
    """
    if base is not None and base.graph_model.vocab_size != model.graph_model.vocab_size:
        sizes = f"the model has {model.graph_model.vocab_size} tokens and the reference {base.graph_model.vocab_size}"
        raise RequestError(f"{sizes}; divergence needs one vocabulary")
    measured = Measured(divergence=None if base is None else Divergence())
    for window in windows:
        logits, others = _read(model, window), None if base is None else _read(base, window)
        for at in range(0, window.scored, ROWS):
            tokens = np.array(window.tokens[window.begin :][at : at + ROWS])
            ours = log_softmax(logits[at : at + ROWS])
            measured.likelihood.losses.append(-np.take_along_axis(ours, tokens[:, None], 1)[:, 0])
            if others is not None and measured.divergence is not None:
                theirs = log_softmax(others[at : at + ROWS])
                measured.base.losses.append(-np.take_along_axis(theirs, tokens[:, None], 1)[:, 0])
                _compare(measured.divergence, ours, theirs, tokens)
        yield measured


def _read(model: Model, window: Window) -> Logits:
    """float32 [scored, vocab]: the logits in front of each token that is predicted."""
    logits = model.logits(window.tokens[:-1], begin=window.begin - 1)
    if not np.isfinite(logits).all():
        raise BackendError(f"{model.checkpoint.path}: the model computed logits that are not finite; its weights may be damaged")
    return logits


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """float64 [R, vocab]: the log-probabilities of float32 rows."""
    raw = logits.astype(np.float64)
    raw -= raw.max(-1, keepdims=True)
    raw -= np.log(np.exp(raw).sum(-1, keepdims=True))
    return raw


def _compare(to: Divergence, ours: NDArray[np.float64], theirs: NDArray[np.float64], tokens: NDArray[np.int64]) -> None:
    p = np.exp(theirs)
    to.nats.append(np.maximum((p * (theirs - ours)).sum(-1), 0.0))  # rounding alone makes it negative
    to.same_top.append(ours.argmax(-1) == theirs.argmax(-1))
    chosen = [np.exp(np.take_along_axis(x, tokens[:, None], 1)[:, 0]) for x in (ours, theirs)]
    to.shifts.append(chosen[0] - chosen[1])
