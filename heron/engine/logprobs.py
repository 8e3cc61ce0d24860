"""Log-probabilities of tokens under the model's own distribution, and of those that it holds likeliest."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Top = tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class Scored:
    """A token, its log-probability, and the likeliest tokens in its place (id, log-probability), the likeliest first.

    ``rank`` is 1 where no token is likelier.
    """

    token: int
    logprob: float
    top: Top = ()
    rank: int = 1


@dataclass
class PromptScores:
    """What the model says of each token of a prompt but the first, with ``top`` tokens beside each; filled while it is read."""

    top: int
    found: list[Scored] = field(default_factory=list)

    def rows(self, at: int, count: int, prompt_length: int) -> range:
        """Which of ``count`` tokens from position ``at`` on give logits that are still wanted."""
        return range(max(0, len(self.found) - at), min(count, prompt_length - 1 - at))

    def add(self, logits: NDArray[np.float32], tokens: list[int]) -> None:
        """float32 [len(tokens), vocab]: the logits in front of the next tokens."""
        self.found += [scored(row, token, self.top) for row, token in zip(logits, tokens, strict=True)]


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """float64 [vocab]: log-probabilities."""
    raw = logits.astype(np.float64)
    highest = raw.max()
    return np.asarray(raw - highest - np.log(np.exp(raw - highest).sum()))


def scored(logits: NDArray[np.float32], token: int, top: int) -> Scored:
    """A token's place among all, float32 [vocab]."""
    found = log_softmax(logits)
    return Scored(token, float(found[token]), likeliest(found, top), 1 + int((found > found[token]).sum()))


def likeliest(logprobs: NDArray[np.float64], count: int) -> Top:
    """The ``count`` largest, largest first; the lower id first among equals."""
    count = min(count, len(logprobs))
    if not count:
        return ()
    bound = np.partition(logprobs, len(logprobs) - count)[len(logprobs) - count]
    ids = np.flatnonzero(logprobs >= bound)
    ids = ids[np.lexsort((ids, -logprobs[ids]))][:count]
    return tuple((int(id), float(logprobs[id])) for id in ids)
