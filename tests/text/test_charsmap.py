"""Compiled replacements of characters are applied as SentencePiece applies them."""

from __future__ import annotations

import random

import pytest
import sentencepiece
from toy_vocabularies import trained

from heron.text.charsmap import Charsmap
from heron.text.sentencepiece_model import read_sentencepiece

#: Scripts, marks that combine, compatibility forms, and some of what lies beyond 16 bits.
CHARACTERS = [chr(c) for c in (*range(1, 0x3400), *range(0xA000, 0xAC80), *range(0xF900, 0x10000), *range(0x1D400, 0x1D7FF))]


@pytest.mark.parametrize("rules", ["nmt_nfkc", "nfkc", "nmt_nfkc_cf", "nfkc_cf"])
def test_every_character_and_mixtures_of_them(rules: str) -> None:
    model = trained("unigram", size=400, normalization_rule_name=rules, remove_extra_whitespaces=False, add_dummy_prefix=False)
    ours, theirs = Charsmap(read_sentencepiece(model, "trained").charsmap), sentencepiece.SentencePieceNormalizer(model_proto=model)
    chance = random.Random(7)
    texts = [f"a{character}b" for character in CHARACTERS] + ["".join(chance.choices(CHARACTERS, k=8)) for _ in range(3000)]
    wrong = [text for text in texts if ours(text).replace(" ", "▁") != theirs.normalize(text).replace(" ", "▁")]
    assert not wrong


@pytest.mark.parametrize("data", [b"", b"\x01\0\0", b"\x04\0\0\0", b"\x03\0\0\0abcd", b"\0\0\0\0abcd", b"\xff" * 64])
def test_damage_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|trie"):
        Charsmap(data)


def test_a_wild_trie_ends() -> None:
    chance = random.Random(3)
    for _ in range(50):
        Charsmap(b"\0\x04\0\0" + chance.randbytes(0x400) + b"abc\0")("Text with é and 漢, twice")
