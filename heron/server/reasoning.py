"""Reasoning beside answers in chat completions: under both names that clients look for it by, and counted."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from heron.engine.model import Model
from heron.server.answers import Choice, Delta
from heron.text.reasoning import Part, Splitter


def splitter_of(model: Model, prompt: Sequence[int], format: str, constrained: bool) -> Splitter | None:
    """For the answers to a prompt. None leaves all in the content, marks too: where the client wants that (``none``)."""
    return None if format == "none" else model.splitter(prompt, constrained)


class Told:
    """One answer, split as it comes."""

    def __init__(self, choice: Choice) -> None:
        self._splitter = copy(choice.asked.splitter) or Splitter(None)
        self.reasoning_tokens = 0

    def take(self, delta: Delta, last: bool) -> list[Part]:
        begun = self._splitter.reasoning
        parts = self._splitter.push(delta.text)
        if begun or self._splitter.reasoning:
            self.reasoning_tokens += len(delta.pieces)
        return parts + self._splitter.finish() if last else parts

    def whole(self, choice: Choice) -> dict[str, str]:
        """The fields of a message of an answer that has ended."""
        parts = [part for piece in choice.pieces for part in self.take(Delta(piece.text, [piece]), False)]
        parts += self.take(Delta(choice.end.text if choice.end else "", []), True)
        reasoning = "".join(part.text for part in parts if part.reasoning)
        return {"content": "".join(part.text for part in parts if not part.reasoning), **(_named(reasoning) if reasoning else {})}


def fields(part: Part) -> dict[str, str]:
    """What a stream says of it."""
    return _named(part.text) if part.reasoning else {"content": part.text}


def _named(reasoning: str) -> dict[str, str]:
    return {"reasoning_content": reasoning, "reasoning": reasoning}
