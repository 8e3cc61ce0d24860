"""Quantized checkpoints that are not what they should be: refused, with the tensor's name and the folder's; and methods known by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import packers
import pytest
import torch
from safetensors.torch import save_file

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.quantized.methods import ELSEWHERE
from heron.checkpoint.tensor import Tensor
from heron.cli.info import summarize
from heron.errors import CheckpointError, UnsupportedError
from heron.models.registry import load_families

STEM = "model.layers.0.self_attn.q_proj"
Stored = dict[str, torch.Tensor]
Change = Callable[[Stored], Any]

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32}
FP8 = {"quant_method": "fp8"}
CT = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
BNB = {"quant_method": "bitsandbytes"}
MLX = {"bits": 4, "group_size": 32}


def folder(tmp_path: Path, pack: packers.Packer | None, quantization: dict[str, Any], change: Change = lambda tensors: None) -> Path:
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 64}
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 8, "quantization_config": quantization}))
    rng = np.random.default_rng(0)
    tensors = {} if pack is None else pack(rng.standard_normal((64, 64)).astype(np.float32), rng)[0]
    change(tensors)
    tensors = {f"{STEM}.{suffix}": tensor.clone() for suffix, tensor in tensors.items()}
    save_file(tensors | {"model.embed_tokens.weight": torch.zeros(8, 64)}, tmp_path / "model.safetensors")
    load_families()
    return tmp_path


def matrix(tmp_path: Path, pack: packers.Packer, quantization: dict[str, Any], change: Change) -> Tensor:
    return Checkpoint(folder(tmp_path, pack, quantization, change)).tensors["blk.0.attn_q.weight"]


def drop(suffix: str) -> Change:
    return lambda tensors: tensors.pop(suffix)


def put(suffix: str, tensor: torch.Tensor) -> Change:
    return lambda tensors: tensors.update({suffix: tensor})


def spoil(suffix: str, value: float) -> Change:
    def change(tensors: Stored) -> None:
        tensors[suffix].view(-1)[0] = value

    return change


BROKEN = {
    "gptq without scales": (packers.gptq(4, 32), GPTQ, drop("scales"), "'.*q_proj.scales' is missing"),
    "gptq without zeros": (packers.gptq(4, 32), GPTQ, drop("qzeros"), "'.*q_proj.qzeros' is missing"),
    "gptq of 5 bits": (packers.gptq(4, 32), GPTQ | {"bits": 5}, drop("g_idx"), "'.*qweight' has codes of 5 bits"),
    "gptq with other scales": (
        packers.gptq(4, 32),
        GPTQ,
        put("scales", torch.ones(3, 64).half()),
        r"scales' has shape \[3, 64\], but \[2, 64\]",
    ),
    "gptq of floats": (packers.gptq(4, 32), GPTQ, put("qweight", torch.ones(8, 64)), "qweight' is F32, but I32 is expected"),
    "gptq of a vector": (packers.gptq(4, 32), GPTQ, put("qweight", torch.ones(8, dtype=torch.int32)), "but a matrix is expected"),
    "gptq, a group out of range": (packers.gptq(4, 32), GPTQ, spoil("g_idx", 2), "g_idx' names the group 2, but there are 2"),
    "gptq, a negative group": (packers.gptq(4, 32), GPTQ, spoil("g_idx", -3), "g_idx' names the group -3"),
    "gptq, groups of unequal sizes": (packers.gptq(4, 32), GPTQ, spoil("g_idx", 1), "g_idx' names groups of unequal sizes"),
    "awq of 3 bits": (packers.awq("gemm", 32), AWQ | {"bits": 3}, lambda t: None, "has 3 bits by the configuration"),
    "awq with other zeros": (
        packers.awq("gemm", 32),
        AWQ,
        put("qzeros", torch.ones(2, 7, dtype=torch.int32)),
        r"qzeros' has shape \[2, 7\]",
    ),
    "awq, half a group": (
        packers.awq("gemm", 32),
        AWQ | {"group_size": 48},
        lambda t: None,
        "64 columns, which are not whole groups of 48",
    ),
    "fp8 without a scale": (packers.fp8("channel"), FP8, drop("weight_scale"), "'.*q_proj.weight_scale' is missing"),
    "fp8 with a scale of another shape": (
        packers.fp8("channel"),
        FP8,
        put("weight_scale", torch.ones(5, 7)),
        r"weight_scale' has shape \[5, 7\]",
    ),
    "packed of 5 bits": (
        packers.packed(4, 32),
        CT | {"config_groups": {"group_0": {"weights": {"num_bits": 5}}}},
        lambda t: None,
        r"weight_packed' has shape \[64, 8\], which 64 codes of 5 bits do not fill",
    ),
    "packed without a shape": (packers.packed(4, 32), CT, drop("weight_shape"), "weight_shape' is missing"),
    "packed with another shape": (packers.packed(4, 32), CT, put("weight_shape", torch.tensor([5, 64])), r"which cannot be \[5, 64\]"),
    "packed, a group out of range": (
        packers.packed(4, 32, act_order=True),
        CT,
        spoil("weight_g_idx", 9),
        "weight_g_idx' names the group 9",
    ),
    "nvfp4 without scales": (packers.fp4("packed"), CT, drop("weight_scale"), "weight_scale' is missing"),
    "nvfp4 divided by 0": (packers.fp4("packed"), CT, spoil("weight_global_scale", 0), "weight_global_scale' is 0"),
    "bitsandbytes without a map": (packers.bitsandbytes("nf4", double=False), BNB, drop("weight.quant_map"), "quant_map' is missing"),
    "bitsandbytes with half of its scales": (
        packers.bitsandbytes("nf4", double=False),
        BNB,
        put("weight.absmax", torch.ones(32)),
        r"absmax' has shape \[32\], but \[64\]",
    ),
    "bitsandbytes, a state of noise": (
        packers.bitsandbytes("nf4", double=False),
        BNB,
        put("weight.quant_state.bitsandbytes__nf4", torch.full((9,), 200, dtype=torch.uint8)),
        "bitsandbytes__nf4': .*JSON",
    ),
    "mlx with other groups": (packers.mlx(4, 64), MLX, lambda t: None, "cannot be 4 bits in groups of 32"),
    "bitnet divided by 0": (packers.bitnet, {"quant_method": "bitnet"}, spoil("weight_scale", 0), "weight_scale' is 0"),
    "exl2, no permutation": (packers.exl2(4), {"quant_method": "exl2"}, spoil("q_invperm", 99), "q_invperm' is no permutation"),
    "exl2 of 7 bits": (packers.exl2(4), {"quant_method": "exl2"}, spoil("q_groups", 7), r"q_groups' holds \[7"),
    "exl2, groups past the end": (
        packers.exl2(4),
        {"quant_method": "exl2"},
        lambda t: t["q_groups"].__setitem__(3, 700),
        "does not divide 8 words",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(name: str, tmp_path: Path) -> None:
    pack, quantization, change, message = BROKEN[name]
    with pytest.raises(CheckpointError, match=message) as caught:
        matrix(tmp_path, pack, quantization, change)
    assert str(tmp_path) in str(caught.value)


NAN = float("nan")
SPOILED = {
    "gptq": (packers.gptq(4, 32), GPTQ, spoil("scales", NAN)),
    "awq": (packers.awq("gemv", 32), AWQ | {"version": "gemv"}, spoil("scales", float("inf"))),
    "fp8": (packers.fp8("channel"), FP8, spoil("weight_scale", NAN)),
    "packed": (packers.packed(4, 32), CT, spoil("weight_scale", NAN)),
    "nvfp4": (packers.fp4("packed"), CT, lambda t: t["weight_scale"].view(torch.uint8).view(-1).__setitem__(0, 0x7F)),
    "mlx": (packers.mlx(4, 32), MLX, spoil("biases", NAN)),
    "exl2": (packers.exl2(4), {"quant_method": "exl2"}, spoil("q_scale_max", NAN)),
}


@pytest.mark.parametrize("name", SPOILED)
def test_scales_that_are_no_numbers(name: str, tmp_path: Path) -> None:
    """Found when rows are read: opening a folder reads no scales."""
    tensor = matrix(tmp_path, *SPOILED[name])
    with pytest.raises(CheckpointError, match=r"tensor '.*(scale|scales|biases|q_scale_max)' holds a scale that is"):
        tensor.rows()


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    tensor = matrix(tmp_path, packers.fp8("channel"), FP8, lambda t: t["weight"].view(torch.uint8).view(-1).__setitem__(5, 0xFF))
    with pytest.raises(CheckpointError, match=r"q_proj.weight' holds weights that are not numbers"):
        tensor.rows()


def test_zeros_that_contradict_the_configuration(tmp_path: Path) -> None:
    tensor = matrix(tmp_path, packers.gptq(4, 32), GPTQ | {"sym": True}, lambda tensors: None)
    with pytest.raises(CheckpointError, match=r'qzeros.* but the configuration says "sym": true'):
        tensor.rows()


@pytest.mark.parametrize("method", [*ELSEWHERE, "none-such"])
def test_methods_that_cannot_be_read_are_named(method: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=f"quantized with '{method}', which cannot be read; .*GGUF"):
        Checkpoint(folder(tmp_path, None, {"quant_method": method}))


@pytest.mark.parametrize(
    ("pack", "quantization", "message"),
    [
        (packers.gptq(4, 32), GPTQ | {"checkpoint_format": "marlin"}, "checkpoint_format 'marlin'"),
        (packers.awq("gemm", 32), AWQ | {"version": "gemv_fast"}, "version 'gemv_fast'"),
        (packers.packed(4, 32), CT | {"transform_config": {"config_groups": {"R1": {}}}}, "transform_config"),
        (packers.packed(4, 32), CT | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse-24-bitmask"),
        (packers.gptq(4, 32), {"quant_method": "auto-round", "packing_format": "auto_round:marlin"}, "auto_round:marlin"),
    ],
)
def test_variants_that_cannot_be_read(pack: packers.Packer, quantization: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=message):
        Checkpoint(folder(tmp_path, pack, quantization))


def test_a_configuration_without_its_matrices(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no matrix is stored as 'gptq' stores them"):
        Checkpoint(folder(tmp_path, None, GPTQ))


def test_what_belongs_to_no_matrix_is_left_out(tmp_path: Path) -> None:
    extra = {"input_scale": torch.ones(1), "output_scale": torch.ones(1), "k_scale": torch.ones(1)}
    checkpoint = Checkpoint(folder(tmp_path, packers.fp8("tensor"), FP8, lambda tensors: tensors.update(extra)))
    assert set(checkpoint.tensors) == {"token_embd.weight", "blk.0.attn_q.weight"}
    assert checkpoint.quantization == "fp8"


def test_the_method_is_shown(tmp_path: Path) -> None:
    checkpoint = Checkpoint(folder(tmp_path, packers.gptq(4, 32), GPTQ | {"desc_act": True}))
    assert summarize(checkpoint)["quantization"] == "gptq, 4 bits, groups of 32, act-order"
