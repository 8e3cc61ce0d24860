"""GGUF files become folders that transformers loads: the same numbers, names and answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
import transformers
from converted import LAYOUTS, ROWS, convert, folder_with_tokenizer
from tiny_models import DEEPSEEK, EVERY

import heron
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.pairing import materialize
from heron.checkpoint.safetensors import read_folder
from heron.checkpoint.safetensors_writer import write_safetensors
from heron.checkpoint.views import Const
from heron.convert.config import config_of
from heron.convert.families import FAMILIES
from heron.convert.names import known
from heron.convert.to_gguf import write_as_gguf
from heron.convert.to_hf import as_hf, write_as_hf
from heron.errors import CheckpointError, RequestError, UnsupportedError
from heron.quant.formats import FORMATS
from heron.text.tokenizer import Tokenizer

ONE_ULP = 2.0**-23  # of a norm's 1 + w, which GGUF files hold


def there_and_back(folder: Path) -> Path:
    """A folder's model as a GGUF file, and that as a folder."""
    write_as_gguf(Checkpoint(folder), folder / "there.gguf")
    write_as_hf(Checkpoint(folder / "there.gguf"), folder / "back")
    return folder / "back"


def same_tensors(folder: Path, other: Path, tolerance: float = 0.0) -> None:
    theirs, ours = read_folder(folder)[0], read_folder(other)[0]
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        assert (ours[name].shape, ours[name].format) == (tensor.shape, tensor.format), name
        np.testing.assert_allclose(ours[name].numpy(), tensor.numpy(), rtol=0, atol=tolerance, err_msg=name)


def loaded(folder: Path) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()


def logits(model: Any, tokens: list[int]) -> Any:
    with torch.no_grad():
        return model(torch.tensor([tokens]), use_cache=False).logits[0].numpy()


@pytest.mark.parametrize("name", LAYOUTS)
def test_there_and_back(name: str, tmp_path: Path) -> None:
    """Of bf16 every number, every name and every logit; the tokenizer too."""
    made = folder_with_tokenizer(name, tmp_path, dtype=torch.bfloat16)
    convert(tmp_path, tmp_path / "there.gguf")
    convert(tmp_path / "there.gguf", tmp_path / "back")
    same_tensors(tmp_path, tmp_path / "back")
    tokens = parity.prompt(ROWS, 40)
    back = loaded(tmp_path / "back")
    assert np.array_equal(logits(back, tokens), logits(loaded(tmp_path), tokens))
    ends = back.generation_config.eos_token_id
    assert (ends[0], {*ends}) == (Tokenizer.from_folder(tmp_path).eos, Tokenizer.from_file(tmp_path / "there.gguf").eos_ids)
    ours = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(tmp_path)
    assert ours("It's 1234 foxes<|end|>").input_ids == theirs("It's 1234 foxes<|end|>").input_ids
    assert ours.chat_template == theirs.chat_template
    assert (ours.bos_token, ours.eos_token) == (theirs.bos_token, theirs.eos_token)
    assert made.hf.config.vocab_size == back.config.vocab_size


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, config in EVERY.items() if known(config().model_type)])
def test_every_family_there_and_back(name: str, tmp_path: Path) -> None:
    made = parity.tiny(EVERY[name](), tmp_path)
    back = there_and_back(tmp_path)
    same_tensors(tmp_path, back, ONE_ULP)
    tokens = parity.prompt(made.hf.config.vocab_size, 40)
    np.testing.assert_allclose(logits(loaded(back), tokens), made.expected(tokens), rtol=0, atol=1e-4)


def test_latent_yarn_there_and_back(tmp_path: Path) -> None:
    """Its factor is said by two scales, which files hold as a multiplier and a quotient."""
    yarn = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0, "original_max_position_embeddings": 32}
    scales = {"mscale": 0.75, "mscale_all_dim": 0.5, "beta_fast": 8.0, "beta_slow": 2.0}
    made = parity.tiny(transformers.DeepseekV3Config(**DEEPSEEK, rope_parameters={**yarn, **scales}), tmp_path)
    back = there_and_back(tmp_path)
    same_tensors(tmp_path, back)
    tokens = parity.prompt(made.hf.config.vocab_size, 40)
    np.testing.assert_allclose(logits(loaded(back), tokens), made.expected(tokens), rtol=0, atol=1e-4)


def test_the_tables_know_the_same_families() -> None:
    assert all(known(family.model_type) for family in FAMILIES.values())


def test_shards_and_dtype(tmp_path: Path) -> None:
    folder_with_tokenizer("llama", tmp_path)
    convert(tmp_path, tmp_path / "there.gguf")
    convert(tmp_path / "there.gguf", tmp_path / "back", "--max-shard-size", "100KB", "--dtype", "f16")
    assert len(list((tmp_path / "back").glob("model-*-of-*.safetensors"))) > 1
    assert all(file.stat().st_size < 110_000 for file in (tmp_path / "back").glob("*.safetensors"))
    theirs, ours = read_folder(tmp_path)[0], read_folder(tmp_path / "back")[0]
    assert {tensor.format.name for tensor in ours.values()} == {"F16"}
    assert all(np.array_equal(ours[name].numpy(), theirs[name].numpy().astype(np.float16)) for name in theirs)
    config = json.loads((tmp_path / "back/config.json").read_text())
    assert config["dtype"] == "float16"
    assert loaded(tmp_path / "back").config.num_hidden_layers == 2


