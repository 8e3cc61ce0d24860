"""Compiled merging against the `tokenizers` library, and arrays of strings against their bytes."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from heron.checkpoint.gguf_header import parse_header
from heron.checkpoint.strings import MANY, Strings
from heron.errors import CheckpointError, TokenizerError
from heron.text.bpe import MergeBPE
from heron.text.gguf_vocabulary import Usable
from heron.text.pretokenizers import PreTokenizer

core = pytest.importorskip("heron._core")

LETTERS = "abcdeé🦜"


def grown(seed: int, fallback: bool) -> tuple[list[str], list[str]]:
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
    dice.shuffle(tokens)
    return tokens, merges


def usable(tokens: list[str], left_out: tuple[str, ...] = ()) -> Usable:
    return Usable(tokens, np.array([token != "<unused>" for token in tokens]), list(left_out))


@pytest.mark.parametrize("ignore_merges", [False, True])
@pytest.mark.parametrize("byte_level", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_merges_are_the_librarys(seed: int, byte_level: bool, ignore_merges: bool) -> None:
    """Whole bytes fall back where the tokens are no spelling of bytes; what is no token is dropped otherwise."""
    tokens, merges = grown(seed, fallback=not byte_level)
    vocabulary = usable(tokens)
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
            MergeBPE(usable(["a", "b", "ab"]), ["a b", "ab"], PreTokenizer(()), compiled=compiled)


def test_a_token_may_begin_with_a_space() -> None:
    pre = PreTokenizer((), byte_level=False)
    for compiled in (True, False):
        made = MergeBPE(usable(["a", "b", " ", " a", " ab", "▁"]), ["  a", " a b"], pre, compiled=compiled)
        assert made("ab b", True) == [0, 1, 5, 1]
        assert made._merges.encode([" ab"]) == [4]


def stored(strings: list[bytes], order: str = "<") -> bytes:
    return b"".join(struct.pack(order + "Q", len(text)) + text for text in strings)


def many(texts: list[str]) -> Strings:
    """As they come out of a file."""
    data = np.frombuffer(stored([text.encode() for text in texts]), np.uint8)
    return Strings(core.Strings.read(data, 0, len(texts), False))


def test_tables_of_a_files_bytes_are_those_of_its_strings() -> None:
    """Of several tokens with one text the first counts; some are not usable, or left out."""
    tokens, merges = grown(3, fallback=False)
    tokens = ["<unused>", *tokens, *tokens[:5], "z"]
    left_out = (tokens[4], "ab")
    given = usable(tokens, left_out)
    in_file = Usable(many(tokens), given.mask, given.left_out)
    pre = PreTokenizer((r"\s+",), byte_level=False)
    expected, made = MergeBPE(given, merges, pre), MergeBPE(in_file, many(merges), pre)
    text = "".join(random.Random(0).choices(LETTERS + "z ", k=3000))
    assert made(text, True) == expected(text, True) == MergeBPE(given, merges, pre, compiled=False)(text, True)
    with pytest.raises(TokenizerError, match=r"merges\[1\] is 'ab'"):
        MergeBPE(in_file, many(["a b", "ab"]), pre)


TEXTS = ["", "a", "größe", "\u0800\uffff\ud7ff\ue000", "🦜\U0010ffff" * 9, "\0", "a"]


@pytest.mark.parametrize("order", "<>")
def test_strings_are_read_in_either_byte_order(order: str) -> None:
    raw = b"..." + stored([text.encode() for text in TEXTS], order) + b"tail"
    found = Strings(core.Strings.read(np.frombuffer(raw, np.uint8), 3, len(TEXTS), order == ">"))
    assert found == TEXTS and list(found) == TEXTS and found != TEXTS[1:] and found == found
    assert (len(found), found.stored_bytes) == (len(TEXTS), len(raw) - 7)
    assert (found[-1], found[2], found[1:3], found.find(["a", "\0", "b"])) == ("a", "größe", TEXTS[1:3], [1, 5, 6])
    with pytest.raises(IndexError):
        found[len(TEXTS)]


NO_UTF8 = [b"\xff", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf0\x80\x80\x80", b"\xe2\x82", b"\x80"]
CUT = [stored([b"ab"])[:-1], struct.pack("<Q", (1 << 64) - 8), b"\1\2"]


@pytest.mark.parametrize("damaged", CUT + [stored([text]) for text in NO_UTF8])
def test_damaged_strings_are_not_read(damaged: bytes) -> None:
    data = np.frombuffer(stored([b"ab"]) + damaged, np.uint8)
    assert core.Strings.read(data, 0, 2, False) is None
    assert core.Strings.read(data, len(data) + 1, 0, False) is None


@pytest.mark.parametrize("count", [5, 2 * MANY])
def test_arrays_of_a_header(count: int) -> None:
    """Few strings are a list, many are Strings; what is damaged is said in words."""
    texts = [f"größe {i}" for i in range(count)]
    metadata = parse_header(np.frombuffer(header([text.encode() for text in texts]), np.uint8), "x").metadata
    assert metadata["some.key"] == texts and metadata.strings("some.key") == texts
    assert isinstance(metadata["some.key"], list) == (count < MANY)
    with pytest.raises(CheckpointError, match="not UTF-8"):
        parse_header(np.frombuffer(header([b"fine"] * (count - 1) + [b"\xff\xfe"]), np.uint8), "x")


def header(strings: list[bytes]) -> bytes:
    key = b"some.key"
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", len(key)) + key
    return head + struct.pack("<IIQ", 9, 8, len(strings)) + stored(strings)
