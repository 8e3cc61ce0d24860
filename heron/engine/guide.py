"""Guide: which tokens keep one answer in the language of its constraint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from concurrent.futures import TimeoutError as TimedOut
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heron.engine.sampler import Mask
from heron.errors import RequestError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer


#: Seconds that a step of all requests waits for one's mask, which takes a few milliseconds at most as a rule.
MASK_SECONDS = 2.0


class Guide:
    """``what`` names the constraint, ``ends`` are the tokens that end the answer: they may come exactly where it is complete.

    ``forget`` is called when a limit of the grammar was reached. Its methods raise RequestError where the grammar fails; an
    answer never goes on without it.
    """

    def __init__(
        self, matcher: LLMatcher, vocabulary: LLTokenizer, what: str, ends: Sequence[int], threads: Executor, forget: Callable[[], None]
    ) -> None:
        self._matcher, self._vocabulary, self.what, self._threads, self._forget = matcher, vocabulary, what, threads, forget
        self._words = -(-vocabulary.vocab_size // 32)
        self._ends = np.zeros(self._words, np.uint32)
        for id in ends:
            self._ends[id // 32] |= np.uint32(1 << id % 32)
        self._coming: Future[Mask] | None = None  # or what came

    @property
    def all_but_ends(self) -> Mask:
        """A mask under which anything may come but an end."""
        return ~self._ends

    def start(self) -> None:
        """Compute the mask of the next token beside what else goes on."""
        self._coming = self._threads.submit(self._compute)

    def mask(self) -> Mask:
        """Which tokens may come next, uint32 [words]: what ``start`` computes, or computed now."""
        if self._coming is None:
            self._coming = Future()
            self._coming.set_result(self._compute())
        try:
            return self._coming.result(MASK_SECONDS)
        except TimedOut:
            raise self._slow() from None

    def _compute(self) -> NDArray[np.uint32]:
        mask = np.zeros(self._words, np.uint32)
        self._matcher.unsafe_compute_mask_ptr(mask.ctypes.data, mask.nbytes)
        self._check()
        mask &= ~self._ends
        return mask | self._ends if self._matcher.is_accepting() else mask

    def _settled(self) -> LLMatcher:
        """The matcher, when no thread uses it."""
        if self._coming is not None:
            try:
                self._coming.exception(MASK_SECONDS)
            except TimedOut:
                raise self._slow() from None
        return self._matcher

    def _slow(self) -> RequestError:
        self._forget()
        return RequestError(f"{self.what} is too ambiguous: in {MASK_SECONDS:g} s it was not found which tokens may come next")

    def accept(self, tokens: Sequence[int]) -> None:
        """Tokens that were chosen, none of them an end."""
        matcher, self._coming = self._settled(), None
        matcher.consume_tokens(list(tokens))
        self._check()

    def rollback(self, count: int) -> None:
        """Take back the last tokens that were accepted."""
        matcher, self._coming = self._settled(), None
        matcher.rollback(count)
        self._check()

    def allowed(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, one after the other, may come next; none while that is not known."""
        if self._coming is not None and not wait([self._coming], MASK_SECONDS).done:
            return 0
        matcher, known = self._settled(), list(takewhile(lambda id: id < self._vocabulary.vocab_size, tokens))
        return 0 if matcher.is_error() else int(matcher.validate_tokens(known))

    def forced(self) -> list[int]:
        """The tokens that come next whatever is chosen, as the vocabulary spells what the grammar leaves no choice of."""
        matcher = self._settled()
        return [] if matcher.is_error() or matcher.is_stopped() else list(matcher.compute_ff_tokens())

    @property
    def complete(self) -> bool:
        """Whether what was accepted is a text of the language."""
        return bool(self._settled().is_accepting())

    @property
    def finished(self) -> bool:
        """Whether it is one that nothing can follow."""
        return self.complete and bool(self._matcher.is_stopped())

    def holds(self, text: str) -> bool:
        """Whether this text is one of the language."""
        fresh = self._settled().deep_copy()
        fresh.reset()
        tokens = self._vocabulary.greedy_tokenize(text)
        return fresh.try_consume_tokens(tokens) == len(tokens) and bool(fresh.is_accepting())

    def _check(self) -> None:
        matcher = self._matcher
        if matcher.is_error() or (matcher.is_stopped() and not matcher.is_accepting()):
            self._forget()
            said = (matcher.get_error() or matcher.stop_reason()).partition("\n")[0]
            raise RequestError(f"{self.what} could not be followed any further: {said}")
