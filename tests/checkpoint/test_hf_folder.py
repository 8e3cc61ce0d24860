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
from heron.checkpoint.hf_config import common_metadata, rope_tensors
from heron.checkpoint.hf_names import NameMap
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import SplitKVB, StackExperts, UnpermuteRope
from heron.errors import CheckpointError, UnsupportedError

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


def test_llama3_divisors_are_transformers_own() -> None:
    config = transformers.LlamaConfig(**SIZES | {"head_dim": 64}, rope_parameters=LLAMA3 | {"original_max_position_embeddings": 64})
    model = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    plain = 5e5 ** (-np.arange(0, 64, 2) / 64)
    ours = rope_tensors(Metadata(config.to_dict()))["rope_freqs.weight"]
    np.testing.assert_allclose(plain / ours, model.inv_freq.numpy(), rtol=1e-6)
    assert ours.min() == 1
    assert ours.max() == 8


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


# Names


@pytest.mark.parametrize(
    ("architecture", "hf", "gguf"),
    [
        ("llama", "model.layers.17.self_attn.q_proj.bias", "blk.17.attn_q.bias"),
        ("gpt2", "transformer.h.3.attn.c_attn.weight", "blk.3.attn_qkv.weight"),
        ("bert", "encoder.layer.11.attention.self.query.weight", "blk.11.attn_q.weight"),
        ("t5", "decoder.block.4.layer.1.EncDecAttention.q.weight", "dec.blk.4.cross_attn_q.weight"),
        ("t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "enc.blk.0.attn_rel_b.weight"),
        ("llama", "model.layers.1.nonsense.weight", None),
        ("no such architecture", "model.norm.weight", None),
    ],
)
def test_names(architecture: str, hf: str, gguf: str | None) -> None:
    assert NameMap(architecture)(hf) == gguf


def test_one_architecture_does_not_change_the_names_of_another() -> None:
    """gguf-py's map of arctic has exceptions; they must not stay for the llama that is opened after it."""
    name = "model.layers.0.post_attention_layernorm.weight"
    assert NameMap("arctic")(name) == "blk.0.ffn_norm_exps.weight"
    assert NameMap("llama")(name) == "blk.0.ffn_norm.weight"


def test_renames_come_first_and_ignored_names_are_not_wanted() -> None:
    names = NameMap("llama", ((r"model\.layers\.(\d+)\.odd\.weight", r"blk.\1.even.weight"),), (r"\.attn\.bias$",))
    assert names("model.layers.5.odd.weight") == "blk.5.even.weight"
    assert names.ignored("model.layers.0.self_attn.rotary_emb.inv_freq")
    assert names.ignored("h.0.attn.bias")
    assert not names.ignored("h.0.attn.c_attn.bias")


# Folders that are not what they should be


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
        (BASE | {"quantization_config": {"quant_method": "gptq"}}, "quantized with 'gptq'"),
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


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heron.checkpoint.hf.MAPPINGS", {})
    register("mine", LLAMA)
    from heron.checkpoint import hf

    assert hf.MAPPINGS == {"mine": LLAMA}


# config.json


def metadata_of(config: dict[str, Any]) -> dict[str, Any]:
    return common_metadata(Metadata(config, where="config.json"))


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_theta": 5e4}, {"freq_base": 5e4}),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e4}}, {"freq_base": 5e4}),
        (
            {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2}},
            {"freq_base": 1e4, "scaling.type": "linear", "scaling.factor": 2},
        ),
        ({"rope_theta": 1e4, "rope_scaling": {"type": "dynamic", "factor": 2}}, {"freq_base": 1e4}),
        (
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "rope_theta": 1e4,
                    "factor": 4.0,
                    "original_max_position_embeddings": 32,
                    "beta_fast": 16.0,
                }
            },
            {
                "freq_base": 1e4,
                "scaling.type": "yarn",
                "scaling.factor": 4,
                "scaling.original_context_length": 32,
                "scaling.yarn_beta_fast": 16,
            },
        ),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_theta": 1e4},
                }
            },
            {"freq_base": 1e6, "freq_base_swa": 1e4, "scaling.type": "linear", "scaling.factor": 8},
        ),
        ({"rope_theta": 1e6, "rope_local_base_freq": 1e4}, {"freq_base": 1e6, "freq_base_swa": 1e4}),
        ({"rope_theta": 1e4, "partial_rotary_factor": 0.5}, {"freq_base": 1e4, "dimension_count": 4}),
    ],
)
def test_rope(rope: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {k.removeprefix("rope."): v for k, v in metadata_of(SIZES | rope).items() if k.startswith("rope.")}
    assert found == {"dimension_count": 8} | expected


def test_longrope_is_transformers_own() -> None:
    factors = {"long_factor": [2.0, 3.0, 4.0, 5.0], "short_factor": [1.0, 1.0, 1.5, 2.0]}
    rope = {"rope_type": "longrope", "rope_theta": 1e4} | factors
    config = transformers.Phi3Config(**SIZES, rope_parameters=rope, original_max_position_embeddings=32, pad_token_id=0)
    model = transformers.models.phi3.modeling_phi3.Phi3RotaryEmbedding(config)
    metadata = metadata_of(config.to_dict())
    assert metadata["rope.scaling.type"] == "longrope"
    assert metadata["rope.scaling.original_context_length"] == 32
    assert metadata["rope.scaling.attn_factor"] == pytest.approx(model.attention_scaling)
    tensors = rope_tensors(Metadata(config.to_dict()))
    np.testing.assert_array_equal(tensors["rope_factors_long.weight"], factors["long_factor"])
    np.testing.assert_array_equal(tensors["rope_factors_short.weight"], factors["short_factor"])


@pytest.mark.parametrize(
    ("config", "window", "pattern"),
    [
        ({"sliding_window": None}, None, None),
        ({"sliding_window": 16}, 16, None),
        ({"sliding_window": 16, "use_sliding_window": False}, None, None),
        ({"sliding_window": 16, "layer_types": ["full_attention"] * 2}, None, None),
        ({"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}, 16, [True, False]),
        ({"sliding_window": 16, "sliding_window_pattern": 2}, 16, [True, False]),
    ],
)
def test_windows(config: dict[str, Any], window: int | None, pattern: list[bool] | None) -> None:
    metadata = metadata_of(SIZES | config)
    assert metadata.get("attention.sliding_window") == window
    assert metadata.get("attention.sliding_window_pattern") == pattern


def test_the_language_part_of_a_multimodal_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, "seeing", HFMapping("llama"))
    checkpoint = Checkpoint(folder_with(tmp_path, {"model_type": "seeing", "text_config": SIZES | {"model_type": "llama"}}))
    assert checkpoint.metadata["llama.embedding_length"] == 32
