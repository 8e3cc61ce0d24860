"""Byte-pair encoding by a list of merges: compiled (csrc/merges.h), or on the `tokenizers` library where no core is.

The compiled tables of a vocabulary of 128 thousand tokens are made in a fraction of the time that the library's take.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from heron.checkpoint.strings import Strings
from heron.compiled import core
from heron.errors import TokenizerError
from heron.text.gguf_vocabulary import Usable
from heron.text.pretokenizers import PreTokenizer


def _byte_characters() -> dict[int, str]:
    """GPT-2's spelling of bytes: printable characters of Latin-1 stand for themselves, the others follow from U+0100 on."""
    table, spare = {}, 256
    for byte in range(256):
        if 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174:
            table[byte] = chr(byte)
        else:
            table[byte] = chr(spare)
            spare += 1
    return table


BYTE_CHARACTERS: dict[int, str] = _byte_characters()
_BYTES: dict[str, int] = {char: byte for byte, char in BYTE_CHARACTERS.items()}


def spelled_bytes(token: str) -> bytes:
    """The bytes that a token of a byte-level vocabulary spells; characters outside the table stand for themselves, as UTF-8."""
    try:
        return bytes([_BYTES[char] for char in token])
    except KeyError:
        return b"".join(bytes([_BYTES[char]]) if char in _BYTES else char.encode() for char in token)


class MergeBPE:
    """Cuts text into words as its pre-tokenizer says and merges each by rank."""

    def __init__(self, vocabulary: Usable, merges: Sequence[str], pre: PreTokenizer, *, compiled: bool = True) -> None:
        """`vocabulary` holds the tokens that text may become; `merges` pairs "left right", best first.

        A pair that names no token, or makes none, can never apply and is left out. The library merges where the core is
        not `compiled`. Raises TokenizerError when an entry of `merges` is not a pair, or too few of them fit the vocabulary.
        """
        steps: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in pre.regexes]
        if pre.byte_level:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        self._escape_spaces = not pre.byte_level
        self._cut = pre_tokenizers.Sequence(steps)
        self._merges = _Compiled(vocabulary, merges, pre) if compiled and core else _Library(vocabulary, merges, pre)
        if len(self._merges) < len(merges) // 2:
            fit = f"only {len(self._merges)} of {len(merges)} tokenizer.ggml.merges fit tokenizer.ggml.tokens"
            raise TokenizerError(f"{fit}; the file mixes two vocabularies")

    def __call__(self, text: str, first: bool) -> list[int]:
        """Ids of text without special tokens."""
        words = self._cut.pre_tokenize_str(text.replace(" ", "▁") if self._escape_spaces else text)
        return self._merges.encode([word for word, _ in words])


class _Compiled:
    """Merges words with the core."""

    def __init__(self, vocabulary: Usable, merges: Sequence[str], pre: PreTokenizer) -> None:
        tokens, options = vocabulary.tokens, (pre.ignore_merges, not pre.byte_level)
        try:
            if isinstance(tokens, Strings) and isinstance(merges, Strings):
                self._merges = core.Merges(tokens.stored, vocabulary.mask.view(np.uint8), vocabulary.left_out, merges.stored, *options)
            else:
                self._merges = core.Merges(vocabulary.ids(), list(merges), *options)
        except IndexError as error:
            raise _no_pair(int(str(error)), merges) from None

    def __len__(self) -> int:
        return len(self._merges)

    def encode(self, words: list[str]) -> list[int]:
        ids: list[int] = self._merges.encode(words)
        return ids


class _Library:
    """Merges words with the `tokenizers` library."""

    def __init__(self, usable_tokens: Usable, merges: Sequence[str], pre: PreTokenizer) -> None:
        vocabulary = usable_tokens.ids()
        pairs = [_halves(rank, merges) for rank in range(len(merges))]
        usable = {pair: None for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary and pair[0] + pair[1] in vocabulary}
        self._count = len(usable)
        model = models.BPE(vocab=vocabulary, merges=list(usable), ignore_merges=pre.ignore_merges, byte_fallback=not pre.byte_level)
        self._library = Library(model)

    def __len__(self) -> int:
        return self._count

    def encode(self, words: list[str]) -> list[int]:
        ids: list[int] = self._library.encode(words, is_pretokenized=True).ids
        return ids


def _halves(rank: int, merges: Sequence[str]) -> tuple[str, str]:
    left, _, right = merges[rank].partition(" ")
    if not left:
        # A token that begins with a space is written as it is, and the separator is the next one.
        left, _, right = merges[rank][1:].partition(" ")
        left = " " + left
    if not right:
        raise _no_pair(rank, merges)
    return left, right


def _no_pair(rank: int, merges: Sequence[str]) -> TokenizerError:
    what = f"tokenizer.ggml.merges[{rank}] is {merges[rank][:40]!r}, not two tokens and a space between"
    return TokenizerError(f"{what}; convert the model again")
