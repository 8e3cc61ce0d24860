"""One answer under way: tokens in, pieces of text out, until something ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heron.engine.generation import Piece
from heron.engine.rules import Rules
from heron.engine.sampled import Sampled
from heron.engine.sampler import Mask, make_sampler
from heron.engine.sampling import SamplingParams
from heron.text.stream import Detokenizer, StopStrings

if TYPE_CHECKING:
    from heron.text.tokenizer import Tokenizer


class Answer:
    """Samples, detokenizes and watches for the end: an end-of-turn token, a stop string, ``room`` or ``max_tokens`` used up.

    ``prompt`` is what decoding continues; ``continues`` says that its text goes on, so that a leading space stays.
    ``sample`` counts the answers with one seed.
    ``finish_reason`` is empty until the answer has ended. Raises RequestError for token ids outside the vocabulary.
    """

    def __init__(
        self, tokenizer: Tokenizer, params: SamplingParams, prompt: list[int], room: int, continues: bool, sample: int = 0
    ) -> None:
        rules = Rules.of(params, tokenizer)
        self.sampler = make_sampler(params, sample, rules)
        self.sampler.accept(prompt)
        self._detokenizer, self._stops = Detokenizer(tokenizer, continues=continues), StopStrings(params.stop)
        self._ends = frozenset(rules.ends)
        self._left = room if params.max_tokens is None else min(params.max_tokens, room)
        self.position = len(prompt)
        self._prompt_length = len(prompt)
        self.finish_reason = "" if self._left > 0 else "length"

    @property
    def seed(self) -> int:
        return self.sampler.seed

    @property
    def generated(self) -> int:
        """Tokens chosen so far, the one that ended the answer included."""
        return self.position - self._prompt_length

    @property
    def left(self) -> int:
        """How many more tokens there may be."""
        return self._left

    @property
    def stop_string(self) -> str | None:
        """The stop string that ended the answer."""
        return self._stops.found

    def push(self, logits: NDArray[np.float32]) -> Piece:
        """Choose the next token by its logits, float32 [vocab].

        Raises BackendError for logits that are not finite, and RequestError where no token may come.
        """
        return self.take(self.sampler.sample(logits, self.position, self.mask()))

    def mask(self) -> Mask | None:
        """Which tokens may come next; None: any."""
        return None

    def take(self, sampled: Sampled) -> Piece:
        """The piece of a token that the sampler chose for ``position``."""
        self.position += 1
        self._left -= 1
        if sampled.token in self._ends:
            self.finish_reason = "stop"
            return Piece(self._rest(), sampled.token, sampled.logprob, sampled.top, ends=True)
        text, stopped = self._stops.push(self._detokenizer.push(sampled.token))
        if not stopped and self._left == 0:
            text += self._rest()
            stopped, self.finish_reason = self._stops.found is not None, "length"
        if stopped:
            self.finish_reason = "stop"
        return Piece(text, sampled.token, sampled.logprob, sampled.top)

    def _rest(self) -> str:
        text, stopped = self._stops.push(self._detokenizer.finish())
        return text if stopped else text + self._stops.finish()