@pytest.mark.parametrize("quantized", ["Q8_0", "Q4_K_M"])
def test_quantized_files_are_decoded(quantized: str, shared: Path, tmp_path: Path) -> None:
    """A file that llama.cpp wrote: the folder has its numbers, in bf16, and answers as the file does here."""
    path = shared / f"data/quants/tiny-{quantized}.gguf"
    write_as_hf(Checkpoint(path), tmp_path / "made", dtype="f32")
    ours, theirs = Checkpoint(tmp_path / "made"), Checkpoint(path)
    assert ours.tensors.keys() == theirs.tensors.keys()
    for name, tensor in theirs.tensors.items():
        assert np.array_equal(materialize(ours.tensors[name]).numpy(), tensor.numpy()), name
    tokens = [5, 6, 7, 8, 9, 10]
    expected = heron.load(path, kv_dtype="f32", activations="f32").logits(tokens)
    np.testing.assert_allclose(logits(loaded(tmp_path / "made"), tokens), expected, rtol=0, atol=2e-3)


def test_a_published_file(shared: Path, tmp_path: Path) -> None:
    """Converted by others, with a vocabulary of SentencePiece's."""
    path = shared / "data/stories/stories260K-f32.gguf"
    write_as_hf(Checkpoint(path), tmp_path / "made")
    text = "Once upon a time"
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "made")
    tokens = tokenizer(text).input_ids
    assert tokens == Tokenizer.from_file(path).encode(text)
    np.testing.assert_allclose(
        logits(loaded(tmp_path / "made"), tokens), heron.load(path, kv_dtype="f32").logits(tokens), rtol=0, atol=1e-3
    )


@pytest.mark.parametrize(("key", "value"), [("attention.key_length", 24), ("attention.head_count_kv", [2, 1]), ("attention.scale", 0.5)])
def test_keys_that_a_configuration_cannot_say(key: str, value: Any, tmp_path: Path) -> None:
    folder_with_tokenizer("llama", tmp_path)
    checkpoint = Checkpoint(tmp_path)
    metadata = Metadata({**checkpoint.metadata, f"llama.{key}": value, "llama.attention.value_length": 12})
    named = "value_length" if key == "attention.key_length" else key  # values are as long as keys there
    with pytest.raises(UnsupportedError, match=named):
        config_of(metadata, checkpoint.tensors)


def test_nothing_is_left_of_what_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_with_tokenizer("llama", tmp_path)
    write_as_gguf(Checkpoint(tmp_path), tmp_path / "there.gguf")
    checkpoint, before = Checkpoint(tmp_path / "there.gguf"), sorted(tmp_path.iterdir())

    def interrupt(elements: int) -> None:
        raise KeyboardInterrupt

    def full(elements: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(KeyboardInterrupt):
        write_as_hf(checkpoint, tmp_path / "back", progress=interrupt)
    with pytest.raises(CheckpointError, match="No space left"):
        write_as_hf(checkpoint, tmp_path / "back", max_shard_size=100_000, progress=full)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: type("Usage", (), {"free": 1000}))
    with pytest.raises(CheckpointError, match="too little space"):
        write_as_hf(checkpoint, tmp_path / "back")
    assert sorted(tmp_path.iterdir()) == before


def test_refusals(tmp_path: Path) -> None:
    folder_with_tokenizer("llama", tmp_path)
    write_as_gguf(Checkpoint(tmp_path), tmp_path / "there.gguf")
    checkpoint = Checkpoint(tmp_path / "there.gguf")
    with pytest.raises(CheckpointError, match="there already"):
        write_as_hf(checkpoint, tmp_path)
    with pytest.raises(RequestError, match="a folder already"):
        write_as_hf(Checkpoint(tmp_path), tmp_path / "back")
    with pytest.raises(RequestError, match="'q8' is unknown"):
        as_hf(checkpoint, "q8")
    write_gguf(tmp_path / "strange.gguf", {**checkpoint.metadata, "general.architecture": "strange"}, checkpoint.tensors)
    with pytest.raises(UnsupportedError, match="'strange' cannot be written"):
        as_hf(Checkpoint(tmp_path / "strange.gguf"))
    checkpoint.tensors["blk.0.strange.weight"] = checkpoint.tensors["output_norm.weight"]
    with pytest.raises(UnsupportedError, match=r"blk\.0\.strange\.weight"):
        as_hf(checkpoint)
    with pytest.raises(CheckpointError, match="safetensors files cannot hold"):
        write_safetensors(tmp_path / "x.safetensors", {"x": Const(np.zeros((1, 32)), format=FORMATS["Q8_0"])})


def test_the_library_reads_what_is_written(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    arrays = {"a": np.arange(6).reshape(2, 3), "b é": np.array([1.5]), "c": np.array(2.0)}
    write_safetensors(tmp_path / "x.safetensors", {name: Const(values) for name, values in arrays.items()})
    read = load_file(tmp_path / "x.safetensors")
    assert read.keys() == arrays.keys()
    assert all(np.array_equal(read[name], values) and read[name].shape == values.shape for name, values in arrays.items())
