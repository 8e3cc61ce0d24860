"""Compiled merging against the `tokenizers` library, and arrays of strings against their bytes."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from heron.checkpoint.gguf_header import parse_header
from heron.errors import CheckpointError, TokenizerError
from heron.text.bpe import MergeBPE
from heron.text.pretokenizers import PreTokenizer

core = pytest.importorskip("heron._core")

LETTERS = "abcdeé🦜"


def grown(seed: int, fallback: bool) -> tuple[dict[str, int], list[str]]:
    """A vocabulary and merges that make its tokens, and others that cannot apply."""
    dice = random.Random(seed)
    tokens = list(LETTERS[:-1]) + ([f"<0x{byte:02X}>" for byte in range(256)] if fallback else [])
    parts, merges = list(LETTERS[:-1]), []
    for _ in range(60):
        left, right = dice.choice(parts), dice.choice(parts)
        merges.append(f"{left} {right}")
        if dice.random() < 0.9 and len(left + right) < 12:
            tokens.append(left + right)
            parts.append(left + right)
    ids = list(range(len(tokens)))
    dice.shuffle(ids)
    return dict(zip(reversed(tokens), ids, strict=True)), merges


@pytest.mark.parametrize("ignore_merges", [False, True])
@pytest.mark.parametrize("byte_level", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_merges_are_the_librarys(seed: int, byte_level: bool, ignore_merges: bool) -> None:
    """Whole bytes fall back where the tokens are no spelling of bytes; what is no token is dropped otherwise."""
    vocabulary, merges = grown(seed, fallback=not byte_level)
    pre = PreTokenizer((r"\s+",), ignore_merges=ignore_merges, byte_level=byte_level)
    compiled = MergeBPE(vocabulary, merges, pre)
    library = MergeBPE(vocabulary, merges, pre, compiled=False)
    dice, seen = random.Random(seed), set()
    for length in [1, 2, 3, 5, 8, 13, 40, 3000]:
        for _ in range(20 if length < 100 else 1):
            text = "".join(dice.choices(LETTERS + "z ", weights=[9] * 6 + [1, 1, 2], k=length))
            ids = library(text, True)
            assert compiled(text, True) == ids
            seen |= set(ids)
    assert len(seen) > len(LETTERS) + 5  # merges did apply


def test_a_merge_without_two_parts_is_named() -> None:
    for compiled in (True, False):
        with pytest.raises(TokenizerError, match=r"merges\[1\] is 'ab'"):
            MergeBPE({"a": 0, "b": 1, "ab": 2}, ["a b", "ab"], PreTokenizer(()), compiled=compiled)


def test_a_token_may_begin_with_a_space() -> None:
    pre = PreTokenizer((), byte_level=False)
    for compiled in (True, False):
        made = MergeBPE({"a": 0, "b": 1, " ": 2, " a": 3, " ab": 4, "▁": 5}, ["  a", " a b"], pre, compiled=compiled)
        assert made("ab b", True) == [0, 1, 5, 1]
        assert made._merges.encode([" ab"]) == [4]


def stored(strings: list[bytes], order: str) -> bytes:
    return b"".join(struct.pack(order + "Q", len(text)) + text for text in strings)


@pytest.mark.parametrize("order", "<>")
def test_strings_are_read_in_either_byte_order(order: str) -> None:
    texts = ["", "a", "größe", "🦜" * 50, "\0"]
    raw = b"..." + stored([text.encode() for text in texts], order) + b"tail"
    data = np.frombuffer(raw, np.uint8)
    assert core.read_strings(data, 3, len(texts), order == ">") == (texts, len(raw) - 4)
    assert core.read_strings(data, 3, 0, order == ">") == ([], 3)


@pytest.mark.parametrize("raw", [stored([b"ab"], "<")[:-1], stored([b"ab", b"\xff"], "<"), struct.pack("<Q", 1 << 63), b"\1\2"])
def test_damaged_strings_are_not_read(raw: bytes) -> None:
    data = np.frombuffer(raw, np.uint8)
    assert core.read_strings(data, 0, 2, False) is None
    assert core.read_strings(data, len(raw) + 1, 0, False) is None


def test_what_is_damaged_is_said_by_the_header() -> None:
    key = b"some.key"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 8, 2)
    with pytest.raises(CheckpointError, match="not UTF-8"):
        parse_header(np.frombuffer(head + stored([b"fine", b"\xff\xfe"], "<"), np.uint8), "x")
