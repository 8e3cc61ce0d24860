"""A text cut into windows that a model reads one by one, each from an empty context."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from heron.engine.model import Model
from heron.errors import RequestError

#: Tokens of a window, where nothing else is asked: what published perplexities of quantized models use.
WINDOW = 512


@dataclass(frozen=True)
class Window:
    """Tokens of a text; those from ``begin`` on are predicted, each from all before it."""

    tokens: tuple[int, ...]
    begin: int

    @property
    def scored(self) -> int:
        """How many tokens are predicted."""
        return len(self.tokens) - self.begin


def windows(model: Model, text: str, length: int = WINDOW, most: int | None = None) -> list[Window]:
    """The text in windows of ``length`` tokens that do not overlap, ``most`` of them at most; the end that fills none is left out.

    Where the model's prompts begin with a token (BOS), it takes the first place of every window. The second half of each window is
    predicted, so that every prediction has at least half a window before it (the way in which llama.cpp takes perplexity, whose
    figures these can be held beside). A text that is shorter than a window is one. Raises RequestError for one that is too short, or
    a length that the context does not hold.
    """
    if length < 4:
        raise RequestError(f"a window of {length} tokens is too short; 4 is the least")
    if length > model.context_length:
        raise RequestError(f"windows of {length} tokens do not fit in the context of {model.context_length}; ask for shorter ones")
    ids = model.tokenizer.encode(text)
    first = tuple(model.tokenizer.prefix[:1])
    if len(ids) < 4:
        raise RequestError(f"the text has {len(ids)} tokens; at least 4 are needed")
    length = min(length, len(ids))
    count = len(ids) // length
    if most is not None:
        if most < 1:
            raise RequestError(f"{most} windows are asked for; at least 1 is needed")
        count = min(count, most)
    return [Window(_opened(ids[i * length : (i + 1) * length], first), length // 2 + 1) for i in range(count)]


def _opened(ids: Sequence[int], first: tuple[int, ...]) -> tuple[int, ...]:
    return (*first, *ids[len(first) :])
