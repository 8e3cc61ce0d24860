"""Speculative decoding: guesses at the tokens that come next, which one step of the model checks together.

A token is chosen after each guess as it is without guesses: by the same logits (the kernels compute a row alike however many
stand in a step), the same sampler, and the random number of its position. A guess is accepted where it is what was chosen, so
that an answer is the same, bit for bit, whether greedy or sampled. (Leviathan et al. 2023 accept a token x of the draft's
distribution q with probability min(1, p(x) / q(x)), which preserves the distribution, but not the answer of a seed. Here
draft and model look at their distributions with one random number: guesses agree where the distributions do.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from heron.engine.sampling import SamplingParams
from heron.errors import RequestError

if TYPE_CHECKING:
    from heron.engine.draft_model import DraftModel
    from heron.engine.request import Request

#: Where guesses come from: nowhere, what followed the same tokens before, a smaller model.
KINDS = ("off", "ngram", "draft")

#: Tokens guessed at a time, unless a request says otherwise, and the most that one may ask for.
DRAFT_TOKENS = 7
MOST_DRAFT_TOKENS = 32

#: The last tokens that must have come before, in this order, for what followed them to be a guess: at least, and at most.
LEAST_MATCH, MOST_MATCH = 2, 8


@dataclass(frozen=True)
class Speculate:
    """How a request's next tokens are guessed, and how many at a time. Raises RequestError for what there is not."""

    kind: str = "off"
    tokens: int = DRAFT_TOKENS

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RequestError(f"speculate is {self.kind!r:.40}; give one of {', '.join(KINDS)}")
        if isinstance(self.tokens, bool) or not isinstance(self.tokens, int) or not 1 <= self.tokens <= MOST_DRAFT_TOKENS:
            raise RequestError(f"draft_tokens is {self.tokens!r:.40}; give a whole number from 1 to {MOST_DRAFT_TOKENS}")


class Lookup:
    """Guesses by what a text says twice (Saxena 2023, "Prompt lookup decoding"): what followed the last tokens when they came before."""

    def __init__(self) -> None:
        self._tokens = np.zeros(0, np.int32)
        self._count = 0

    def _read(self, tokens: list[int]) -> None:
        """Take in the tokens that are new, at the end."""
        if len(tokens) > len(self._tokens):
            self._tokens = np.concatenate([self._tokens[: self._count], np.zeros(len(tokens) + 256 - self._count, np.int32)])
        self._tokens[self._count : len(tokens)] = tokens[self._count :]
        self._count = len(tokens)

    def guess(self, tokens: list[int], most: int) -> list[int]:
        """Up to ``most`` tokens after the latest of the longest matches; what a match runs into goes on like itself."""
        self._read(tokens)
        text = self._tokens[: self._count]
        ends = np.flatnonzero(text[:-1] == text[-1])
        length, found = 1, ends
        while len(found) and length < MOST_MATCH:
            longer = found[found >= length]
            longer = longer[text[longer - length] == text[-1 - length]] if length < len(text) else longer[:0]
            if not len(longer):
                break
            length, found = length + 1, longer
        if length < LEAST_MATCH or not len(found):
            return []
        begin = int(found[-1]) + 1
        return text[begin + np.arange(most) % (len(text) - begin)].tolist()


#: Tokens that kernels multiply together: the guesses and the token before them fill as many such groups as are worth it.
GROUP = 4


class Pace:
    """How many tokens are worth guessing: more while all are right, about as many as were right, and for a while none where few are."""

    #: Below this part of guesses that are right, of late, they are left off for a while, twice as long each time. Alone a guess costs up to
    #: a fifth of a token, beside others more than half of one (docs/lab.md).
    LEAST_ALONE, LEAST_BESIDE = 0.25, 0.5
    FIRST_PAUSE, LONGEST_PAUSE = 8, 256

    def __init__(self, most: int) -> None:
        self._most, self._count = most, min(most, GROUP - 1)
        self._right, self._pause, self._next_pause = 0.6, 0, self.FIRST_PAUSE

    def next(self) -> int:
        """How many to guess for the next step."""
        if self._pause:
            self._pause -= 1
            return 0
        return self._count

    def learn(self, guessed: int, right: int, alone: bool = True) -> None:
        """So many guesses were right, in a step of one request or of several."""
        least = self.LEAST_ALONE if alone else self.LEAST_BESIDE
        worth = 2 * (self._count + 1) if right == guessed else -(-(right + 2) // GROUP) * GROUP
        self._count = min(self._most, worth - 1)
        self._right += 0.25 * (right / guessed - self._right)
        if self._right >= 1.5 * least:
            self._next_pause = self.FIRST_PAUSE
        if self._right < least:
            self._right, self._pause = least, self._next_pause
            self._next_pause = min(self.LONGEST_PAUSE, 2 * self._next_pause)


class Guesses:
    """What one request's are made with: its sampling parameters, seed included, and which of the answers with that seed it is."""

    def __init__(self, how: Speculate, params: SamplingParams, sample: int) -> None:
        self.kind, self.most, self.params, self.sample = how.kind, how.tokens, params, sample
        self.sure = False  # the last ones were what a constraint leaves no choice of
        self.pace, self.lookup = Pace(how.tokens), Lookup()


class Speculation:
    """Guesses for the requests of an engine, from their own texts or by a draft model."""

    def __init__(self, draft: DraftModel | None = None) -> None:
        self._draft = draft

    def guess(self, requests: Sequence[Request]) -> None:
        """Put guesses, such as its constraint allows, into the ``drafts`` of each request whose next token is chosen in the next step."""
        asked: dict[Request, int] = {}
        for request in requests:
            request.drafts, guesses, room = [], request.guesses, request.answer.left - 1
            if guesses is None or room < 1 or len(request.tokens) - len(request.sequence.tokens) != 1:
                continue
            request.drafts = _none_if_it_fails(request.answer.forced)[: min(guesses.most, room)]
            guesses.sure = bool(request.drafts)
            count = 0 if guesses.sure else min(guesses.pace.next(), room)
            if count and guesses.kind == "draft":
                asked[request] = count
            elif count:
                request.drafts = guesses.lookup.guess(request.tokens, count)
        if asked and self._draft is not None:
            self._draft.guess(asked)
        for request in requests:
            if request.drafts:
                request.drafts = _none_if_it_fails(partial(_allowed, request))

    def forget(self, request: Request) -> None:
        """Let go of what is held for a request that ended."""
        if self._draft is not None:
            self._draft.forget(request)


def _allowed(request: Request) -> list[int]:
    return request.drafts[: request.answer.allowed(request.drafts)]


def _none_if_it_fails(look: Callable[[], list[int]]) -> list[int]:
    """A constraint that fails does so where the token is chosen, and ends its request there."""
    try:
        return look()
    except Exception:
        return []
