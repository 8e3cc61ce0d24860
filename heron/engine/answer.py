"""One answer under way: tokens in, pieces of text out, until something ends it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heron.engine.after_reasoning import AfterReasoning
from heron.engine.generation import Piece
from heron.engine.grammars import Grammars
from heron.engine.guide import Guide
from heron.engine.plain import Plain
from heron.engine.sampled import Sampled
from heron.engine.sampler import Mask, make_sampler
from heron.engine.sampling import SamplingParams
from heron.errors import RequestError
from heron.text.reasoning import Splitter
from heron.text.stream import Detokenizer, StopStrings


class Answer:
    """Samples, detokenizes and watches for the end: an end-of-turn token, a stop string, ``room`` or ``max_tokens`` used up.

    With a constraint it also ends where nothing can follow. What ends for another reason than ``length`` satisfies it, or
    ``take`` raises.

    ``prompt`` is what decoding continues; ``continues`` says that its text goes on, so that a leading space stays.
    ``splitter``, where it stands in the midst of reasoning, says where the constraint begins to hold.
    ``sample`` counts the answers with one seed. ``plain`` is what a device needs to choose the tokens in the sampler's place, if it can.
    ``finish_reason`` is empty until the answer has ended. Raises RequestError for token ids outside the vocabulary.
    """

    def __init__(
        self,
        grammars: Grammars,
        params: SamplingParams,
        prompt: list[int],
        room: int,
        continues: bool,
        sample: int = 0,
        splitter: Splitter | None = None,
    ) -> None:
        tokenizer = grammars.tokenizer
        rules = grammars.rules.of(params)
        self._guide: Guide | AfterReasoning | None = None
        if params.constraint is not None:
            self._guide = guide = grammars.guide(params.constraint, rules.ends)
            if splitter is not None and splitter.reasoning:
                self._guide = AfterReasoning(guide, splitter, Detokenizer(tokenizer, continues=True))
        self.sampler = make_sampler(params, sample, rules)
        self.plain = Plain.of(params, rules, self.sampler.seed, sample)
        self.sampler.accept(prompt)
        self._detokenizer, self._stops = Detokenizer(tokenizer, continues=continues or self._guide is not None), StopStrings(params.stop)
        self._said: list[str] = []
        self._ends = frozenset(rules.ends)
        self._left = room if params.max_tokens is None else min(params.max_tokens, room)
        self.position = len(prompt)
        self._prompt_length = len(prompt)
        self.finish_reason = "" if self._left > 0 else "length"
        self._prepare()

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
        """Which tokens may come next; None: any. Raises RequestError where the constraint's grammar fails."""
        return None if self._guide is None else self._guide.mask()

    def allowed(self, tokens: Sequence[int]) -> int:
        """How many of these tokens, one after the other, the constraint lets come next: what a draft is worth."""
        return len(tokens) if self._guide is None else self._guide.allowed(tokens)

    def forced(self) -> list[int]:
        """The tokens that the constraint leaves no choice of."""
        return [] if self._guide is None else self._guide.forced()

    def _prepare(self) -> None:
        """Have the next mask computed while the model computes the logits."""
        if self._guide is not None and not self.finish_reason:
            self._guide.start()

    def take(self, sampled: Sampled) -> Piece:
        """The piece of a token that was chosen for ``position``. Raises RequestError where the constraint is not kept."""
        self.position += 1
        self._left -= 1
        if sampled.token in self._ends:
            self.finish_reason = "stop"
            return Piece(self._rest(), sampled.token, sampled.logprob, sampled.top, ends=True)
        finished = self._follow(sampled.token)
        text, stopped = self._stops.push(self._detokenizer.push(sampled.token))
        if not stopped and (finished or self._left == 0):
            text += self._rest()
            stopped, self.finish_reason = self._stops.found is not None, "stop" if finished else "length"
        self._said.append(text)
        if stopped:
            self.finish_reason = "stop"
            self._check_cut()
        self._prepare()
        return Piece(text, sampled.token, sampled.logprob, sampled.top)

    def _follow(self, token: int) -> bool:
        """Whether the constraint lets nothing come after this token."""
        if self._guide is None:
            return False
        self._guide.accept([token])
        return self._guide.finished

    def _check_cut(self) -> None:
        if self._guide is not None and not self._guide.holds("".join(self._said)):
            raise RequestError(f"the stop string {self._stops.found!r} came before {self._guide.what} was complete; leave one of them out")

    def _rest(self) -> str:
        text, stopped = self._stops.push(self._detokenizer.finish())
        return text if stopped else text + self._stops.finish()
