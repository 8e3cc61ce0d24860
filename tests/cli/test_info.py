"""`heron info`: what it says of files that others made."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from heron.checkpoint.gguf_writer import write_gguf
from heron.cli.info import human_bytes, human_count, info, printable
from heron.errors import CheckpointError

app = typer.Typer()
app.command()(info)


def run(*args: str | Path) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args], env={"COLUMNS": "200"})
    if result.exception:
        raise result.exception
    return result.stdout


def test_a_quantized_file(shared: Path) -> None:
    text = run(shared / "data/quants/tiny-Q4_K_M.gguf", "--tensors")
    lines = [line.split() for line in text.splitlines()]
    assert ["architecture", "llama"] in lines
    assert ["parameters", "1.44", "M", "(1,443,072)"] in lines
    assert ["context", "8,192", "tokens"] in lines
    assert ["tokenizer", "llama,", "512", "tokens"] in lines
    assert ["Q4_K", "13", "1,146,880", "630.0", "KiB", "4.50"] in lines
    assert ["blk.1.ffn_down.weight", "256", "x", "512", "Q6_K", "105.0", "KiB"] in lines


def test_json_of_a_quantized_file(shared: Path) -> None:
    path = shared / "data/quants/tiny-Q8_0.gguf"
    facts = json.loads(run(path, "--json", "--tensors"))
    assert facts["architecture"] == "llama"
    assert facts["bytes"] == path.stat().st_size
    assert sum(f["parameters"] for f in facts["formats"]) == facts["parameters"] == 1443072
    assert facts["metadata"]["llama.block_count"] == 2
    assert {t["name"] for t in facts["tensors"]} >= {"token_embd.weight", "blk.0.attn_q.weight"}
    assert "tensors" not in json.loads(run(path, "--json"))


def test_a_hf_folder(shared: Path) -> None:
    facts = json.loads(run(shared / "data/tinystories-656K", "--json"))
    assert (facts["source"], facts["architecture"], facts["parameters"]) == ("hf", "llama", 656000)
    assert facts["tokenizer"] == {"kind": "BPE", "pre": None, "size": 2048}
    assert facts["formats"][0]["format"] == "F32"


def test_a_vocabulary_with_a_template(shared: Path) -> None:
    facts = json.loads(run(shared / "data/vocabs/ggml-vocab-gemma-4.gguf", "--json"))
    assert facts["parameters"] == 0
    assert facts["tokenizer"]["size"] == 262144
    assert facts["chat_template"].startswith("{%- macro")


def test_text_from_a_file_cannot_reach_the_terminal(tmp_path: Path) -> None:
    """Neither escape sequences nor rich's own markup in names."""
    evil = "\x1b[31mred\x07 [bold]x[/bold] \u202e"
    metadata = {"general.architecture": "llama", "general.name": evil, "tokenizer.chat_template": evil, "x": float("nan")}
    write_gguf(tmp_path / "m.gguf", metadata, {evil: np.zeros((2, 2), np.float32)})
    text = run(tmp_path / "m.gguf", "--tensors")
    assert text.count("\\x1b[31mred\\x07 [bold]x[/bold] \\u202e") == 3
    assert "\x1b" not in text
    facts = json.loads(run(tmp_path / "m.gguf", "--json"))
    assert facts["name"] == evil
    assert facts["metadata"]["x"] is None


def test_errors_are_herons_own(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no model at"):
        run(tmp_path / "absent.gguf")
    write_gguf(tmp_path / "m.gguf", {"general.architecture": "llama", "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.tokens": [1, 2]}, {})
    with pytest.raises(CheckpointError, match=r"tokenizer\.ggml\.tokens must be an array of strings, but is an array of 2 int32"):
        run(tmp_path / "m.gguf")


def test_words_for_numbers() -> None:
    assert [human_bytes(n) for n in (0, 1023, 1536, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "5.0 GiB"]
    assert [human_count(n) for n in (7, 1500, 1235814400)] == ["7", "1.50 K", "1.24 B"]
    assert printable("a\n\t\u00e9") == "a\\n\\t\u00e9"
