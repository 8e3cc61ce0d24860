"""Matrices that the formats' own libraries quantized, where they are installed: the numbers are those that they decode themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.tensor import Tensor
from heron.models.registry import load_families

STEM = "model.layers.0.mlp.down_proj"


def read(tmp_path: Path, tensors: dict[str, torch.Tensor], quantization: dict[str, Any]) -> tuple[Tensor, np.ndarray]:
    """The matrix as Heron reads it, and its numbers, its factor included."""
    config = {"model_type": "llama", "hidden_size": 192, "num_attention_heads": 4, "num_hidden_layers": 1, "intermediate_size": 128}
    (tmp_path / "config.json").write_text(json.dumps(config | {"vocab_size": 8, "quantization_config": quantization}))
    named = {f"{STEM}.{suffix}": tensor.clone().contiguous() for suffix, tensor in tensors.items()}
    save_file(named | {"model.embed_tokens.weight": torch.zeros(8, 192)}, tmp_path / "model.safetensors")
    load_families()
    checkpoint = Checkpoint(tmp_path)
    matrix, factor = checkpoint.tensors["blk.0.ffn_down.weight"], checkpoint.tensors.get("blk.0.ffn_down.scale")
    return matrix, matrix.numpy() * (1 if factor is None else factor.numpy()[0])


def weights() -> torch.Tensor:
    return torch.randn(192, 128, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("double", [False, True], ids=["", "double"])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_four_bits_of_bitsandbytes(kind: str, double: bool, tmp_path: Path) -> None:
    functional = pytest.importorskip("bitsandbytes.functional")
    packed, state = functional.quantize_4bit(weights(), blocksize=64, compress_statistics=double, quant_type=kind)
    parts = {f"weight.{key}": tensor for key, tensor in state.as_dict(packed=True).items()}
    tensor, values = read(tmp_path, {"weight": packed} | parts, {"quant_method": "bitsandbytes", "load_in_4bit": True})
    assert tensor.format.name == f"{kind.upper()}_64"
    np.testing.assert_allclose(values, functional.dequantize_4bit(packed, state).numpy(), rtol=1e-6, atol=1e-7)


#: What is quantized how, by which compressor, and the format that it becomes.
COMPRESSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "4": ({"num_bits": 4, "strategy": "group", "group_size": 32}, "pack-quantized", "U4_32"),
    "4 with zeros": ({"num_bits": 4, "strategy": "group", "group_size": 64, "symmetric": False}, "pack-quantized", "U4_64"),
    "3": ({"num_bits": 3, "strategy": "group", "group_size": 128}, "pack-quantized", "U3_128"),
    "8 packed": ({"num_bits": 8, "strategy": "channel"}, "pack-quantized", "I8_128"),
    "8": ({"num_bits": 8, "strategy": "channel"}, "int-quantized", "I8_128"),
    "8, one scale": ({"num_bits": 8, "strategy": "tensor"}, "int-quantized", "I8_128"),
    "fp8": ({"num_bits": 8, "type": "float", "strategy": "channel"}, "float-quantized", "E4M3_128"),
    "fp8, blocks": ({"num_bits": 8, "type": "float", "strategy": "block", "block_structure": [128, 128]}, "float-quantized", "E4M3_128"),
    "nvfp4": ({"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}, "nvfp4-pack-quantized", "NVFP4"),
    "mxfp4": (
        {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32, "scale_dtype": "torch.uint8"},
        "mxfp4-pack-quantized",
        "MXFP4",
    ),
}


def extremes(w: torch.Tensor, args: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and greatest weights of each part that has a scale."""
    if args.group_size:
        parts = w.unflatten(1, (-1, args.group_size))
        return parts.amin(-1), parts.amax(-1)
    if args.strategy == "channel":
        return w.amin(1, keepdim=True), w.amax(1, keepdim=True)
    if args.strategy == "block":
        blocks = torch.nn.functional.pad(w, (0, 0, 0, 64)).reshape(2, 128, 1, 128)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    return w.min()[None], w.max()[None]


@pytest.mark.parametrize("name", COMPRESSED)
def test_compressed_tensors(name: str, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    described, form, format = COMPRESSED[name]
    args, w = QuantizationArgs(**described), weights()
    whole = generate_gparam(w.min(), w.max()) if args.strategy == "tensor_group" else None
    scale, zero = calculate_qparams(*extremes(w, args), args, global_scale=whole)
    state = {"weight": w, "weight_scale": scale, "weight_zero_point": zero} | ({} if whole is None else {"weight_global_scale": whole})
    compressor, scheme = BaseCompressor.get_value_from_registry(form), QuantizationScheme(targets=["Linear"], weights=args)
    stored = compressor.compress(state, scheme)
    meant = compressor.decompress(stored, scheme)["weight"].float().numpy()
    groups = {"group_0": {"weights": json.loads(args.model_dump_json()), "targets": ["Linear"]}}
    tensor, values = read(tmp_path, stored, {"quant_method": "compressed-tensors", "config_groups": groups})
    assert tensor.format.name == format
    exact = 2**-8 if "fp4" in name else 1e-6  # the library decodes four-bit floats in bf16
    np.testing.assert_allclose(values, meant, rtol=exact, atol=1e-6)
