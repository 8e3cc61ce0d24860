"""A GGUF file's vocabulary as the files of a folder: ids are those of the file, in Heron and in transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import transformers
from tokenizer_folders import FOLDERS, HOSTILE

from heron.checkpoint.gguf import read_gguf
from heron.checkpoint.metadata import Metadata
from heron.convert.tokenizer_files import tokenizer_files
from heron.convert.vocabulary import vocabulary
from heron.errors import UnsupportedError
from heron.text.tokenizer import Tokenizer

#: What both programs take for different text: see test_convert_vocabulary.py.
APART = {"unigram": ("▁", "<unk>"), "llama": ("▁",)}


def write(metadata: Metadata, folder: Path) -> Path:
    folder.mkdir()
    for name, text in tokenizer_files(metadata).items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("name", FOLDERS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    folder = FOLDERS[name](tmp_path)
    metadata = Metadata({"general.architecture": "llama", **vocabulary(folder, Tokenizer.from_folder(folder).vocab_size)})
    back = write(metadata, tmp_path / "back")
    file, ours, theirs = Tokenizer.from_metadata(metadata), Tokenizer.from_folder(back), transformers.AutoTokenizer.from_pretrained(back)
    for text in HOSTILE:
        if any(token in text for token in APART.get(name, ())):
            continue
        assert ours.encode(text, parse_special=True) == file.encode(text, parse_special=True), text
        assert theirs(text).input_ids == file.encode(text, parse_special=True), text
        ids = file.encode(text, parse_special=True)
        assert ours.decode(ids) == file.decode(ids), text
    assert (ours.eos, ours.chat_template) == (file.eos, file.chat_template)
    assert [ours.is_special(id) for id in range(file.vocab_size)] == [file.is_special(id) for id in range(file.vocab_size)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bert-bge", "deepseek-llm", "falcon", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "starcoder"])
def test_recorded_ids(name: str, shared: Path, tmp_path: Path) -> None:
    path = shared / f"data/vocabs/ggml-vocab-{name}.gguf"
    tokenizer = Tokenizer.from_folder(write(read_gguf(path)[0], tmp_path / "back"))
    texts = path.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    rows = path.with_suffix(".gguf.out").read_text().splitlines()
    for text, row in zip(texts, rows, strict=False):
        assert tokenizer.encode(text, add_special=False) == [int(id) for id in row.split()], text


def test_templates(tmp_path: Path) -> None:
    folder = FOLDERS["byte-level BPE"](tmp_path)
    metadata = Metadata({"general.architecture": "llama", **vocabulary(folder, 700)})
    metadata["tokenizer.chat_template.../../tool"] = "{{ 1 }}"
    back = write(metadata, tmp_path / "back")
    assert {path.name for path in back.rglob("*.jinja")} == {"chat_template.jinja", "______tool.jinja"}


def test_kinds_without_such_files() -> None:
    tokens = {"tokenizer.ggml.model": "rwkv", "tokenizer.ggml.tokens": ["a", "b"], "tokenizer.ggml.token_type": [1, 1]}
    with pytest.raises(UnsupportedError, match="'rwkv'"):
        tokenizer_files(Metadata({"general.architecture": "rwkv7", **tokens}))
    assert tokenizer_files(Metadata({"general.architecture": "llama"})) == {}
