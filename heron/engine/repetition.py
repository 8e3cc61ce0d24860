"""What repeats becomes less likely: penalties for tokens, and DRY for sequences of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from heron.engine.candidates import Candidates
from heron.engine.sampling import SamplingParams

#: What DRY subtracts stays below f32's largest, as in llama.cpp.
_MOST = float(np.log(np.finfo(np.float32).max))


def last(history: list[int], count: int) -> list[int]:
    """The last of them; all where ``count`` is negative."""
    return history if count < 0 else history[len(history) - min(count, len(history)) :]


def penalties(c: Candidates, p: SamplingParams, history: list[int]) -> None:
    """Repetition (Keskar et al. 2019: positive logits divided, negative multiplied), frequency and presence."""
    if p.repeat_penalty == 1 and not p.frequency_penalty and not p.presence_penalty:
        return
    for token, count in Counter(last(history, p.repeat_last_n)).items():
        at = c.where(token)
        if at is not None:
            x = c.logits[at]
            x = x / p.repeat_penalty if x > 0 else x * p.repeat_penalty
            c.logits[at] = x - count * p.frequency_penalty - p.presence_penalty


class Breakers:
    """Tokens, or sequences of them, that a repetition does not reach across."""

    def __init__(self, sequences: Iterable[Sequence[int]] = ()) -> None:
        self._after: dict[int, list[list[int]]] = defaultdict(list)
        for head, *tail in sequences:
            self._after[head].append(tail)

    def since(self, tokens: list[int]) -> int:
        """How many of the tokens stand after the last breaker that begins among them."""
        for count, at in enumerate(range(len(tokens) - 1, -1, -1)):
            tails = self._after.get(tokens[at], ())
            lengths = [len(tail) for tail in tails if len(tail) <= count and tokens[at + 1 : at + 1 + len(tail)] == tail]
            if lengths:
                return count - max(lengths)
        return len(tokens)


def dry(c: Candidates, p: SamplingParams, history: list[int], breakers: Breakers) -> None:
    """Don't repeat yourself (p-e-w 2024): a token that would lengthen a repetition of n tokens loses multiplier * base^(n - allowed).

    Where the last n tokens stood before, what came after them would repeat. Only the last ``dry_penalty_last_n`` tokens count, and
    of them those after the last breaker.
    """
    recent = last(history, p.dry_penalty_last_n)
    if not p.dry_multiplier or p.dry_base < 1 or not p.dry_penalty_last_n or len(recent) <= p.dry_allowed_length:
        return
    limit = breakers.since(recent)
    longest: dict[int, int] = {}
    for i in range(1, len(recent)):
        length = 0
        while length < min(i, limit) and recent[i - 1 - length] == recent[-1 - length]:
            length += 1
        if length >= p.dry_allowed_length:
            longest[recent[i]] = max(longest.get(recent[i], 0), length)
    most = np.floor(_MOST / np.log(p.dry_base)) if p.dry_base > 1.000001 else 1e18
    for token, length in longest.items():
        at = c.where(token)
        if at is not None:
            c.logits[at] -= p.dry_multiplier * p.dry_base ** min(float(length - p.dry_allowed_length), most)
