"""SentencePiece's two algorithms, and how it prepares text (Kudo and Richardson 2018, https://arxiv.org/abs/1808.06226)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from heapq import heapify, heappop, heappush
from itertools import pairwise

from tokenizers import Tokenizer as Library
from tokenizers import models

from heron.errors import TokenizerError
from heron.text.charsmap import Charsmap
from heron.text.parts import find_tokens

SPACE = "▁"
_CACHED_WORDS, _CACHED_LENGTH = 1 << 16, 64

Segment = Callable[[str], list[int]]


@dataclass(frozen=True)
class Preparation:
    """What is done to text before it is cut.

    charsmap        replacements of characters, compiled by SentencePiece; empty for none
    add_prefix      a space is put before the text, so that its first word looks like any other
    prefix_once     only at the start of a prompt; otherwise also after each special token
    merge_spaces    spaces at both ends are dropped, and runs of them become one
    frozen          tokens that are found in the text before all else (user-defined symbols) -> ids
    """

    charsmap: bytes = b""
    add_prefix: bool = True
    prefix_once: bool = False
    merge_spaces: bool = False
    frozen: Mapping[str, int] | None = None


class SentencePiece:
    """Prepared text, cut by one of the algorithms below."""

    def __init__(self, segment: Segment, preparation: Preparation) -> None:
        """Raises TokenizerError when the charsmap is damaged."""
        self._segment, self._preparation = segment, preparation
        self._normalize: Callable[[str], str] = str
        if preparation.charsmap:
            try:
                self._normalize = Charsmap(preparation.charsmap)
            except ValueError as error:
                raise TokenizerError(f"tokenizer.ggml.precompiled_charsmap is damaged: {error}") from None
        frozen = preparation.frozen or {}
        self._frozen = dict(frozen)
        self._split = find_tokens(frozen)

    def __call__(self, text: str, first: bool) -> list[int]:
        """Ids of text without special tokens; `first` when nothing stands before it in the prompt."""
        parts = self._split.split(text) if self._split else [text]
        parts[::2] = [self._normalize(part) for part in parts[::2]]
        if self._preparation.merge_spaces:
            _merge_spaces(parts)
        if self._preparation.add_prefix and (first or not self._preparation.prefix_once) and any(parts):
            parts[0] = " " + parts[0]
        ids: list[int] = []
        for index, part in enumerate(parts):
            if index % 2:
                ids.append(self._frozen[part])
            elif part:
                ids += self._segment(part.replace(" ", SPACE))
        return ids


def _merge_spaces(parts: list[str]) -> None:
    """Runs of spaces become one and those at both ends go; every second part is a frozen token and stays."""
    space_before = True
    for index in range(0, len(parts), 2):
        part = re.sub(" +", " ", parts[index])
        parts[index] = part = part[1:] if space_before and part.startswith(" ") else part
        shown = part or (parts[index - 1] if index else " ")
        space_before = (parts[index + 1] if index + 1 < len(parts) else shown).endswith((" ", SPACE))
    parts[-1] = parts[-1].rstrip(" ")


class ScoredMerges:
    """BPE without a list of merges: of all neighbours that form a token, the best scored merge first, of equals the leftmost."""

    def __init__(
        self, scores: Mapping[str, tuple[int, float]], unused: Iterable[int], unknown: int | None, fallback: Sequence[int]
    ) -> None:
        """
        scores    token -> (id, score)
        unused    ids that serve as steps to longer tokens, and are taken apart again at the end
        unknown   what an unknown character becomes where there is no fallback; None drops it
        fallback  the ids of the 256 bytes, or none
        """
        self._scores, self._unused = scores, frozenset(unused)
        self._unknown, self._fallback = unknown, fallback
        # Where no token has a space behind another character, nothing merges across a word's start: words can be cut and remembered.
        crossing = re.compile(f"[^{SPACE}]{SPACE}")
        self._words = None if any(crossing.search(token) for token in scores) else re.compile(f"{SPACE}*[^{SPACE}]+|{SPACE}+")
        self._remembered = lru_cache(_CACHED_WORDS)(self._merge)

    def __call__(self, text: str) -> list[int]:
        """Ids of prepared text."""
        words = self._words.findall(text) if self._words else [text]
        ids: list[int] = []
        for word in words:
            found = self._remembered(word) if len(word) <= _CACHED_LENGTH else self._merge(word)
            # Neighbouring unknown characters are one unknown token, over the borders of words too.
            ids += found[1:] if ids and found and ids[-1] == found[0] == self._unknown and not self._fallback else found
        return ids

    def _merge(self, word: str) -> tuple[int, ...]:
        scores = self._scores
        symbols: list[str] = list(word)
        following = [*range(1, len(symbols)), -1]
        preceding = list(range(-1, len(symbols) - 1))
        made_of: dict[str, tuple[str, str]] = {}
        queue = [(-scores[a + b][1], i, a + b) for i, (a, b) in enumerate(pairwise(symbols)) if a + b in scores]
        heapify(queue)
        while queue:
            _, left, merged = heappop(queue)
            right = following[left]
            # An entry is stale when one of its halves has merged with another neighbour since.
            if not symbols[left] or right < 0 or symbols[left] + symbols[right] != merged:
                continue
            made_of[merged] = (symbols[left], symbols[right])
            symbols[left], symbols[right] = merged, ""
            after, before = following[right], preceding[left]
            following[left] = after
            if after >= 0:
                preceding[after] = left
                self._propose(queue, left, merged + symbols[after])
            if before >= 0:
                self._propose(queue, before, symbols[before] + merged)
        ids: list[int] = []
        for symbol in symbols:
            if symbol:
                self._append(ids, symbol, made_of)
        return tuple(ids)

    def _propose(self, queue: list[tuple[float, int, str]], left: int, merged: str) -> None:
        if merged in self._scores:
            heappush(queue, (-self._scores[merged][1], left, merged))

    def _append(self, ids: list[int], symbol: str, made_of: Mapping[str, tuple[str, str]]) -> None:
        known = self._scores.get(symbol)
        if known and not (known[0] in self._unused and symbol in made_of):
            ids.append(known[0])
        elif symbol in made_of:
            for half in made_of[symbol]:
                self._append(ids, half, made_of)
        elif self._fallback:
            ids += [self._fallback[byte] for byte in symbol.encode()]
        elif self._unknown is not None and ids[-1:] != [self._unknown]:
            ids.append(self._unknown)


class Unigram:
    """The likeliest way to cut a text, each token's score being its log-probability (Kudo 2018, https://arxiv.org/abs/1804.10959)."""

    def __init__(self, pieces: Sequence[tuple[str, float]], unknown: int, fallback: Sequence[int]) -> None:
        """
        pieces    one (token, score) for each id; an empty token is never found
        unknown   what characters become that are in no token
        fallback  the ids of the 256 bytes, which they become instead, or none
        """
        self._library = Library(models.Unigram(vocab=list(pieces), unk_id=unknown, byte_fallback=False))
        self._unknown, self._fallback = unknown, fallback

    def __call__(self, text: str) -> list[int]:
        """Ids of prepared text."""
        found = self._library.encode(text)
        ids: list[int] = found.ids
        if not self._fallback or self._unknown not in ids:
            return ids
        spelled: list[int] = []
        for id, (start, stop) in zip(ids, found.offsets, strict=True):
            spelled += [id] if id != self._unknown else [self._fallback[byte] for byte in text[start:stop].encode()]
        return spelled
