"""A constraint on what a model answers, and not on what it thinks before."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from heron.engine.guide import Guide
from heron.engine.sampler import Mask
from heron.errors import RequestError
from heron.text.reasoning import Splitter
from heron.text.stream import Detokenizer


class AfterReasoning:
    """A guide that begins where reasoning ends: until then any token may come but those that end the answer.

    ``splitter`` stands in the midst of reasoning, as it does where a template has opened the block.
    """

    def __init__(self, guide: Guide, splitter: Splitter, detokenizer: Detokenizer) -> None:
        self._guide, self._begin, self._splitter, self._detokenizer = guide, copy(splitter), copy(splitter), detokenizer
        self.what = guide.what

    @property
    def _begun(self) -> bool:
        return not self._splitter.reasoning

    def start(self) -> None:
        if self._begun:
            self._guide.start()

    def mask(self) -> Mask:
        return self._guide.mask() if self._begun else self._guide.all_but_ends

    def accept(self, tokens: Sequence[int]) -> None:
        """Raises RequestError where one token ends the reasoning and begins the answer: nobody could have held it to anything."""
        for token in tokens:
            if self._begun:
                self._guide.accept([token])
            elif not all(part.reasoning for part in self._splitter.push(self._detokenizer.push(token))):
                raise RequestError(f"the answer began within the token that ended the reasoning, so that {self.what} cannot be followed")

    def allowed(self, tokens: Sequence[int]) -> int:
        return self._guide.allowed(tokens) if self._begun else 0

    def forced(self) -> list[int]:
        return self._guide.forced() if self._begun else []

    @property
    def finished(self) -> bool:
        return self._begun and self._guide.finished

    def holds(self, text: str) -> bool:
        """Whether the answer in this text, which begins with the reasoning, is of the language."""
        splitter = copy(self._begin)
        parts = [*splitter.push(text), *splitter.finish()]
        return self._guide.holds("".join(part.text for part in parts if not part.reasoning))
