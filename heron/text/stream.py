"""Tokens to text as they come: whole characters only, and nothing that may yet turn out to be a stop string."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heron.text.tokenizer import Tokenizer


class Detokenizer:
    """Decodes token by token. What all calls return, put together, is ``tokenizer.decode`` of all ids."""

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False, continues: bool = False) -> None:
        """`skip_special` leaves control tokens out; `continues` when text stands before these tokens, so that a leading space stays."""
        self._tokenizer, self._skip_special = tokenizer, skip_special
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = tokenizer.strip_space and not continues

    def push(self, id: int) -> str:
        """The text that this token completes, perhaps none. Raises RequestError for an id outside the vocabulary."""
        if self._skip_special and self._tokenizer.is_special(id):
            return ""
        data = self._tokenizer.token_bytes(id)
        if self._strip and data:
            data, self._strip = data.removeprefix(b" "), False
        return self._decoder.decode(data)

    def finish(self) -> str:
        """What is left: U+FFFD for a character that never came to its end."""
        return self._decoder.decode(b"", final=True)


class StopStrings:
    """Lets text pass up to the first of some strings, and holds back what may be the beginning of one."""

    def __init__(self, stops: Iterable[str]) -> None:
        """Empty strings stop nothing."""
        self._stops = [stop for stop in stops if stop]
        self._longest = max(map(len, self._stops), default=1)
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str) -> tuple[str, bool]:
        """(text to emit, whether a stop string was found). The stop string and what follows it are never emitted."""
        if self.found is not None:
            return "", True
        text = self._held + piece
        # Of the strings that are complete, the one that begins first; of two that begin together, the one given first.
        hits = [(at, order) for order, stop in enumerate(self._stops) if (at := text.find(stop)) >= 0]
        if hits:
            at, order = min(hits)
            self.found, self._held = self._stops[order], ""
            return text[:at], True
        start = max(0, len(text) - self._longest + 1)
        keep = next((at for at in range(start, len(text)) if any(stop.startswith(text[at:]) for stop in self._stops)), len(text))
        self._held = text[keep:]
        return text[:keep], False

    def finish(self) -> str:
        """What was held back, when the text ends without a stop string."""
        text, self._held = self._held, ""
        return text
