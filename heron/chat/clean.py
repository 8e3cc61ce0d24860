"""Text of a model, a file or a clipboard as a terminal may show it: nothing in it is a command to the terminal."""

from __future__ import annotations

import re
import unicodedata

#: Characters that turn the direction of what follows them, so that a line reads otherwise than it is.
_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

_HALF = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """With U+FFFD for halves of characters, which no encoding has."""
    return _HALF.sub("\ufffd", text)


def inert(text: str) -> str:
    """Without control characters but for line ends; a tab is four spaces, and what separates lines ends them."""
    if text.isascii() and text.isprintable():
        return text
    text = text.expandtabs(4).replace("\u2028", "\n").replace("\u2029", "\n")
    return "".join(each for each in text if each == "\n" or (each not in _TURNS and unicodedata.category(each) not in ("Cc", "Cs")))
