"""HF folders: damaged files are named, and what stands beside tokenizer.json counts."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_vocabularies import library_bpe, trained

from heron.errors import TokenizerError, UnsupportedError
from heron.text.sentencepiece_model import read_sentencepiece
from heron.text.tokenizer import Tokenizer


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"tokenizer\.json or tokenizer\.model"):
        Tokenizer.from_file(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"model": 1}', '{"model": {"type": "BPE", "vocab": {}, "merges": []}}', "\ud83d"])
def test_damaged_json(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        Tokenizer.from_file(tmp_path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tokenizer_config.json", "["),
        ("tokenizer_config.json", "[]"),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"a": {"content": "x"}}}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"1": {}}}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": [1]}'),
        ("added_tokens.json", '{"x": "y"}'),
        ("special_tokens_map.json", "1"),
        ("generation_config.json", "nothing"),
    ],
)
def test_damaged_neighbours(tmp_path: Path, name: str, text: str) -> None:
    library_bpe().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / name).write_text(text)
    with pytest.raises(TokenizerError, match=name.replace(".", r"\.")):
        Tokenizer.from_file(tmp_path)


def test_unsupported_decoder(tmp_path: Path) -> None:
    described = json.loads(library_bpe().to_str())
    described["decoder"] = {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "|", "cleanup": True}
    (tmp_path / "tokenizer.json").write_text(json.dumps(described))
    with pytest.raises(UnsupportedError, match="CTC"):
        Tokenizer.from_file(tmp_path)


def test_added_tokens_of_the_neighbours(tmp_path: Path) -> None:
    library = library_bpe()
    size = library.get_vocab_size()
    library.save(str(tmp_path / "tokenizer.json"))
    added = {str(size): {"content": "<|im_end|>", "special": True}, str(size + 1): {"content": "<tool>", "special": False}}
    templates = [{"name": "default", "template": "a"}, {"name": "rag", "template": "b"}]
    config = {"added_tokens_decoder": added, "eos_token": "<|im_end|>", "chat_template": templates}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.from_file(tmp_path)
    assert tokenizer.vocab_size == size + 2
    assert tokenizer.eos == size
    assert tokenizer.encode("<tool>") == [size + 1]
    assert size not in tokenizer.encode("<|im_end|>")
    assert tokenizer.encode("<|im_end|>", parse_special=True) == [size]
    assert (tokenizer.chat_template, dict(tokenizer.chat_templates)) == ("a", {"rag": "b"})


def test_added_tokens_beside_tokenizer_model(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(trained("bpe"))
    plain = Tokenizer.from_file(tmp_path)
    size = plain.vocab_size
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<|im_start|>": size, "<|im_end|>": size + 2}))
    tokenizer = Tokenizer.from_file(tmp_path)
    assert tokenizer.vocab_size == size + 3
    assert tokenizer.encode("<|im_start|>fox", add_special=False)[0] == size
    assert tokenizer.eos_ids == {plain.eos, size + 2}
    assert tokenizer.token_bytes(size + 1) == b""


MODEL = trained("bpe")


def test_foreign_tokenizer_model() -> None:
    for data in (b"", b"not a model", MODEL[:1000], b"\x0a\xff\xff\xff\xff\x0f", b"\x08" + b"\xff" * 11):
        with pytest.raises(TokenizerError, match=r"tokenizer\.model"):
            read_sentencepiece(data, "tokenizer.model")


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, len(MODEL) - 1), changes=st.lists(st.tuples(st.integers(0, len(MODEL) - 1), st.integers(0, 255)), max_size=4))
def test_damaged_tokenizer_model(cut: int, changes: list[tuple[int, int]]) -> None:
    """Cut off anywhere, or with changed bytes, it is read or refused."""
    data = bytearray(MODEL)
    for at, value in changes:
        data[at] = value
    for damaged in (bytes(data), MODEL[:cut]):
        with contextlib.suppress(TokenizerError):
            model = read_sentencepiece(damaged, "tokenizer.model")
            assert len(model.tokens) == len(model.scores) == len(model.kinds)


def test_transformers_agrees(shared: Path) -> None:
    """On text that the two ways to put a space before the first word do not tell apart."""
    transformers = pytest.importorskip("transformers")
    folder = shared / "data/tinystories-656K"
    tokenizer, oracle = Tokenizer.from_file(folder), transformers.AutoTokenizer.from_pretrained(folder)
    for text in ("Once upon a time", 'Lily said: "Hello!"\nTom ran.', "a  b   c", "<|end_story|>", ""):
        ids = oracle(text).input_ids
        assert tokenizer.encode(text, parse_special=True) == ids
        assert tokenizer.decode(ids, skip_special=True) == oracle.decode(ids, skip_special_tokens=True)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.vocab_size) == (oracle.bos_token_id, oracle.eos_token_id, len(oracle))
