"""HF folders that are not what they should be: refused, and in Heron's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.hf import HFMapping
from heron.checkpoint.hf_config import common_metadata
from heron.checkpoint.transforms import NegExp, NormPlusOne, SplitKVB, SplitQKV, Squeeze, StackExperts, Transpose, UnpermuteRope
from heron.errors import CheckpointError, HeronError, UnsupportedError

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA = HFMapping("llama", common_metadata, transforms=(UnpermuteRope(), StackExperts()))


def use(monkeypatch: pytest.MonkeyPatch, model_type: str, mapping: HFMapping) -> None:
    monkeypatch.setattr("heron.checkpoint.hf.MAPPINGS", {model_type: mapping})


def folder_with(tmp_path: Path, config: object, tensors: dict[str, torch.Tensor] | None = None) -> Path:
    (tmp_path / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    save_file(tensors or {"model.embed_tokens.weight": torch.zeros(64, 32)}, tmp_path / "model.safetensors")
    return tmp_path


BASE = {"model_type": "llama"} | SIZES
DEEP = '{"model_type": ' + "[" * 100_000


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("[]", "a JSON list where an object must be"),
        ("{", "not JSON"),
        (DEEP, "not JSON"),
        ({}, "model_type is missing"),
        ({"model_type": 5}, "model_type must be a string, but is 5"),
        (BASE | {"hidden_size": "32"}, "hidden_size must be an integer, but is '32'"),
        (BASE | {"hidden_size": True}, "hidden_size must be an integer"),
        (BASE | {"num_hidden_layers": -1}, "num_hidden_layers must be an integer of at least 0"),
        (BASE | {"rms_norm_eps": float("nan")}, "rms_norm_eps must be a finite number"),
        (BASE | {"rope_theta": []}, "rope_theta must be a finite number"),
        (BASE | {"rope_scaling": 3}, "rope_scaling must be an object"),
        (BASE | {"rope_parameters": {"rope_type": "linear"}}, "factor is missing"),
        (BASE | {"rope_parameters": {"rope_type": "llama3"}}, "rope.dimension_count is missing"),
        (BASE | {"tie_word_embeddings": "yes"}, "tie_word_embeddings must be a boolean"),
    ],
)
def test_configurations_that_are_refused(config: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", LLAMA)
    with pytest.raises(CheckpointError, match=message) as caught:
        Checkpoint(folder_with(tmp_path, config))
    assert "config.json" in str(caught.value)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "none such"}, "'none such' is not supported; known are llama"),
        (BASE | {"quantization_config": {"quant_method": "aqlm"}}, "quantized with 'aqlm'"),
        (BASE | {"rope_parameters": {"rope_type": "spiral"}}, "rope_type 'spiral' is not supported"),
    ],
)
def test_what_is_not_supported_is_named(config: object, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", LLAMA)
    with pytest.raises(UnsupportedError, match=message):
        Checkpoint(folder_with(tmp_path, config))


def test_unknown_tensors_are_named_unless_the_family_ignores_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = {
        "model.embed_tokens.weight": torch.zeros(64, 32),
        "vision.w": torch.zeros(1),
        "model.layers.0.rotary_emb.inv_freq": torch.zeros(4),
    }
    folder = folder_with(tmp_path, BASE, tensors)
    use(monkeypatch, "llama", HFMapping("llama"))
    with pytest.raises(CheckpointError, match=r"does not know the tensors vision\.w;"):
        Checkpoint(folder)
    use(monkeypatch, "llama", HFMapping("llama", ignore=(r"^vision\.",)))
    assert set(Checkpoint(folder).tensors) == {"token_embd.weight"}


def test_two_names_of_one_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", HFMapping("llama"))
    tensors = {"model.embed_tokens.weight": torch.zeros(64, 32), "embed_tokens.weight": torch.zeros(64, 32)}
    with pytest.raises(CheckpointError, match=r"are both token_embd\.weight"):
        Checkpoint(folder_with(tmp_path, BASE, tensors))


def test_paths_that_hold_no_model(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file or folder"):
        Checkpoint(tmp_path / "absent")
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        Checkpoint(tmp_path)
    for name in ("a.gguf", "b.gguf"):
        write_gguf(tmp_path / name, {"general.architecture": name[0]}, {})
    with pytest.raises(CheckpointError, match="2 models are in this folder"):
        Checkpoint(tmp_path)
    (tmp_path / "b.gguf").unlink()
    assert Checkpoint(tmp_path).architecture == "a"


@pytest.mark.parametrize("shape", [(), (3,), (64, 3), (2, 3, 4), (1, 1, 1, 1, 1), (0,), (0, 32)])
def test_tensors_of_any_shape_are_opened_or_refused_in_our_own_words(
    shape: tuple[int, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that each transform takes in hand, with shapes that it does not expect."""
    sizes = {"attention.key_length_mla": 12, "attention.value_length_mla": 6}
    transforms = (
        NormPlusOne((r".*norm\.weight",)),
        Transpose((r"blk\.\d+\.ffn_up\.weight",)),
        Squeeze((r"blk\.\d+\.ffn_down\.weight",)),
        NegExp((r"blk\.\d+\.ffn_gate\.weight",)),
        SplitKVB(),
        StackExperts(),
        SplitQKV("groups"),
        UnpermuteRope(),
    )
    mapping = HFMapping(
        "deepseek2", lambda config: common_metadata(config) | sizes, ((r"qkv\.weight", "blk.0.attn_qkv.weight"),), transforms
    )
    use(monkeypatch, "llama", mapping)
    layer = "model.layers.0."
    names = ["model.norm.weight", "qkv.weight", "lm_head.weight", *(f"{layer}mlp.{m}_proj.weight" for m in ("up", "down", "gate"))]
    names += [f"{layer}self_attn.{m}_proj.weight" for m in ("q", "k", "kv_b")] + [
        f"{layer}mlp.experts.{m}" for m in ("gate_up_proj", "down_proj")
    ]
    names += [f"{layer}mlp.experts.{e}.gate_proj.weight" for e in range(2)]
    for name in names:
        folder_with(tmp_path, BASE | {"rope_theta": 1e4, "num_local_experts": 2}, {name: torch.zeros(shape)})
        try:
            tensors = Checkpoint(tmp_path).tensors
        except HeronError:
            continue
        for tensor in tensors.values():
            assert tensor.numpy().shape == tensor.shape
