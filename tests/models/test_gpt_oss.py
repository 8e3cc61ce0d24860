"""gpt-oss as it is published: experts in MXFP4, decoded by transformers for the comparison."""

from __future__ import annotations

import json
from pathlib import Path

import parity
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_experts import OSS, STRETCHED
from tiny_gguf import write_tiny
from transformers import GptOssConfig
from transformers.integrations.mxfp4 import convert_moe_packed_tensors

from heron.backends import native
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import CheckpointError, UnsupportedError
from heron.models.registry import build_model

SIZES = {**OSS, "num_hidden_layers": 2, "hidden_size": 64, "intermediate_size": 96}
EXPERTS = SIZES["num_local_experts"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    """The folder holds random codes and scales; transformers' model what they decode to."""
    made = parity.tiny(GptOssConfig(**SIZES, rope_parameters=STRETCHED), tmp_path_factory.mktemp("gpt-oss"))
    tensors, random = load_file(made.folder / "model.safetensors"), torch.Generator().manual_seed(0)
    for layer in range(SIZES["num_hidden_layers"]):
        for name, out, size in (("gate_up_proj", 2 * 96, 64), ("down_proj", 64, 96)):
            stem = f"model.layers.{layer}.mlp.experts.{name}"
            blocks = torch.randint(0, 256, (EXPERTS, out, size // 32, 16), dtype=torch.uint8, generator=random)
            scales = torch.randint(121, 126, (EXPERTS, out, size // 32), dtype=torch.uint8, generator=random)
            tensors |= {f"{stem}_blocks": blocks, f"{stem}_scales": scales}
            with torch.no_grad():
                getattr(made.hf.model.layers[layer].mlp.experts, name).copy_(convert_moe_packed_tensors(blocks, scales))
            del tensors[stem]
    save_file(tensors, made.folder / "model.safetensors")
    config = json.loads((made.folder / "config.json").read_text())
    (made.folder / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "mxfp4"}}))
    return made


def test_experts_stay_in_their_format(made: parity.Tiny) -> None:
    assert Checkpoint(made.folder).tensors["blk.1.ffn_gate_exps.weight"].format.name == "MXFP4"
    parity.check_parity(made)


@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
def test_natively(made: parity.Tiny) -> None:
    options = Options(kv_dtype="f32", activations="f32", threads=2)
    parity.check_parity(made, prepare=lambda model, options: native.prepare(model, options=options), options=options)


def test_written_as_gguf(made: parity.Tiny) -> None:
    tokens = parity.prompt(67, 40)
    got = parity.whole(parity.Runner(build_model(Checkpoint(write_tiny(made.folder)))), tokens)
    assert parity.difference(got, made.expected(tokens)) <= parity.TOLERANCE


def changed(made: parity.Tiny, folder: Path, drop: str = "", **config: object) -> Path:
    kept = {name: tensor for name, tensor in load_file(made.folder / "model.safetensors").items() if name != drop}
    save_file(kept, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(json.loads((made.folder / "config.json").read_text()) | config))
    return folder


def test_what_is_refused(made: parity.Tiny, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"swiglu_alpha 1\.5"):
        Checkpoint(changed(made, tmp_path, swiglu_alpha=1.5))
    with pytest.raises(UnsupportedError, match="quantized with 'quark'"):
        Checkpoint(changed(made, tmp_path, quantization_config={"quant_method": "quark"}))
    with pytest.raises(UnsupportedError, match="dtype U8"):
        Checkpoint(changed(made, tmp_path, quantization_config=None))
    with pytest.raises(CheckpointError, match=r"blk\.1\.ffn_down_exps has MXFP4 blocks and no scales"):
        Checkpoint(changed(made, tmp_path, drop="model.layers.1.mlp.experts.down_proj_scales"))
