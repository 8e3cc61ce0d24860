"""Matrices in four-bit floats: experts in MXFP4, and NVFP4, whose matrices have a scale in a tensor beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import llama_cpp_peer as peer
import numpy as np
import parity
import pytest
import torch
import transformers as tf
from numpy.typing import NDArray
from ranks import in_ranks
from tiny_gguf import write_tiny
from tiny_models import SMALL

from heron.backends import native
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import MappedTensor, Tensor
from heron.errors import CheckpointError
from heron.models.registry import build_model
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize

Floats = NDArray[np.float32]
Stored = tuple[Tensor, Floats | None]  #: a tensor, and the factor of each matrix

EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
SIZES = {**SMALL, "hidden_size": 64, "moe_intermediate_size": 128, "head_dim": 16}
#: llama.cpp makes the chosen experts' weights sum to 1, always.
MOE = {"num_experts": 6, "num_experts_per_tok": 2, "norm_topk_prob": True}


def mxfp4(values: Floats) -> Stored:
    return MappedTensor(quantize(FORMATS["MXFP4"], values).reshape(-1), values.shape, FORMATS["MXFP4"]), None


def nvfp4(values: Floats) -> Stored:
    """Any codes, under scales of blocks between 1 and 2: the size of the values is the factors' to give."""
    fmt, rng = FORMATS["NVFP4"], np.random.default_rng(values.size)
    blocks = rng.integers(0, 256, values.size // fmt.block * fmt.bytes, np.uint8).view(fmt.layout)
    blocks["scales"] = rng.integers(0x38, 0x40, blocks["scales"].shape)
    factors = rng.uniform(0.1, 0.4, values.shape[0] if values.ndim == 3 else 1) / np.sqrt(values.shape[-1])
    return MappedTensor(blocks.view(np.uint8), values.shape, fmt), factors.astype(np.float32)


def make(folder: Path, encode: Callable[[Floats], Stored], attention: bool) -> tuple[Path, parity.Tiny]:
    """A GGUF file with encoded experts (and the attention's output), and transformers' model of what they mean."""
    made = parity.tiny(tf.Qwen3MoeConfig(**SIZES, **MOE), folder)
    checkpoint = Checkpoint(write_tiny(folder))
    tensors: dict[str, Tensor | Floats] = dict(checkpoint.tensors)
    for layer in range(2):
        meant = {}
        for name in (*EXPERTS, "attn_output") if attention else EXPERTS:
            full = f"blk.{layer}.{name}"
            tensor, factors = encode(checkpoint.tensors[f"{full}.weight"].numpy())
            tensors[f"{full}.weight"], meant[name] = tensor, tensor.numpy()
            if factors is not None:
                tensors |= {f"{full}.scale": factors, f"{full}.input_scale": np.ones_like(factors)}
                meant[name] = meant[name] * (factors[:, None, None] if tensor.ndim == 3 else factors)
        give(made.hf.model.layers[layer], meant)
    write_gguf(folder / "encoded.gguf", checkpoint.metadata, tensors)
    return folder / "encoded.gguf", made


@torch.no_grad()
def give(layer: torch.nn.Module, meant: dict[str, Floats]) -> None:
    layer.mlp.experts.gate_up_proj.copy_(torch.from_numpy(np.concatenate([meant["ffn_gate_exps"], meant["ffn_up_exps"]], axis=1)))
    layer.mlp.experts.down_proj.copy_(torch.from_numpy(meant["ffn_down_exps"]))
    if "attn_output" in meant:
        layer.self_attn.o_proj.weight.copy_(torch.from_numpy(meant["attn_output"]))


@pytest.fixture(scope="module", params=[(mxfp4, False), (nvfp4, False), (nvfp4, True)], ids=["mxfp4", "nvfp4", "nvfp4-attention"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, parity.Tiny]:
    return make(tmp_path_factory.mktemp("experts"), *request.param)


def test_equal_to_transformers_with_the_values_that_are_meant(made: tuple[Path, parity.Tiny]) -> None:
    file, tiny = made
    model, tokens = build_model(Checkpoint(file)), parity.prompt(67, 40)
    expected = tiny.expected(tokens)
    assert parity.difference(parity.whole(parity.Runner(model), tokens), expected) <= parity.TOLERANCE
    assert parity.difference(parity.one_by_one(parity.Runner(model), tokens), expected) <= parity.TOLERANCE
    if native.available():
        exact = Options(kv_dtype="f32", activations="f32", threads=2)
        runner = parity.Runner(model, lambda model, options: native.prepare(model, options=options), exact)
        assert parity.difference(parity.whole(runner, tokens), expected) <= parity.TOLERANCE


def test_two_ranks_compute_what_one_does(made: tuple[Path, parity.Tiny]) -> None:
    file, tiny = made
    tokens = parity.prompt(67, 20)
    for got in in_ranks(build_model(Checkpoint(file)), 2, lambda runner: parity.whole(runner, tokens)):
        assert parity.difference(got, tiny.expected(tokens)) <= parity.TOLERANCE


def test_an_embedding_with_a_scale_that_is_the_head_too(tmp_path: Path) -> None:
    made = parity.tiny(tf.LlamaConfig(**{**SMALL, "hidden_size": 64}, tie_word_embeddings=True), tmp_path)
    checkpoint, name, tokens = Checkpoint(made.folder), "token_embd", parity.prompt(67, 20)
    tensor, factors = nvfp4(checkpoint.tensors[f"{name}.weight"].numpy())
    assert factors is not None
    write_gguf(tmp_path / "scaled.gguf", checkpoint.metadata, {**checkpoint.tensors, f"{name}.weight": tensor, f"{name}.scale": factors})
    with torch.no_grad():
        made.hf.model.embed_tokens.weight.copy_(torch.from_numpy(tensor.numpy() * factors))
    got = parity.whole(parity.Runner(build_model(Checkpoint(tmp_path / "scaled.gguf"))), tokens)
    assert parity.difference(got, made.expected(tokens)) <= parity.TOLERANCE


@pytest.mark.slow
def test_near_llama_cpp(made: tuple[Path, parity.Tiny]) -> None:
    """It rounds what meets quantized matrices to eight bits, and is as near as its files of any format are (0.15)."""
    pytest.importorskip("llama_cpp", reason="llama-cpp-python, the extra `peers`, is not installed")
    file, tokens = made[0], parity.prompt(67, 40)
    ours = parity.whole(parity.Runner(build_model(Checkpoint(file))), tokens)
    assert parity.difference(peer.logits(file, tokens), ours) <= 0.15


@pytest.mark.parametrize("name", ["ffn_up_exps", "attn_output"])
def test_a_scale_of_another_size_is_refused(made: tuple[Path, parity.Tiny], tmp_path: Path, name: str) -> None:
    checkpoint = Checkpoint(made[0])
    wrong = {f"blk.1.{name}.scale": np.ones(3, np.float32)}
    write_gguf(tmp_path / "wrong.gguf", checkpoint.metadata, {**checkpoint.tensors, **wrong})
    with pytest.raises(CheckpointError, match=rf"blk.1.{name}.scale' has shape \[3\]"):
        build_model(Checkpoint(tmp_path / "wrong.gguf"))
