"""HF folders shown as GGUF: metadata, names and layouts of models that transformers saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.hf import HFMapping, register
from heron.checkpoint.hf_config import common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import SplitKVB, StackExperts, UnpermuteRope

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def save(config: transformers.PretrainedConfig, folder: Path, **how: Any) -> Path:
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    for p in model.parameters():
        torch.nn.init.normal_(p)
    model.save_pretrained(folder, **how)
    return folder


def use(monkeypatch: pytest.MonkeyPatch, model_type: str, mapping: HFMapping) -> None:
    monkeypatch.setattr("heron.checkpoint.hf.MAPPINGS", {model_type: mapping})


LLAMA = HFMapping("llama", common_metadata, transforms=(UnpermuteRope(), StackExperts()))


def test_llama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", LLAMA)
    rope = LLAMA3 | {"original_max_position_embeddings": 64}
    folder = save(transformers.LlamaConfig(**SIZES, rope_parameters=rope), tmp_path / "tiny")
    checkpoint = Checkpoint(folder)
    assert (checkpoint.source, checkpoint.architecture) == ("hf", "llama")
    expected = {
        "general.architecture": "llama",
        "general.name": "tiny",
        "llama.vocab_size": 64,
        "llama.context_length": 128,
        "llama.embedding_length": 32,
        "llama.block_count": 2,
        "llama.feed_forward_length": 48,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 8,
        "llama.attention.value_length": 8,
        "llama.attention.layer_norm_rms_epsilon": 1e-6,
        "llama.rope.freq_base": 5e5,
        "llama.rope.dimension_count": 8,
    }
    assert checkpoint.metadata == expected
    names = ["attn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_norm", "ffn_gate", "ffn_up", "ffn_down"]
    layers = {f"blk.{i}.{n}.weight" for i in range(2) for n in names}
    assert set(checkpoint.tensors) == layers | {"token_embd.weight", "output_norm.weight", "output.weight", "rope_freqs.weight"}
    stored = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(checkpoint.tensors["blk.1.ffn_up.weight"].numpy(), stored["model.layers.1.mlp.up_proj.weight"])
    assert checkpoint.tensors["blk.1.attn_k.weight"].pairing == "half"
    np.testing.assert_array_equal(checkpoint.tensors["blk.1.attn_k.weight"].numpy(), stored["model.layers.1.self_attn.k_proj.weight"])


def test_shards_equal_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", LLAMA)
    config = transformers.LlamaConfig(**SIZES)
    whole = Checkpoint(save(config, tmp_path / "whole"))
    parts = Checkpoint(save(config, tmp_path / "parts", max_shard_size="20KB"))
    assert len(parts.files) > 2
    assert set(parts.tensors) == set(whole.tensors)
    for name, tensor in whole.tensors.items():
        np.testing.assert_array_equal(parts.tensors[name].rows(), tensor.rows())


@pytest.mark.parametrize(("kind", "fused"), [("mixtral", False), ("qwen3_moe", False), ("qwen3_moe", True)])
def test_experts(kind: str, fused: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Experts saved one by one, and in transformers 5's own layout."""
    if kind == "mixtral":
        use(monkeypatch, kind, LLAMA)
        config = transformers.MixtralConfig(**SIZES, num_local_experts=3)
    else:
        use(monkeypatch, kind, HFMapping("qwen3moe", common_metadata, transforms=(StackExperts(),)))
        config = transformers.Qwen3MoeConfig(**SIZES, num_experts=3, num_experts_per_tok=2, moe_intermediate_size=16)
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(tmp_path)
    if fused:
        save_file(dict(model.state_dict()), tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.metadata.integer(f"{checkpoint.architecture}.expert_count") == 3
    assert checkpoint.metadata.integer(f"{checkpoint.architecture}.expert_used_count") == 2
    experts = model.model.layers[1].mlp.experts
    gate_up, down = experts.gate_up_proj.detach().numpy(), experts.down_proj.detach().numpy()
    half = gate_up.shape[1] // 2
    np.testing.assert_array_equal(checkpoint.tensors["blk.1.ffn_gate_exps.weight"].numpy(), gate_up[:, :half])
    np.testing.assert_array_equal(checkpoint.tensors["blk.1.ffn_up_exps.weight"].numpy(), gate_up[:, half:])
    np.testing.assert_array_equal(checkpoint.tensors["blk.1.ffn_down_exps.weight"].numpy(), down)
    assert checkpoint.tensors["blk.1.ffn_gate_inp.weight"].shape == (3, 32)
    assert not [n for n in checkpoint.tensors if "gate_up" in n or ".0.weight" in n]


def test_names_of_latent_attention(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def metadata(config: Metadata) -> dict[str, Any]:
        sizes = {"attention.key_length_mla": 12, "attention.value_length_mla": 6, "rope.dimension_count": 4}
        return common_metadata(config) | sizes

    use(monkeypatch, "deepseek_v3", HFMapping("deepseek2", metadata, transforms=(StackExperts(), SplitKVB())))
    latent = {"q_lora_rank": 16, "kv_lora_rank": 10, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
    experts = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 8}
    rope = {
        "rope_type": "yarn",
        "rope_theta": 1e4,
        "factor": 4.0,
        "original_max_position_embeddings": 32,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
    }
    config = transformers.DeepseekV3Config(
        **SIZES | {"num_key_value_heads": 4}, **latent, **experts, first_k_dense_replace=1, rope_parameters=rope
    )
    checkpoint = Checkpoint(save(config, tmp_path))
    shapes = {name: t.shape for name, t in checkpoint.tensors.items()}
    assert shapes["blk.0.attn_k_b.weight"] == (4, 10, 8)
    assert shapes["blk.0.attn_v_b.weight"] == (4, 6, 10)
    assert shapes["blk.0.attn_kv_a_mqa.weight"] == (14, 32)
    assert shapes["blk.1.exp_probs_b.bias"] == (4,)
    assert shapes["blk.1.ffn_up_shexp.weight"] == (8, 32)
    assert shapes["blk.1.ffn_down_exps.weight"] == (4, 32, 8)
    scaling = {k.removeprefix("deepseek2."): v for k, v in checkpoint.metadata.items() if "rope.scaling" in k}
    assert scaling["rope.scaling.type"] == "yarn"
    assert scaling["rope.scaling.yarn_log_multiplier"] == pytest.approx(0.1)
    assert scaling["rope.scaling.yarn_attn_factor"] == 1
    assert checkpoint.metadata["deepseek2.leading_dense_block_count"] == 1


def test_a_folder_written_as_gguf_holds_permuted_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", LLAMA)
    folder = Checkpoint(save(transformers.LlamaConfig(**SIZES), tmp_path / "hf"))
    write_gguf(tmp_path / "model.gguf", folder.metadata, folder.tensors)
    written = Checkpoint(tmp_path / "model.gguf")
    assert set(written.tensors) == set(folder.tensors)
    q, stored = folder.tensors["blk.0.attn_q.weight"].numpy(), written.tensors["blk.0.attn_q.weight"]
    assert stored.pairing == ""
    np.testing.assert_array_equal(stored.numpy(), q.reshape(4, 2, 4, 32).swapaxes(1, 2).reshape(32, 32))
    np.testing.assert_array_equal(written.tensors["blk.0.attn_v.weight"].numpy(), folder.tensors["blk.0.attn_v.weight"].numpy())
    np.testing.assert_allclose(written.metadata["llama.rope.freq_base"], folder.metadata["llama.rope.freq_base"])


# Tied embeddings


@pytest.mark.parametrize("stored", ["embed", "head", "both"])
@pytest.mark.parametrize("tied", [True, False, None])
def test_tied_embeddings(stored: str, tied: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", HFMapping("llama"))
    config = {"model_type": "llama"} | SIZES | ({} if tied is None else {"tie_word_embeddings": tied})
    (tmp_path / "config.json").write_text(json.dumps(config))
    embed, head = {"model.embed_tokens.weight": torch.zeros(64, 32)}, {"lm_head.weight": torch.ones(64, 32)}
    save_file({"embed": embed, "head": head, "both": embed | head}[stored], tmp_path / "model.safetensors")
    tensors = Checkpoint(tmp_path).tensors
    assert tensors["token_embd.weight"].numpy()[0, 0] == (stored == "head")
    if tied or stored == "embed":
        assert set(tensors) == {"token_embd.weight"}
    else:
        assert tensors["output.weight"].numpy()[0, 0] == 1


def test_a_folder_that_stores_the_head_alone(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "llama", LLAMA)
    folder = shared / "data/tinystories-656K"
    checkpoint = Checkpoint(folder)
    assert "output.weight" not in checkpoint.tensors
    np.testing.assert_array_equal(
        checkpoint.tensors["token_embd.weight"].numpy(), load_file(folder / "model.safetensors")["lm_head.weight"]
    )
    assert Checkpoint(folder / "model.safetensors").architecture == "llama"


def test_the_language_part_of_a_multimodal_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "seeing", HFMapping("llama"))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "seeing", "text_config": SIZES | {"model_type": "llama"}}))
    save_file({"model.embed_tokens.weight": torch.zeros(64, 32)}, tmp_path / "model.safetensors")
    checkpoint = Checkpoint(tmp_path)
    assert checkpoint.metadata["llama.embedding_length"] == 32


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heron.checkpoint.hf.MAPPINGS", {})
    register("mine", LLAMA)
    from heron.checkpoint import hf

    assert hf.MAPPINGS == {"mine": LLAMA}
