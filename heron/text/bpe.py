"""Byte-pair encoding by a list of merges, on the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tokenizers import Regex, models, pre_tokenizers
from tokenizers import Tokenizer as Library

from heron.errors import TokenizerError
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

    def __init__(self, vocabulary: Mapping[str, int], merges: Sequence[str], pre: PreTokenizer) -> None:
        """`vocabulary` holds the tokens that text may become; `merges` pairs "left right", best first.

        A pair that names no token, or makes none, can never apply and is left out.
        Raises TokenizerError when an entry of `merges` is not a pair, or too few of them fit the vocabulary.
        """
        pairs = [_halves(rank, merge) for rank, merge in enumerate(merges)]
        usable = {pair: None for pair in pairs if pair[0] in vocabulary and pair[1] in vocabulary and pair[0] + pair[1] in vocabulary}
        if len(usable) < len(merges) // 2:
            raise TokenizerError(
                f"only {len(usable)} of {len(merges)} tokenizer.ggml.merges fit tokenizer.ggml.tokens; the file mixes two vocabularies"
            )
        self._library = Library(
            models.BPE(vocab=dict(vocabulary), merges=list(usable), ignore_merges=pre.ignore_merges, byte_fallback=not pre.byte_level)
        )
        steps: list[pre_tokenizers.PreTokenizer] = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in pre.regexes]
        if pre.byte_level:
            steps.append(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False))
        self._escape_spaces = not pre.byte_level
        self._library.pre_tokenizer = pre_tokenizers.Sequence(steps)

    def __call__(self, text: str, first: bool) -> list[int]:
        """Ids of text without special tokens."""
        ids: list[int] = self._library.encode(text.replace(" ", "▁") if self._escape_spaces else text).ids
        return ids


def _halves(rank: int, merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    if not left:
        # A token that begins with a space is written as it is, and the separator is the next one.
        left, _, right = merge[1:].partition(" ")
        left = " " + left
    if not right:
        raise TokenizerError(
            f"tokenizer.ggml.merges[{rank}] is {merge[:40]!r}, not two tokens and a space between; convert the model again"
        )
    return left, right
