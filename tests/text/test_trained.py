"""Vocabularies trained here by SentencePiece and tokenizers give those libraries' own ids, from every kind of file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import processors
from toy_vocabularies import TEXT, WORDS, byte_level, library_bpe, metadata_of, trained

from heron.text.pretokenizers import PRE_TOKENIZERS
from heron.text.tokenizer import Tokenizer

ALPHABET = st.sampled_from(
    [*sorted(set(WORDS)), " ", "  ", "▁", "a", "aa", "qü", "<user>", "<x>", "é", "ﬁ", "Ⅻ", "\u00a0", "¼", "漢", "\x00"]
)
STRINGS = st.lists(st.one_of(ALPHABET, st.text(max_size=6)), max_size=20).map("".join)
SYMBOLS = "<user>,<x>,fox"
IDENTITY: dict[str, Any] = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False}
MODELS: dict[str, bytes] = {
    "bpe, as llama": trained("bpe", **IDENTITY),
    "bpe, no bytes": trained("bpe", fallback=False, size=400, **IDENTITY),
    "bpe, symbols": trained("bpe", user_defined_symbols=SYMBOLS, **IDENTITY),
    "bpe, normalized": trained("bpe", user_defined_symbols=SYMBOLS),
    "bpe, no prefix": trained("bpe", add_dummy_prefix=False, split_by_whitespace=False, **IDENTITY),
    "unigram": trained("unigram", size=400),
    "unigram, no bytes": trained("unigram", fallback=False, size=300),
    "unigram, plain": trained("unigram", size=400, **IDENTITY),
}


def agrees(tokenizer: Tokenizer, oracle: Any, texts: Any = STRINGS) -> None:
    @settings(max_examples=60, deadline=None)
    @given(texts)
    def check(text: str) -> None:
        assert tokenizer.encode(text, add_special=False) == oracle(text)

    for text in (*TEXT[:5], "", " ", "  ", "a", " a ", "\n"):
        assert tokenizer.encode(text, add_special=False) == oracle(text)
    check()


def without_nul(text: str) -> str:
    """SentencePiece's normalization takes NUL for the end of a rule."""
    return text.replace("\x00", "")


@pytest.mark.parametrize("name", MODELS)
def test_tokenizer_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(MODELS[name])
    tokenizer = Tokenizer.from_file(tmp_path)
    oracle = sentencepiece.SentencePieceProcessor(model_proto=MODELS[name])
    agrees(tokenizer, oracle.encode, STRINGS.map(without_nul))
    assert tokenizer.vocab_size == oracle.vocab_size()
    ids = [id for id in oracle.encode(TEXT[0]) if id != oracle.unk_id()]
    assert tokenizer.decode(ids) == oracle.decode(ids)
    assert tokenizer.encode("fox") in ([oracle.bos_id(), *oracle.encode("fox")], [*oracle.encode("fox"), oracle.eos_id()])


@pytest.mark.parametrize("name", ["bpe, as llama", "bpe, no bytes", "bpe, no prefix", "unigram", "unigram, no bytes", "unigram, plain"])
def test_gguf_of_sentencepiece(name: str) -> None:
    tokenizer = Tokenizer.from_metadata(metadata_of(MODELS[name]))
    oracle = sentencepiece.SentencePieceProcessor(model_proto=MODELS[name])
    agrees(tokenizer, oracle.encode, STRINGS.map(without_nul))


def test_gguf_with_user_defined_tokens() -> None:
    """GGUF's readers find such tokens in the text as it stands, and begin again with a space behind them."""
    tokenizer = Tokenizer.from_metadata(metadata_of(MODELS["bpe, symbols"]))
    oracle = sentencepiece.SentencePieceProcessor(model_proto=MODELS["bpe, symbols"])
    user, x = (oracle.piece_to_id(text) for text in ("<user>", "<x>"))
    assert tokenizer.encode("a dog<user>b<x><x> c", add_special=False) == [
        *oracle.encode("a dog"),
        user,
        *oracle.encode("b"),
        x,
        x,
        *oracle.encode(" c"),
    ]
    assert tokenizer.decode([user, x]) == "<user><x>"


@pytest.mark.parametrize(
    "pre", ["gpt-2", "llama-bpe", "qwen2", "qwen35", "deepseek-v3", "gpt-4o", "command-r", "falcon", "tekken", "default"]
)
def test_gguf_of_byte_level(pre: str) -> None:
    """Trained and encoded with the regexes of a pre-tokenizer; ignore_merges changes nothing in a vocabulary without holes."""
    from tokenizers import Regex, pre_tokenizers

    library = library_bpe()
    steps: list[Any] = [pre_tokenizers.Split(Regex(regex), "isolated") for regex in PRE_TOKENIZERS[pre].regexes]
    oracle = type(library).from_str(library.to_str())
    oracle.pre_tokenizer = pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    model = json.loads(oracle.to_str())
    model["model"]["ignore_merges"] = PRE_TOKENIZERS[pre].ignore_merges
    oracle = type(library).from_str(json.dumps(model))
    agrees(Tokenizer.from_metadata(byte_level(pre)), lambda text: oracle.encode(text).ids)


def test_gpt2_regex_is_the_library_s() -> None:
    library = library_bpe()
    agrees(Tokenizer.from_metadata(byte_level("gpt-2")), lambda text: library.encode(text).ids)


def test_tokenizer_json(tmp_path: Path) -> None:
    library = type(library_bpe()).from_str(library_bpe().to_str())
    library.add_special_tokens(["<s>", "</s>"])
    library.add_tokens(["<user>"])
    ends = [("<s>", library.token_to_id("<s>")), ("</s>", library.token_to_id("</s>"))]
    library.post_processor = processors.TemplateProcessing(single="<s> $A </s>", pair="$A $B", special_tokens=ends)
    from tokenizers import decoders

    library.decoder = decoders.ByteLevel()
    library.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.from_file(tmp_path)
    agrees(tokenizer, lambda text: library.encode(text, add_special_tokens=False).ids, STRINGS)
    text = "<s>the <user> fox</s>"
    assert tokenizer.encode(text, parse_special=True) == library.encode(text).ids
    assert tokenizer.encode("") == library.encode("").ids
    plain = tokenizer.encode(text)
    assert [tokenizer.token(id) for id in plain if tokenizer.is_special(id)] == ["<s>", "</s>"]
    assert tokenizer.decode(plain, skip_special=True) == text
    for row in (library.encode(TEXT[1]).ids, plain):
        assert tokenizer.decode(row) == library.decode(row, skip_special_tokens=False)
        assert tokenizer.decode(row, skip_special=True) == library.decode(row)
    (tmp_path / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}, "add_bos_token": True})
    )
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [ends[1][1], 7]}))
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}")
    tokenizer = Tokenizer.from_file(tmp_path)
    assert tokenizer.encode("a") == library.encode("a").ids[:-1]
    assert (tokenizer.bos, tokenizer.eos, tokenizer.eos_ids) == (ends[0][1], ends[1][1], {ends[1][1], 7})
    assert tokenizer.chat_template == "{{ bos_token }}"
    assert tokenizer.named_tokens["eos_token"] == "</s>"
