"""Every vocabulary in the shared data gives the ids that another program recorded for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from heron.text.tokenizer import Tokenizer

NAMES = ("bert-bge", "deepseek-llm", "falcon", "gemma-4", "gpt-2", "llama-bpe", "llama-spm", "phi-3", "qwen2", "starcoder")


def cases(path: Path) -> list[tuple[str, list[int]]]:
    texts = path.with_suffix(".gguf.inp").read_bytes().decode().split("\n__ggml_vocab_test__\n")
    rows = path.with_suffix(".gguf.out").read_text().splitlines()
    return [(text, [int(id) for id in row.split()]) for text, row in zip(texts, rows, strict=False)]


@pytest.mark.parametrize("name", NAMES)
def test_recorded_ids(shared: Path, name: str) -> None:
    path = shared / f"data/vocabs/ggml-vocab-{name}.gguf"
    tokenizer = Tokenizer.from_file(path)
    found = cases(path)
    assert len(found) >= 45
    assert {text: tokenizer.encode(text, add_special=False) for text, _ in found} == dict(found)
