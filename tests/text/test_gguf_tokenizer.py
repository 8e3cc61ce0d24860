"""What GGUF metadata say of a tokenizer holds, and what is wrong with them is named."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_vocabularies import byte_level, metadata_of, scored, trained

from heron.errors import HeronError, TokenizerError, UnsupportedError
from heron.text.pretokenizers import PRE_TOKENIZERS
from heron.text.tokenizer import Tokenizer

KEY = "tokenizer.ggml."
SCORED, BYTE_LEVEL, UNIGRAM = scored(), byte_level(), metadata_of(trained("unigram", size=400))
SIZE = len(SCORED[KEY + "tokens"])


def changed(metadata: dict[str, Any], **values: Any) -> dict[str, Any]:
    """The metadata with other values; None takes a key away."""
    result = {**metadata, **{KEY + key: value for key, value in values.items()}}
    return {key: value for key, value in result.items() if value is not None}


MALFORMED: list[tuple[str, dict[str, Any], str]] = [
    ("no model", changed(SCORED, model=None), "model"),
    ("model is a number", changed(SCORED, model=3), "model"),
    ("no tokens", changed(SCORED, tokens=None), "tokens"),
    ("empty tokens", changed(SCORED, tokens=[], scores=[], token_type=[]), "tokens"),
    ("tokens are numbers", changed(SCORED, tokens=np.arange(5)), "tokens"),
    ("tokens are one text", changed(SCORED, tokens="abc"), "tokens"),
    ("tokens of two types", changed(SCORED, tokens=["a", 1]), "tokens"),
    ("no scores", changed(SCORED, scores=None), "scores"),
    ("too few scores", changed(SCORED, scores=[0.0] * (SIZE - 1)), "scores"),
    ("too many scores", changed(SCORED, scores=[0.0] * (SIZE + 1)), "scores"),
    ("scores are texts", changed(SCORED, scores=["a"] * SIZE), "scores"),
    ("scores are a number", changed(SCORED, scores=1.0), "scores"),
    ("a score is no number", changed(SCORED, scores=[float("nan")] * SIZE), "scores"),
    ("too few types", changed(SCORED, token_type=[1] * 3), "token_type"),
    ("types are fractions", changed(SCORED, token_type=[1.5] * SIZE), "token_type"),
    ("types are nested", changed(SCORED, token_type=[[1]] * SIZE), "token_type"),
    ("a byte token is none", changed(SCORED, token_type=[6] * SIZE), "byte token"),
    ("bos outside", changed(SCORED, bos_token_id=SIZE), "bos_token_id"),
    ("eos outside", changed(SCORED, eos_token_id=2**31), "eos_token_id"),
    ("eot outside", changed(SCORED, eot_token_id=SIZE), "eot_token_id"),
    ("padding outside", changed(SCORED, padding_token_id=-7), "padding_token_id"),
    ("bos is a text", changed(SCORED, bos_token_id="<s>"), "bos_token_id"),
    ("bos is a boolean", changed(SCORED, bos_token_id=True), "bos_token_id"),
    ("add_bos is a number", changed(SCORED, add_bos_token=1), "add_bos_token"),
    ("prefix is a text", changed(SCORED, add_space_prefix="yes"), "add_space_prefix"),
    ("no merges", changed(BYTE_LEVEL, merges=None), "merges"),
    ("merges are numbers", changed(BYTE_LEVEL, merges=[1, 2]), "merges"),
    ("empty merges", changed(BYTE_LEVEL, merges=[]), "merges"),
    ("a merge is one token", changed(BYTE_LEVEL, merges=["ab"]), "merges"),
    ("a merge is nothing", changed(BYTE_LEVEL, merges=[""]), "merges"),
    ("a merge has no second half", changed(BYTE_LEVEL, merges=["a "]), "merges"),
    ("merges of another vocabulary", changed(BYTE_LEVEL, merges=["xx yy", "zz ww", "qq jj"]), "merges"),
    ("unknown pre-tokenizer", changed(BYTE_LEVEL, pre="nonsense"), "tokenizer.ggml.pre"),
    ("pre-tokenizer is a number", changed(BYTE_LEVEL, pre=1), "tokenizer.ggml.pre"),
    ("no unknown token", changed(UNIGRAM, unknown_token_id=-1), "unknown_token_id"),
    ("short charsmap", changed(UNIGRAM, precompiled_charsmap=[1, 2]), "precompiled_charsmap"),
    ("wild charsmap", changed(UNIGRAM, precompiled_charsmap=[255] * 64), "precompiled_charsmap"),
    ("charsmap is a text", changed(UNIGRAM, precompiled_charsmap="abc"), "precompiled_charsmap"),
]


@pytest.mark.parametrize(("metadata", "named"), [pytest.param(metadata, named, id=title) for title, metadata, named in MALFORMED])
def test_malformed(metadata: dict[str, Any], named: str) -> None:
    with pytest.raises(TokenizerError, match=named):
        Tokenizer.from_metadata(metadata)


@pytest.mark.parametrize("model", ["plamo2", "hybriddna", "none", "no_vocab", "something"])
def test_unsupported(model: str) -> None:
    with pytest.raises(UnsupportedError, match=model):
        Tokenizer.from_metadata(changed(SCORED, model=model))


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_every_pre_tokenizer(name: str) -> None:
    """Its regexes compile, and no character is lost."""
    tokenizer = Tokenizer.from_metadata(changed(BYTE_LEVEL, pre=name)) if PRE_TOKENIZERS[name].byte_level else None
    for text in (
        "Hello, I'M 12345 wörlds!\n\n  x = {a:  1}\t",
        "漢字かなカナ 한국어 ไทย\u0301 A.B.c 3.14 ...\r\n",
        "HTTPServer's don't  \u3000 “x”",
    ):
        if tokenizer is not None:
            assert tokenizer.decode(tokenizer.encode(text, add_special=False)) == text


@pytest.mark.parametrize(
    ("pre", "text", "words"),
    [
        ("llama-bpe", "I'M 12345 x\n\n y", ["I", "'M", " ", "123", "45", " x", "\n\n", " y"]),
        ("qwen2", "a1234 café", ["a", "1", "2", "3", "4", " café"]),
        ("qwen35", "cafe\u0301s!", ["cafe\u0301s", "!"]),
        ("qwen2", "cafe\u0301s!", ["cafe", "\u0301s", "!"]),
        ("gpt-4o", "HelloWorld's 12345", ["Hello", "World's", " ", "123", "45"]),
        ("tekken", "HelloWorld 12", ["Hello", "World", " ", "1", "2"]),
        ("superbpe", "1234567 and more words", ["1", "234", "567", " and more words"]),
        ("tiny_aya", "x 1234567", ["x", " ", "1", "234", "567"]),
        ("afmoe", "1234567 漢字", ["1", "234", "567", " ", "漢字"]),
        ("kimi-k2", "漢字Hello 世界", ["漢字", "Hello", " ", "世界"]),
        ("deepseek-coder", "a 12\n\nb,", ["a", " ", "1", "2", "\n", "\n", "b", ","]),
        ("command-r", "year 2024", ["year", " ", "2", "0", "2", "4"]),
        ("falcon", "a1234 (b)", ["a", "123", "4", " ", "(", "b", ")"]),
        ("bloom", "one,two three", ["one", ",", "two", " three"]),
        ("laguna", "a\n\nb", ["a", "\n\n", "b"]),
        ("seed-coder", "a!\nb", ["a", "!", "\n", "b"]),
    ],
)
def test_words(pre: str, text: str, words: list[str]) -> None:
    from tokenizers import Regex, pre_tokenizers

    steps = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in PRE_TOKENIZERS[pre].regexes]
    assert [word for word, _ in pre_tokenizers.Sequence(steps).pre_tokenize_str(text)] == words


def test_missing_pre_tokenizer(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tokenizer = Tokenizer.from_metadata(changed(BYTE_LEVEL, pre=None))
    assert "tokenizer.ggml.pre" in caplog.text
    assert tokenizer.encode("a 1234") == Tokenizer.from_metadata(changed(BYTE_LEVEL, pre="default")).encode("a 1234")


def test_ends_of_a_text() -> None:
    def ends(metadata: dict[str, Any]) -> tuple[list[int], list[int]]:
        tokenizer = Tokenizer.from_metadata(metadata)
        assert tokenizer.encode("fox") == [*tokenizer.prefix, *tokenizer.encode("fox", add_special=False), *tokenizer.suffix]
        assert tokenizer.encode("") == [*tokenizer.prefix, *tokenizer.suffix]
        return tokenizer.prefix, tokenizer.suffix

    assert ends(SCORED) == ([1], [])
    assert ends(changed(SCORED, add_bos_token=False, add_eos_token=True)) == ([], [2])
    assert ends(changed(SCORED, bos_token_id=0xFFFFFFFF)) == ([], [])
    assert ends(changed(BYTE_LEVEL, bos_token_id=5, eos_token_id=6)) == ([], [])
    assert ends(changed(BYTE_LEVEL, bos_token_id=5, eos_token_id=6, add_bos_token=True, add_eos_token=True)) == ([5], [6])
    assert ends(changed(BYTE_LEVEL, bos_token_id=5, pre="llama-bpe")) == ([5], [])
    assert ends(changed(BYTE_LEVEL, bos_token_id=5, pre="llama-bpe", add_bos_token=False)) == ([], [])
    assert ends(changed(BYTE_LEVEL, seperator_token_id=7, pre="roberta-bpe")) == ([], [7])
    assert ends(UNIGRAM) == ([], [2])


def special_ids(tokenizer: Tokenizer) -> list[str]:
    return [
        tokenizer.token(id)
        for id in tokenizer.encode("<|im_end|> <s>x</s>", parse_special=True, add_special=False)
        if tokenizer.is_special(id)
    ]


def test_special_tokens_in_text() -> None:
    kinds = list(SCORED[KEY + "token_type"])
    tokenizer = Tokenizer.from_metadata(SCORED)
    assert special_ids(tokenizer) == ["<s>", "</s>"]
    text = "a <s> </s> <unk> b"
    ids = tokenizer.encode(text, add_special=False)
    assert not any(tokenizer.is_special(id) for id in ids)
    assert tokenizer.decode(ids) == text
    # User-defined tokens are found in any text, and unused ones never.
    fox = SCORED[KEY + "tokens"].index("▁fox")
    with_types = [4 if id == fox else kind for id, kind in enumerate(kinds)]
    tokens = ["<fox>" if id == fox else token for id, token in enumerate(SCORED[KEY + "tokens"])]
    defined = Tokenizer.from_metadata(changed(SCORED, tokens=tokens, token_type=with_types))
    assert fox in defined.encode("a<fox>b")
    unused = Tokenizer.from_metadata(changed(SCORED, tokens=tokens, token_type=[5 if id == fox else kind for id, kind in enumerate(kinds)]))
    assert fox not in unused.encode("a<fox>b", parse_special=True)


def test_tokens_that_end_a_turn() -> None:
    def with_tokens(*texts: str, kind: int = 3) -> Tokenizer:
        return Tokenizer.from_metadata(
            changed(
                SCORED,
                tokens=[*SCORED[KEY + "tokens"], *texts],
                scores=[*SCORED[KEY + "scores"], *[0.0] * len(texts)],
                token_type=[*SCORED[KEY + "token_type"], *[kind] * len(texts)],
            )
        )

    def ends(tokenizer: Tokenizer) -> set[str]:
        return {tokenizer.token(id) for id in tokenizer.eos_ids}

    assert ends(with_tokens("<|im_start|>", "<|im_end|>", "<|endoftext|>")) == {"</s>", "<|im_end|>", "<|endoftext|>"}
    assert ends(with_tokens("<|eot_id|>", "<|eom_id|>", "<end_of_turn>")) == {"</s>", "<|eot_id|>", "<|eom_id|>", "<end_of_turn>"}
    assert ends(with_tokens("<|end|>", "<|return|>", "<|call|>")) == {"</s>", "<|return|>", "<|call|>"}
    # A file may call them anything: they end a turn nevertheless, and users cannot write them.
    wrong = with_tokens("<|im_end|>", kind=4)
    assert ends(wrong) == {"</s>", "<|im_end|>"}
    assert not set(wrong.encode("<|im_end|>")) & wrong.eos_ids
    assert wrong.encode("<|im_end|>", parse_special=True)[-1] in wrong.eos_ids
    # Markup that only looks like one does not.
    assert ends(with_tokens("<eos>", kind=4)) == {"</s>"}
    eot = Tokenizer.from_metadata(changed(SCORED, eot_token_id=300))
    assert eot.eos_ids == {2, 300}


def test_unused_tokens_are_taken_apart() -> None:
    """SentencePiece merges on over unused pieces, and splits them again where they are left over."""
    tokens = ["<unk>", "a", "b", "ab", "c", "abc"]
    types, scores = [2, 1, 1, 5, 1, 1], [0.0, -3.0, -3.0, -1.0, -3.0, -2.0]
    tokenizer = Tokenizer.from_metadata(
        {KEY + "model": "llama", KEY + "tokens": tokens, KEY + "token_type": types, KEY + "scores": scores, KEY + "add_space_prefix": False}
    )
    assert tokenizer.encode("abcab", add_special=False) == [5, 1, 2]


def test_the_leftmost_of_equals_merges() -> None:
    tokens = ["<unk>", "a", "aa", "aaa"]
    for scores, ids in (([0.0, -3.0, -1.0, -2.0], [2, 3]), ([0.0] * 4, [3, 2])):
        tokenizer = Tokenizer.from_metadata(
            {
                KEY + "model": "llama",
                KEY + "tokens": tokens,
                KEY + "scores": scores,
                KEY + "add_space_prefix": False,
                KEY + "bos_token_id": -1,
            }
        )
        assert tokenizer.encode("aaaaa") == ids


def test_phi3_drops_spaces_behind_special_tokens() -> None:
    metadata = {**SCORED, "general.name": "Phi-3 mini", KEY + "token_type": list(SCORED[KEY + "token_type"])}
    metadata[KEY + "tokens"] = [*SCORED[KEY + "tokens"], "<|end|>"]
    metadata[KEY + "scores"] = [*SCORED[KEY + "scores"], 0.0]
    metadata[KEY + "token_type"] = [*metadata[KEY + "token_type"], 3]
    tokenizer = Tokenizer.from_metadata(metadata)
    assert tokenizer.encode("<|end|>\n x", parse_special=True) == tokenizer.encode("<|end|>x", parse_special=True)


def test_world_vocabulary() -> None:
    tokens = ["<s>", *(f"\\x{value:02x}" for value in range(256)), "Hello", " w", "\\xc3\\xa9", "\\n\\n", "don\\'t", "\\\\"]
    metadata = {KEY + "model": "rwkv", KEY + "tokens": tokens, KEY + "token_type": [3] + [1] * (len(tokens) - 1)}
    tokenizer = Tokenizer.from_metadata(metadata)
    text = "Hello wé\n\n don't \\ 🦜"
    ids = tokenizer.encode(text)
    assert [tokenizer.token(id) for id in ids[:4]] == ["Hello", " w", "\\xc3\\xa9", "\\n\\n"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.token_bytes(1 + 0xC3) == b"\xc3"


def test_arrays_may_be_of_numpy() -> None:
    metadata = changed(
        SCORED, scores=np.array(SCORED[KEY + "scores"], np.float32), token_type=np.array(SCORED[KEY + "token_type"], np.int32)
    )
    assert Tokenizer.from_metadata(metadata).encode("the fox") == Tokenizer.from_metadata(SCORED).encode("the fox")


def test_odd_padding_ids(shared: Path) -> None:
    odd = Tokenizer.from_file(shared / "data/stories/stories260Ktok512.gguf")
    plain = Tokenizer.from_file(shared / "data/stories/stories260K-f32.gguf")
    assert odd.vocab_size == plain.vocab_size == 512
    assert odd.encode("Once upon a time") == plain.encode("Once upon a time") == [1, 403, 407, 261, 378]
    assert "pad_token" not in odd.named_tokens


def test_lone_surrogates() -> None:
    for metadata in (SCORED, BYTE_LEVEL, UNIGRAM):
        with pytest.raises(HeronError, match="surrogate at character 1"):
            Tokenizer.from_metadata(metadata).encode("a\ud83d")
