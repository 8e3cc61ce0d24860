"""Keeps text that looks like a special token from being one."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from heron.text.parts import find_tokens


class SpecialGuard:
    """Puts a private-use character into what looks like a special token; `Tokenizer.encode(..., guard=...)` takes it out again."""

    def __init__(self, special: Iterable[str]) -> None:
        texts = [text for text in special if text]
        self._whole = find_tokens(texts)
        # A text may end with the beginning of a token, and what a template puts behind it may be the rest.
        beginnings = {text[:size] for text in texts for size in range(1, len(text))}
        self._beginning = re.compile(f"(?:{find_tokens(beginnings).pattern})\\Z") if beginnings else None  # type: ignore[union-attr]

    def needed(self, texts: Iterable[str]) -> str:
        """A character that none of the texts has, or nothing when none of them holds a special token or ends with a part of one."""
        texts = list(texts)
        if not any(self._suspicious(text) for text in texts):
            return ""
        used = set().union(*texts)
        return next(chr(code) for code in range(0xF8FF, 0xDFFF, -1) if chr(code) not in used)

    def protect(self, text: str, guard: str) -> str:
        """The text with `guard` inside every special token in it, and behind a part of one at its end."""
        if self._whole:
            # Overlapping ones too: after a first character that is cut off, the rest may hold another.
            at, found = 0, self._whole.search(text)
            while found:
                at = found.start() + 1
                text = text[:at] + guard + text[at:]
                found = self._whole.search(text, at)
        return text + guard if self._beginning and self._beginning.search(text) else text

    def _suspicious(self, text: str) -> bool:
        return bool((self._whole and self._whole.search(text)) or (self._beginning and self._beginning.search(text)))


def strings(value: Any) -> Iterator[str]:
    """All texts in nested plain data, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from strings(item)


def plain(value: Any, text: Callable[[str], str] = str) -> Any:
    """A copy made of JSON's types alone, each text but the keys passed through `text`; other objects become their type's name."""
    if isinstance(value, str):
        return text(str.__str__(value))
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {(str.__str__(key) if isinstance(key, str) else key): plain(item, text) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item, text) for item in value]
    return f"<{type(value).__name__}>"
