"""Folders become GGUF files that hold the same model: here, and in llama.cpp."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from converted import AS_LLAMA_CPP, LAYOUTS, convert, folder_with_tokenizer, greedy

from heron import load
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import MappedTensor
from heron.cli.convert import size
from heron.convert.quantize import quantization
from heron.convert.to_gguf import as_gguf, write_as_gguf
from heron.errors import CheckpointError, RequestError
from heron.quant.formats import FORMATS
from heron.text.tokenizer import Tokenizer

PROMPT = "the quick brown fox"


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_file_writes_what_transformers_writes(name: str, tmp_path: Path) -> None:
    made = folder_with_tokenizer(name, tmp_path)
    convert(tmp_path, tmp_path / "out.gguf")
    tokenizer = Tokenizer.from_folder(tmp_path)
    written = load(tmp_path / "out.gguf", threads=1).generate(PROMPT, max_tokens=8, temperature=0, ignore_eos=True)
    assert written.tokens == greedy(made, tokenizer.encode(PROMPT), 8, banned=tokenizer.eos_ids)


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYOUTS)
def test_llama_cpp_writes_it_too(name: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    from llama_cpp_peer import logits

    made = folder_with_tokenizer(name, tmp_path, **AS_LLAMA_CPP.get(name, {}))
    convert(tmp_path, tmp_path / "out.gguf")
    tokens = Tokenizer.from_file(tmp_path / "out.gguf").encode(PROMPT)
    begun = len(tokens)
    for _ in range(8):
        tokens.append(int(logits(tmp_path / "out.gguf", tokens)[-1].argmax()))
    assert tokens[begun:] == greedy(made, tokens[:begun], 8)


@pytest.mark.parametrize(
    ("dtype", "format", "file_type"), [("auto", "BF16", 32), ("f16", "F16", 1), ("bf16", "BF16", 32), ("f32", "F32", 0)]
)
def test_formats(dtype: str, format: str, file_type: int, tmp_path: Path) -> None:
    folder_with_tokenizer("qwen3moe", tmp_path, dtype=torch.bfloat16)
    convert(tmp_path, tmp_path / "out.gguf", "--dtype", dtype)
    made = Checkpoint(tmp_path / "out.gguf")
    exact = {name for name, tensor in made.tensors.items() if tensor.ndim == 1 or "ffn_gate_inp" in name}
    assert {made.tensors[name].format.name for name in exact} == {"F32"}
    assert {tensor.format.name for name, tensor in made.tensors.items() if name not in exact} == {format}
    assert made.metadata["general.file_type"] == file_type
    assert (made.metadata["general.type"], made.metadata["general.quantization_version"]) == ("model", 2)
    if dtype != "f16":
        for name, tensor in Checkpoint(tmp_path).tensors.items():
            assert np.array_equal(made.tensors[name].numpy(), tensor.numpy()), name


def test_split(tmp_path: Path) -> None:
    folder_with_tokenizer("llama", tmp_path, shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    convert(tmp_path, tmp_path / "whole.gguf")
    convert(tmp_path, tmp_path / "out.gguf", "--split-max-size", "100KB")
    files = sorted(tmp_path.glob("out-*.gguf"))
    assert len(files) > 1
    assert all(file.stat().st_size < 200_000 for file in files)  # the first has the vocabulary too
    parts, whole = Checkpoint(files[1]), Checkpoint(tmp_path / "whole.gguf")
    assert list(parts.tensors) == list(whole.tensors)
    assert all(np.array_equal(parts.tensors[name].rows(), whole.tensors[name].rows()) for name in whole.tensors)
    convert(files[0], tmp_path / "again.gguf")
    assert (tmp_path / "again.gguf").read_bytes() == (tmp_path / "whole.gguf").read_bytes()


def test_what_gguf_has_no_format_for_is_decoded(tmp_path: Path) -> None:
    folder_with_tokenizer("llama", tmp_path)
    checkpoint = Checkpoint(tmp_path)
    name = "blk.0.ffn_up.weight"
    codes = np.random.default_rng(0).integers(0, 120, checkpoint.tensors[name].shape, np.uint8)
    checkpoint.tensors[name] = MappedTensor(codes, codes.shape, FORMATS["F8_E4M3"])
    rounded = checkpoint.tensors[name].numpy()
    for dtype, format in (("auto", "BF16"), ("f16", "F16"), ("f32", "F32")):
        made = as_gguf(checkpoint, dtype)[1][name]
        assert made.format is FORMATS[format]
        assert np.array_equal(made.numpy(), rounded)


def test_quantized_folders_are_whole_files(tmp_path: Path) -> None:
    """`heron quantize` of a folder writes what `heron convert` does, in other formats: the tokenizer, and norms in F32."""
    folder_with_tokenizer("llama", tmp_path, dtype=torch.bfloat16)
    quantization(Checkpoint(tmp_path), "Q8_0").write(tmp_path / "out.gguf")
    convert(tmp_path, tmp_path / "plain.gguf")
    made, plain = Checkpoint(tmp_path / "out.gguf"), Checkpoint(tmp_path / "plain.gguf")
    assert made.metadata.keys() == plain.metadata.keys()
    assert made.tensors["blk.0.attn_norm.weight"].format is FORMATS["F32"]
    assert made.tensors["blk.0.ffn_down.weight"].format is not plain.tensors["blk.0.ffn_down.weight"].format
    assert Tokenizer.from_file(tmp_path / "out.gguf").encode(PROMPT) == Tokenizer.from_folder(tmp_path).encode(PROMPT)


def test_nothing_is_left_of_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_with_tokenizer("llama", tmp_path)
    before = sorted(tmp_path.iterdir())
    checkpoint = Checkpoint(tmp_path)

    def interrupt(elements: int) -> None:
        raise KeyboardInterrupt

    for limit in (None, 100_000):
        with pytest.raises(KeyboardInterrupt):
            write_as_gguf(checkpoint, tmp_path / "out.gguf", split_max_size=limit, progress=interrupt)

    def full(elements: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left"):
        write_as_gguf(checkpoint, tmp_path / "out.gguf", progress=full)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match="too little space"):
        write_as_gguf(checkpoint, tmp_path / "out.gguf")
    assert sorted(tmp_path.iterdir()) == before


def test_refusals(tmp_path: Path) -> None:
    folder_with_tokenizer("llama", tmp_path)
    checkpoint = Checkpoint(tmp_path)
    with pytest.raises(RequestError, match="'q4' is unknown"):
        as_gguf(checkpoint, "q4")
    with pytest.raises(CheckpointError, match="is no folder"):
        write_as_gguf(checkpoint, tmp_path / "absent/out.gguf")
    write_gguf(tmp_path / "own.gguf", checkpoint.metadata, checkpoint.tensors)
    with pytest.raises(CheckpointError, match="itself"):
        write_as_gguf(Checkpoint(tmp_path / "own.gguf"), tmp_path / "own.gguf")


@pytest.mark.parametrize(("text", "count"), [("5GB", 5 * 10**9), ("1.5g", 1_500_000_000), ("300 MB", 3 * 10**8), ("7", 7), ("2kB", 2000)])
def test_sizes(text: str, count: int) -> None:
    assert size(text) == count


@pytest.mark.parametrize("text", ["", "GB", "-1G", "0", "5 parsecs"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(RequestError, match="no size"):
        size(text)
