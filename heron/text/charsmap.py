"""SentencePiece's compiled replacements of characters (``precompiled_charsmap``).

Layout: the size of a trie in bytes (u32), the trie, and the replacements, each ended by a NUL. The trie is a double array of
u32 (Yata 2008; https://github.com/s-yata/darts-clone): a unit has an 8-bit label, a mark for an ending and the distance to
its children; under an ending lies the place of the replacement.
"""

from __future__ import annotations

import re
import struct

_PRINTABLE = range(0x20, 0x7F)
#: Rules are a few characters long; a damaged trie must not be walked for as long as the text is.
_LONGEST = 128


class Charsmap:
    """At each place of a text the longest rule that begins there is applied, else the character stays."""

    def __init__(self, data: bytes) -> None:
        """Raises ValueError when `data` is damaged."""
        if len(data) < 4:
            raise ValueError("it is shorter than its header")
        (size,) = struct.unpack_from("<I", data)
        if size % 4 or not 0 < size <= len(data) - 4:
            raise ValueError(f"a trie of {size} bytes in {len(data)}")
        self._units = struct.unpack_from(f"<{size // 4}I", data, 4)
        self._replacements = data[4 + size :] + b"\0"
        # Where no rule is of printable ASCII alone, or begins with two such characters, text of them is copied in runs.
        pairs = [bytes((a, b)) for a in _PRINTABLE for b in _PRINTABLE]
        plain = not any(known == 2 or length for known, length, _ in map(self._walk, pairs))
        self._run = re.compile(rb"[\x20-\x7e]+(?=[\x20-\x7e]|\Z)") if plain else re.compile(rb"(?!)")

    def __call__(self, text: str) -> str:
        """The text, normalized."""
        data, at, pieces = text.encode("utf-8", "replace"), 0, []
        while at < len(data):
            if run := self._run.match(data, at):
                pieces.append(run[0])
                at = run.end()
                continue
            _, length, place = self._walk(data[at : at + _LONGEST])
            if length:
                pieces.append(self._replacements[place : self._replacements.find(0, place)])
            else:
                length = _length(data[at])
                pieces.append(data[at : at + length])
            at += length
        return b"".join(pieces).decode("utf-8", "replace")

    def _walk(self, key: bytes) -> tuple[int, int, int]:
        """How many bytes of `key` begin some rule; the length of the longest rule that begins `key`, or 0, and its replacement's place."""
        units, length, place = self._units, 0, 0
        node = _children(units[0])
        for known, byte in enumerate(key):
            node ^= byte
            # A label's unit has its highest bit clear; those that hold a place have it set.
            if node >= len(units) or units[node] & 0x800000FF != byte:
                return known, length, place
            unit = units[node]
            node ^= _children(unit)
            if unit >> 8 & 1 and node < len(units):
                length, place = known + 1, units[node] & 0x7FFFFFFF
        return len(key), length, place


def _children(unit: int) -> int:
    """What a node's place is combined with, by exclusive or, to give the block of its children."""
    return unit >> 10 << ((unit & 0x200) >> 6)


def _length(first: int) -> int:
    """Bytes of the UTF-8 character that begins with `first`."""
    return 1 if first < 0x80 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4
