"""RWKV's "world" vocabulary: tokens are byte strings, and the longest that fits is taken."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_ESCAPE = re.compile(rb"\\(x[0-9a-fA-F]{2}|.)", re.DOTALL)
_NAMED = {b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def unescaped(token: str) -> bytes:
    """The bytes of a token that is written as Python writes byte strings, without their quotes."""

    def one(match: re.Match[bytes]) -> bytes:
        code = match[1]
        return bytes([int(code[1:], 16)]) if len(code) == 3 else _NAMED.get(code, code)

    return _ESCAPE.sub(one, token.encode())


class Greedy:
    """Longest match, from left to right, over bytes."""

    def __init__(self, pieces: Mapping[bytes, int], unknown: Sequence[int]) -> None:
        """`unknown` holds what a byte becomes that no token begins with."""
        self._pieces, self._unknown = pieces, list(unknown)
        # By first two bytes, the lengths to try, longest first.
        lengths: dict[bytes, set[int]] = {}
        for piece in pieces:
            lengths.setdefault(piece[:2], set()).add(len(piece))
        self._lengths = {start: sorted(found, reverse=True) for start, found in lengths.items()}

    def __call__(self, text: str, first: bool) -> list[int]:
        """Ids of text without special tokens."""
        data, at, ids = text.encode(), 0, []
        while at < len(data):
            for length in (*self._lengths.get(data[at : at + 2], ()), 1):
                id = self._pieces.get(data[at : at + length])
                if id is not None:
                    ids.append(id)
                    at += length
                    break
            else:
                ids += self._unknown
                at += 1
        return ids
